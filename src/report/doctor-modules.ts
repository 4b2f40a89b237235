/**
 * How programs would be shown rewritten modules here: a launcher starts `cat`, with a copy of the C library shown in
 * place of the original, once in each way, and cat prints what it has mapped.
 */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { WinnowError } from '../base/errors.ts';
import { type Launcher, readAuditObject } from '../image/launcher.ts';
import { writeModulesTable } from '../image/modules-encode.ts';
import type { ShowMode } from '../image/modules-model.ts';
import { openTemporary } from '../sys/temporary.ts';
import type { Check } from './doctor-check.ts';

const PROGRAM = '/bin/cat';
const CHECK = { name: 'show-modules', what: 'rewritten modules' };

interface Scratch {
  /** What `PROGRAM`, started by the launcher, prints of a file. */
  readonly print: (path: string, show: ShowMode) => string;
  readonly copy: { readonly inode: bigint /** As the end of a path. */; readonly place: string };
}

/** @param folder where images will stand, or near it. */
export function modulesCheck(folder: string, launcher: Launcher): Check {
  const library = /^\S+ r-xp .* (\/.*\/libc\.so\.6)$/m.exec(readFileSync('/proc/self/maps', 'utf8'))?.[1];
  if (library === undefined || !existsSync(PROGRAM))
    return {
      ...CHECK,
      state: 'less',
      found: 'no glibc here',
      means: 'shown by mounts only, which needs root',
    };
  const { path: scratch, close } = openTemporary(join(folder, '.winnow-doctor-'));
  try {
    return judge(prepare(scratch, library, launcher));
  } catch (error) {
    if (!(error instanceof WinnowError)) throw error;
    return {
      ...CHECK,
      state: 'bad',
      found: error.what,
      means: `programs keep their originals; ${error.next}`,
    };
  } finally {
    close();
  }
}

function prepare(folder: string, library: string, launcher: Launcher): Scratch {
  const launch = join(folder, 'launch');
  const copy = join(folder, 'copy');
  writeFileSync(launch, launcher.bytes);
  chmodSync(launch, 0o755);
  writeFileSync(join(folder, 'audit.so'), readAuditObject('file').bytes, { mode: 0o644 });
  copyFileSync(library, copy);
  const { size, mtimeNs, ino, mode } = statSync(library, { bigint: true });
  chmodSync(copy, 0o600 | (Number(mode) & 0o555));
  symlinkSync(PROGRAM, join(folder, 'program'));
  const identity = { size: Number(size), mtimeNs, inode: ino };
  const names = { path: library, replacement: 'copy', replacementSize: Number(size) };
  const table = writeModulesTable([{ ...names, identity, role: 'library', usesOrigin: false }]);
  writeFileSync(join(folder, 'modules.bin'), table, { mode: 0o644 });
  return {
    print: (path, show) =>
      spawnSync(launch, [path], { encoding: 'utf8', env: { WINNOW_SHOW: show } }).stdout ?? '',
    copy: { inode: statSync(copy, { bigint: true }).ino, place: `/${basename(folder)}/copy ` },
  };
}

function judge({ print, copy }: Scratch): Check {
  const line = new RegExp(`^\\S+ r-xp \\S+ \\S+ ${copy.inode} `, 'm');
  const works = (show: ShowMode): boolean => line.test(print('/proc/self/maps', show));
  const isMounted = (show: ShowMode): boolean => print('/proc/self/mountinfo', show).includes(copy.place);
  const ways = (['mounts', 'user-mounts', 'audit'] as const).filter(works);
  const found = ways.length === 0 ? 'cannot be shown' : `can be shown by ${ways.join(', ')}`;
  if (isMounted('auto'))
    return {
      ...CHECK,
      state: 'good',
      found,
      means: 'images show them by mounts, under the originals’ names',
    };
  if (works('auto'))
    return {
      ...CHECK,
      state: 'good',
      found,
      means: 'images show libraries by an audit object; programs themselves stay',
    };
  return {
    ...CHECK,
    state: 'less',
    found,
    means: 'programs keep their original modules (docs/commands/run.md)',
  };
}
