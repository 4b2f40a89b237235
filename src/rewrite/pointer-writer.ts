/** Writes numbers and encoded pointers into a table of known address. */
import { viewOf } from '../elf/bytes.ts';
import { baseOf, DW_EH_PE_absptr, DW_EH_PE_pcrel, formatSize } from '../elf/dwarf.ts';

export class PointerWriter {
  readonly #view: DataView;
  readonly #base: number;

  /** @param base the RVA of the first byte. */
  constructor(bytes: Uint8Array, base: number) {
    this.#view = viewOf(bytes);
    this.#base = base;
  }

  u32(at: number, value: number): void {
    this.#view.setUint32(at, value, true);
  }

  /** A number of 4 or 8 bytes, modulo their range. */
  number(at: number, size: number, value: number): void {
    this.#view.setUint32(at, value, true);
    if (size === 8) this.#view.setInt32(at + 4, Math.floor(value / 2 ** 32), true);
  }

  /** A pointer to `target`; 0 is none. What does not count from its own place is written by those that change it. */
  pointer(at: number, encoding: number, target: number): void {
    const size = formatSize(encoding);
    if (size === undefined || size === 2) return;
    if (baseOf(encoding) === DW_EH_PE_pcrel)
      this.number(at, size, target === 0 ? 0 : target - (this.#base + at));
    else if (baseOf(encoding) === DW_EH_PE_absptr) this.number(at, size, target);
  }
}
