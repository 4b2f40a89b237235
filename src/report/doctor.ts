/**
 * What this machine offers to winnow, and what follows. Everything that can be tried is tried: the same
 * calls as a recording, a build or a start makes, on something small.
 */
import { spawnSync } from 'node:child_process';
import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { release } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { WinnowError } from '../base/errors.ts';
import { type Launcher, readLauncher } from '../image/launcher.ts';
import { deviceTraits } from '../prefetch/device.ts';
import { GAP_FAST, GAP_ROTATIONAL } from '../prefetch/gap.ts';
import { trustedFolder } from '../profile/store-files.ts';
import { type Offer, tryNoWaitRead, tryPagemap, tryTracing, tryUserfaultfd } from '../sys/offers.ts';
import { openTemporary } from '../sys/temporary.ts';
import type { Check } from './doctor-check.ts';
import { modulesCheck } from './doctor-modules.ts';
import { shareCheck } from './doctor-share.ts';

/** What the caller of `diagnose` knows from rooms of the same layer. */
export interface DoctorInput {
  /** Folder of the store; it need not exist. */
  readonly store: string;
  readonly path: string | undefined;
  readonly mayDropCaches: boolean;
  /** Device and file system of a path, in words. */
  readonly describeStorage: (path: string) => string;
}

/** All checks, in the order in which they matter. */
export async function diagnose(input: DoctorInput): Promise<Check[]> {
  const launcher = readLauncherOr();
  return [
    { name: 'kernel', what: 'kernel', state: 'fact', found: release(), means: 'Linux 6.7 or newer is best' },
    launcherCheck(launcher),
    ...recordingChecks(!(launcher instanceof WinnowError)),
    ...(await storeChecks(input.store, launcher)),
    noWaitCheck(),
    storageCheck('storage-programs', 'storage of /usr', '/usr', input),
    storageCheck('storage-store', 'storage of the store', nearestFolder(input.store), input),
    coldCheck(input.mayDropCaches),
    toolCheck('vmtouch', input.path, 'winnow bench --peer vmtouch works', 'winnow bench knows no peer here'),
    toolCheck('gcc', input.path, 'winnow can be built here', 'not needed, but to build winnow itself'),
  ];
}

const why = (offer: Offer): string => (offer.works ? 'works' : offer.why);

function readLauncherOr(): Launcher | WinnowError {
  try {
    return readLauncher();
  } catch (error) {
    if (error instanceof WinnowError) return error;
    throw error;
  }
}

function launcherCheck(launcher: Launcher | WinnowError): Check {
  const check = { name: 'launcher', what: 'launcher' };
  return launcher instanceof WinnowError
    ? { ...check, state: 'bad', found: launcher.what, means: `winnow build fails; ${launcher.next}` }
    : {
        ...check,
        state: 'good',
        found: `${launcher.bytes.length} bytes, checksum right`,
        means: 'images get this launcher',
      };
}

function recordingChecks(runtimeIsThere: boolean): Check[] {
  const pagemap = tryPagemap();
  const uffd = tryUserfaultfd();
  const checks: Check[] = [
    {
      name: 'pagemap',
      what: 'page tables',
      state: pagemap.works ? 'good' : 'bad',
      found: pagemap.works ? (pagemap.method === 'scan' ? 'PAGEMAP_SCAN' : 'pagemap') : why(pagemap),
      means: pagemap.works ? 'recordings see which pages are used' : 'winnow record cannot work',
    },
    {
      name: 'userfaultfd',
      what: 'fault-around off',
      state: uffd.works ? 'good' : 'less',
      found: uffd.works ? 'userfaultfd works' : why(uffd),
      means: uffd.works
        ? 'recordings are exact'
        : 'recordings round pages up to 64 KiB; Linux 6.7 or newer cures it, or what forbids it here',
    },
    yamaCheck(),
  ];
  if (!runtimeIsThere) return checks;
  const { ptrace, notices } = tryTracing();
  return [
    {
      name: 'ptrace',
      what: 'tracing',
      state: ptrace.works ? 'good' : 'bad',
      found: why(ptrace),
      means: ptrace.works
        ? 'programs can be recorded'
        : 'winnow record cannot work: allow ptrace (docker: --cap-add SYS_PTRACE)',
    },
    {
      name: 'seccomp-notices',
      what: 'system-call notices',
      state: notices.works ? 'good' : 'less',
      found: why(notices),
      means: notices.works
        ? 'look-ups and files that are read() are recorded too'
        : 'recordings hold mapped pages only',
    },
    ...checks,
  ];
}

