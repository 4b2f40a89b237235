/** Where to break in a file. */
import { readFileSync } from 'node:fs';
import type { Rva } from '../base/brands.ts';
import { isLeftover, readEhFrame } from '../elf/eh-frame.ts';
import { readElf } from '../elf/read.ts';
import type { Kept } from '../rewrite/model.ts';
import type { Fd } from '../sys/fds.ts';

/** The start of every function that has unwind information. @throws WinnowError E_ELF_... for a damaged file. */
export function findEntries(path: string, fd: Fd): readonly Rva[] | Kept {
  const { fdes } = readEhFrame(readElf(readFileSync(fd), path));
  return fdes.filter((fde) => !isLeftover(fde)).map(({ start }) => start);
}
