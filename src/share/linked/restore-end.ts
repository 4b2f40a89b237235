/**
 * Where a start from an image leaves its launcher: its last instruction, which goes on in the dynamic loader. By it starts are
 * measured whose addresses nobody knows before.
 */
import { type Rva, rva } from '../../base/brands.ts';
import { readElf } from '../../elf/read.ts';
import { PT_LOAD } from '../../elf/spec.ts';

/** `jmp *-8(%rsp)`: the end of `_start` in runtime/restore.c. */
const JUMP = Buffer.from([0xff, 0x64, 0x24, 0xf8]);

/** @param path for errors. @returns undefined where there is none, or more than one. */
export function restoreEnd(restore: Buffer, path: string): Rva | undefined {
  const code = readElf(restore, path).segments.find(({ type }) => type === PT_LOAD);
  const at = restore.indexOf(JUMP);
  if (code === undefined || at < code.offset || restore.includes(JUMP, at + 1)) return undefined;
  return rva(at - code.offset + code.rva);
}
