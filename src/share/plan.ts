/** Which programs of a recorded tree may start from an image after linking, and why not the others. */
import { accessSync, constants, statSync } from 'node:fs';
import { basename } from 'node:path';
import { errnoOf } from '../base/errors.ts';
import { probeProgram } from '../elf/probe.ts';
import { EM_X86_64 } from '../elf/spec.ts';
import type { Profile } from '../profile/model.ts';
import { hasFileCapabilities } from '../sys/capabilities.ts';
import type { KeptProgram, PlannedShare, ProgramToShare } from './built.ts';
import { programsOf } from './observe.ts';

/** Why a program starts as ever, where its loader has not been run. Stable. */
export const KEPT = {
  missing: 'not there any more',
  unreadable: 'may not be read by you',
  machine: 'a program of another machine',
  static: 'not dynamically linked',
  otherLoader: 'its dynamic loader is not glibc’s',
  privileged: 'gets rights from its file, which a copy would not have',
  loader: 'the dynamic loader itself',
} as const;

const GLIBC = /^ld-linux-x86-64\.so\.2$/;

export function planShare(profile: Profile): PlannedShare {
  const programs: ProgramToShare[] = [];
  const kept: KeptProgram[] = [];
  for (const path of programsOf(profile)) {
    const reason = whyKept(path);
    // The kernel starts a script's interpreter, which is in the tree itself.
    if (reason === 'script') continue;
    if (reason === undefined) programs.push({ path });
    else kept.push({ path, reason });
  }
  return { programs, kept };
}

function whyKept(path: string): string | undefined {
  try {
    const { mode } = statSync(path);
    const program = probeProgram(path);
    accessSync(path, constants.R_OK);
    if (program.kind !== 'elf') return 'script';
    if (program.class !== 64 || program.machine !== EM_X86_64) return KEPT.machine;
    if (GLIBC.test(basename(path))) return KEPT.loader;
    if (program.interp === undefined) return KEPT.static;
    if (!GLIBC.test(basename(program.interp))) return KEPT.otherLoader;
    return (mode & 0o6000) !== 0 || hasFileCapabilities(path) ? KEPT.privileged : undefined;
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    return errno === 'EACCES' || errno === 'EPERM' ? KEPT.unreadable : KEPT.missing;
  }
}
