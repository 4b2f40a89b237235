/** Bytes that fill the space between functions: nops of every length, int3, zeros. */

/** How many bytes at `at` fill space; 0 where something else stands there. Zeros and int3 count singly. */
export function fillerAt(bytes: Uint8Array, at: number): number {
  const first = bytes[at];
  if (first === 0x00 || first === 0xcc) return 1;
  return nopAt(bytes, at);
}

/** Length of the nop at `at`; 0: it is another instruction. */
export function nopAt(bytes: Uint8Array, at: number): number {
  let p = at;
  // Operand size, cs, ds: what assemblers lengthen nops with.
  while (bytes[p] === 0x66 || bytes[p] === 0x2e || bytes[p] === 0x3e) p++;
  // REX.W alone: with REX.B, 90 is an exchange with r8.
  if (bytes[p] === 0x48) p++;
  if (bytes[p] === 0x90) return p + 1 - at;
  if (bytes[p] !== 0x0f || bytes[p + 1] !== 0x1f) return 0;
  const modrm = bytes[p + 2];
  if (modrm === undefined || (modrm & 0x38) !== 0) return 0;
  const mode = modrm >>> 6;
  const rm = modrm & 7;
  if (mode === 3) return p + 3 - at;
  // Without a base register the displacement would have four bytes; assemblers write no such nops.
  if (mode === 0 && rm === 5) return 0;
  const sib = rm === 4 ? 1 : 0;
  if (sib === 1 && mode === 0 && ((bytes[p + 3] ?? 0) & 7) === 5) return 0;
  const length = p + 3 + sib + (mode === 1 ? 1 : mode === 2 ? 4 : 0) - at;
  return at + length <= bytes.length ? length : 0;
}

/** Whether all of `bytes` fill space. */
export function isFiller(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; ) {
    const length = fillerAt(bytes, at);
    if (length === 0) return false;
    at += length;
  }
  return true;
}
