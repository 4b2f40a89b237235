/** ELF64 records as bytes, for tests that assemble files. */

export class Strings {
  text = '\0';
  add(string: string): number {
    const at = this.text.length;
    this.text += `${string}\0`;
    return at;
  }
  get bytes(): Buffer {
    return Buffer.from(this.text, 'latin1');
  }
}

export const u16 = (...values: number[]): Buffer => Buffer.from(Uint16Array.from(values).buffer);
export const u32 = (...values: number[]): Buffer => Buffer.from(Uint32Array.from(values).buffer);
export const u64 = (...values: (number | bigint)[]): Buffer =>
  Buffer.from(BigUint64Array.from(values.map((v) => BigInt.asUintN(64, BigInt(v)))).buffer);
export const join = (...parts: readonly Uint8Array[]): Buffer => Buffer.concat(parts);

export function symbol(
  name: number,
  info: number,
  shndx: number,
  value: number | bigint,
  size: number,
): Buffer {
  return join(u32(name), Uint8Array.of(info, 0), u16(shndx), u64(value, size));
}

export const rela = (offset: number, sym: number, type: number, addend: number | bigint): Buffer =>
  join(u64(offset), u32(type, sym), u64(addend));
