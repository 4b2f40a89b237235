/** Whether programs can start linked here: `cat` is linked in a scratch folder, started, and prints what it has mapped. */
import { spawnSync } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { WinnowError } from '../base/errors.ts';
import { readRestore } from '../image/launcher.ts';
import { buildShare } from '../share/build.ts';
import { readProcessor } from '../share/linked/restore-answer.ts';
import { openTemporary } from '../sys/temporary.ts';
import type { Check } from './doctor-check.ts';

const PROGRAM = '/bin/cat';
const CHECK = { name: 'linked-programs', what: 'linked programs' };
const LESS = 'winnow build --only share makes images that start by the plain loader';

/** @param folder where images will stand, or near it. */
export async function shareCheck(folder: string): Promise<Check> {
  if (!existsSync(PROGRAM)) return { ...CHECK, state: 'less', found: `no ${PROGRAM}`, means: 'not tried' };
  const { path: scratch, close } = openTemporary(join(folder, '.winnow-doctor-'));
  try {
    const { programs, kept } = await buildShare(
      { programs: [{ path: realpathSync(PROGRAM) }], kept: [] },
      {
        folder: scratch,
        image: realpathSync(scratch),
        restore: readRestore().bytes,
        processor: readProcessor(),
        mapped: [],
        sharedMode: 0,
      },
    );
    const [program] = programs;
    if (program === undefined) {
      const [why] = kept;
      const found = `${PROGRAM} cannot be linked: ${why?.detail ?? why?.reason ?? 'unknown'}`;
      return { ...CHECK, state: 'less', found, means: LESS };
    }
    // Variables of this shell (LD_…) would speak of this shell.
    const done = spawnSync(join(scratch, program.copy), ['/proc/self/maps'], { encoding: 'utf8', env: {} });
    return done.status === 0 && done.stdout.includes(program.linked)
      ? {
          ...CHECK,
          state: 'good',
          found: `${PROGRAM} started linked`,
          means: 'winnow build --only share works',
        }
      : { ...CHECK, state: 'less', found: `${PROGRAM} started by its own loader`, means: LESS };
  } catch (error) {
    if (!(error instanceof WinnowError)) throw error;
    return { ...CHECK, state: 'less', found: error.what, means: `${LESS}; ${error.next}` };
  } finally {
    close();
  }
}
