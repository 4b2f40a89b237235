/**
 * Where glibc's loader goes on when all modules are mapped and relocated (`_dl_start_user`).
 *
 * Its entry is `mov %rsp, %rdi; call _dl_start`, and behind the call stands what is looked for: no symbol names it.
 */
import { type Rva, rva } from '../../base/brands.ts';
import type { ElfImage } from '../../elf/image.ts';

const ENDBR64 = 'f30f1efa';
/** mov %rsp, %rdi; call with 32 bits */
const MOVE_AND_CALL = '4889e7e8';
const CALL_END = 8;

/** Undefined for loaders that begin otherwise, as musl's. */
export function linkedAt(loader: ElfImage): Rva | undefined {
  const { header, bytes } = loader;
  const offset = loader.offsetOf(header.entry);
  if (offset === undefined) return undefined;
  const code = Buffer.from(bytes.subarray(offset, offset + 16)).toString('hex');
  const skipped = code.startsWith(ENDBR64) ? ENDBR64.length : 0;
  if (!code.startsWith(MOVE_AND_CALL, skipped)) return undefined;
  return rva(header.entry + skipped / 2 + CALL_END);
}
