/**
 * Tries whether a program's loader takes its copies and maps them where they belong: one start from the finished files, which ends
 * before the first constructor.
 */
import { join } from 'node:path';
import { measureStart } from '../../sys/start-cost.ts';
import { linkedAt } from '../closure/loader-start.ts';
import type { Closure } from '../closure/modules.ts';

export interface Copied {
  /** Name of the copy in the folder. */
  readonly file: string;
  /** Address of its lowest page. */
  readonly at: number;
}

/** Why the program cannot be started with its copies; undefined where it can. */
export function whyNotStarted(
  { program, modules }: Closure,
  folder: string,
  copies: readonly Copied[],
): string | undefined {
  const loader = modules.find(({ role }) => role === 'loader');
  const rva = loader === undefined ? undefined : linkedAt(loader.image);
  if (rva === undefined) return 'its dynamic loader is not glibc’s';
  const env = { PATH: process.env.PATH, LD_AUDIT: join(folder, 'audit.so') };
  const start = measureStart({ program, argv: [program], env, at: { rva } });
  if (start === undefined) return 'a trial start does not come to its end';
  const wrong = copies.find(({ file, at }) => start.files.get(join(folder, file)) !== at);
  if (wrong === undefined) return undefined;
  return start.files.has(join(folder, wrong.file))
    ? 'the kernel maps its copies elsewhere'
    : 'its loader does not come to its modules as they were listed';
}