function yamaCheck(): Check {
  const scope = readLine('/proc/sys/kernel/yama/ptrace_scope');
  const rootOnly = scope === '2' || scope === '3';
  const MEANING: Readonly<Record<string, string>> = {
    2: 'only root may record',
    3: 'nobody may record until the next boot',
  };
  return {
    name: 'yama',
    what: 'yama ptrace_scope',
    state: rootOnly ? 'less' : 'fact',
    found: scope ?? 'none',
    means: MEANING[scope ?? ''] ?? 'no hindrance',
  };
}

async function storeChecks(store: string, launcher: Launcher | WinnowError): Promise<Check[]> {
  const check = { name: 'store', what: 'store' };
  try {
    const there = trustedFolder(store) !== undefined;
    const folder = nearestFolder(store);
    accessSync(folder, constants.W_OK | constants.X_OK);
    const safe: Check = {
      ...check,
      state: 'good',
      found: store,
      means: there ? 'only its owner can write it' : `not there yet; it can be made in ${folder}`,
    };
    return launcher instanceof WinnowError
      ? [safe]
      : [safe, startCheck(folder, launcher), modulesCheck(folder, launcher), await shareCheck(folder)];
  } catch (error) {
    if (error instanceof WinnowError) {
      return [{ ...check, state: 'bad', found: `${error.what} (${error.where})`, means: error.next }];
    }
    const found = `${store} cannot be written`;
    return [{ ...check, state: 'bad', found, means: 'choose another one: --store DIR, or XDG_DATA_HOME' }];
  }
}

/** Starts a program through a launcher that stands where images will stand. */
function startCheck(folder: string, launcher: Launcher): Check {
  const check = { name: 'launch', what: 'starts from there' };
  const { path: scratch, close } = openTemporary(join(folder, '.winnow-doctor-'));
  try {
    const path = join(scratch, 'launch');
    writeFileSync(path, launcher.bytes);
    chmodSync(path, 0o755);
    symlinkSync('/bin/true', join(scratch, 'program'));
    const done = spawnSync(path, [], { encoding: 'utf8' });
    if (done.status === 0)
      return { ...check, state: 'good', found: 'a launcher started a program', means: 'images can run' };
    const reason = done.error?.message ?? done.stderr.trim();
    return {
      ...check,
      state: 'bad',
      found: reason,
      means: 'images cannot run: is the file system mounted noexec? --store DIR on another one',
    };
  } finally {
    close();
  }
}

function noWaitCheck(): Check {
  const path = '/usr/bin/env';
  const offer: Offer = existsSync(path) ? tryNoWaitRead(path) : { works: false, why: `no ${path}` };
  const asRoot = process.geteuid?.() === 0;
  return {
    name: 'no-wait-reads',
    what: 'warm or cold',
    state: offer.works ? 'good' : 'less',
    found: offer.works ? 'RWF_NOWAIT works on /usr' : `RWF_NOWAIT on /usr: ${offer.why}`,
    means: offer.works
      ? 'a warm start costs about 0.1 ms'
      : asRoot
        ? 'the launcher asks mincore instead'
        : 'the launcher cannot tell and leaves the prefetch out where it is not sure',
  };
}

function storageCheck(name: string, what: string, path: string, input: DoctorInput): Check {
  const { isRotational, chunkPages } = deviceTraits(statSync(path, { bigint: true }).dev);
  const gap = isRotational
    ? `${GAP_ROTATIONAL} pages`
    : `${GAP_FAST} pages, more where a build finds it slow,`;
  return {
    name,
    what,
    state: 'fact',
    found: input.describeStorage(path),
    means: `gaps up to ${gap} are read over, ${chunkPages} pages to a call`,
  };
}

function coldCheck(mayDropCaches: boolean): Check {
  return {
    name: 'cold-bench',
    what: 'cold measurements',
    state: mayDropCaches ? 'good' : 'less',
    found: mayDropCaches ? 'all caches can be dropped' : 'drop_caches is not allowed (root)',
    means: mayDropCaches
      ? 'winnow bench measures true cold starts'
      : 'winnow bench drops single files only; path look-ups stay warm',
  };
}

function toolCheck(tool: string, path: string | undefined, good: string, missing: string): Check {
  const found = (path ?? '').split(delimiter).map((folder) => join(folder, tool));
  const there = found.find((candidate) => existsSync(candidate));
  return {
    name: tool,
    what: tool,
    state: 'fact',
    found: there ?? 'not on PATH',
    means: there === undefined ? missing : good,
  };
}

/** The folder itself or the nearest one above it that exists. */
function nearestFolder(path: string): string {
  return existsSync(path) || dirname(path) === path ? path : nearestFolder(dirname(path));
}

function readLine(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
}
