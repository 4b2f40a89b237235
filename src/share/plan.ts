/** Which programs of a recorded tree may start from an image after linking; the loader's run finds out about the rest. */
import { errnoOf } from '../base/errors.ts';
import { probeProgram } from '../elf/probe.ts';
import { insideRoot } from '../profile/inside-root.ts';
import type { Profile } from '../profile/model.ts';
import type { KeptProgram, PlannedShare, ProgramToShare } from './built.ts';
import { programsOf } from './observe.ts';

/** Why a program starts as ever, where its loader has not been run. Stable. */
export const KEPT = {
  missing: 'not there any more',
  unreadable: 'may not be read by you',
} as const;

/** @param root the folder in which the paths are; undefined: this machine's root. */
export function planShare(profile: Profile, root?: string): PlannedShare {
  const programs: ProgramToShare[] = [];
  const kept: KeptProgram[] = [];
  for (const program of programsOf(profile, root)) {
    const { path } = program;
    const kind = kindOf(root === undefined ? path : insideRoot(root, path));
    if (kind === 'missing' || kind === 'unreadable') kept.push({ path, reason: KEPT[kind] });
    // The kernel starts a script's interpreter, which is in the tree itself.
    else if (kind !== 'script') programs.push(program);
  }
  return { programs, kept };
}

function kindOf(path: string): 'elf' | 'script' | 'other' | keyof typeof KEPT {
  try {
    return probeProgram(path).kind;
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    return errno === 'EACCES' || errno === 'EPERM' ? 'unreadable' : 'missing';
  }
}
