/**
 * The peer: `vmtouch -t` of every mapped file, then the program. What a person can do without a
 * profile of pages; all of it counts.
 */
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { WinnowError } from '../base/errors.ts';
import type { Step } from './model.ts';

/** The kernel's limit on one argument list is 2 MiB; stay well below, with room for the environment. */
const ARGUMENT_BYTES = 1 << 20;

/** The `vmtouch` runs that touch `files` whole; several where the list is too long for one. */
export function vmtouchSteps(vmtouch: string, files: readonly string[]): Step[] {
  const steps: Step[] = [];
  let list: string[] = [];
  let bytes = 0;
  const flush = (): void => {
    if (list.length > 0) steps.push({ file: vmtouch, argv: ['vmtouch', '-q', '-t', ...list] });
    list = [];
    bytes = 0;
  };
  for (const file of files) {
    const size = Buffer.byteLength(file) + 9;
    if (bytes + size > ARGUMENT_BYTES) flush();
    list.push(file);
    bytes += size;
  }
  flush();
  return steps;
}

/** Absolute path of vmtouch. @throws WinnowError `E_NO_PEER` */
export function readPeerPath(path: string | undefined): string {
  for (const folder of (path ?? '/usr/bin:/bin').split(delimiter)) {
    const candidate = join(folder, 'vmtouch');
    if (existsSync(candidate)) return candidate;
  }
  throw new WinnowError({
    code: 'E_NO_PEER',
    kind: 'environment',
    what: 'vmtouch is not on PATH',
    next: 'apt-get install vmtouch, or leave out --peer',
  });
}
