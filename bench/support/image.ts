/** Builds a program's image inside the mounted disk. */
import { WinnowError } from '../../src/base/errors.ts';
import type { Variant } from '../options.ts';
import type { Recorded } from './winnow.ts';

/** Returns the launcher's path as the programs of the mount see it. */
export function buildInRoot(_root: string, one: Recorded, _variant: Variant | undefined): string {
  throw new WinnowError({
    code: 'E_BENCH_IMAGE',
    kind: 'unsupported',
    what: `no image of ${one.program.title}`,
    next: 'wait',
  });
}
