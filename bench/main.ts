/**
 * The bench suite: cold and warm starts, exactness of recording, the recorder's cost.
 *
 * It runs in a mount namespace of its own, so that its mounts end with it even when it is killed; loop
 * device, control group and folders are taken down in every other case.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describeError, EXIT_CODES, WinnowError } from '../src/base/errors.ts';
import { describeMachine } from '../src/bench/machine.ts';
import { workingSet } from '../src/profile/stats.ts';
import { measureExactness } from './exactness.ts';
import { parseOptions, type SuiteOptions, USAGE } from './options.ts';
import { type ColdOptions, gapName, measureCold } from './prefetch.ts';
import { measureRecorder } from './recorder-overhead.ts';
import { type Cleanup, openCleanup } from './support/cleanup.ts';
import { rebuildLimited } from './support/limited-images.ts';
import { exitCodeOf } from './support/main.ts';
import { installMissing, SCRATCH } from './support/programs.ts';
import { renderMarkdown, type SuiteReport } from './support/report.ts';
import { replaceBlock, writeJson } from './support/report-files.ts';
import { compileTimed } from './support/root-run.ts';
import { checkLinked, fillDisk, type MeasuredProgram, readyPrograms } from './support/stage.ts';
import { isLimited, makeThrottle } from './support/throttle.ts';
import { prepare, REPOSITORY, type Recorded, record } from './support/winnow.ts';
import { measureWarm } from './warm.ts';

const INSIDE = 'WINNOW_BENCH_INSIDE';
const talk = (text: string): void => {
  process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${text}` : `${text}\n`);
};

process.exitCode = await exitCodeOf(main);

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2));
  if (options === 'help') {
    process.stdout.write(USAGE);
    return 0;
  }
  if (process.env[INSIDE] === undefined) return await restartInside();
  await suite(options);
  return 0;
}

/** Starts this program again in a private mount namespace. */
async function restartInside(): Promise<number> {
  if (process.getuid?.() !== 0) {
    throw new WinnowError({
      code: 'E_BENCH_ROOT',
      kind: 'environment',
      what: 'the suite mounts file systems and limits devices, which only root may',
      next: 'run it as root in a virtual machine of your own; `winnow bench` works without root',
    });
  }
  const words = [
    '--mount',
    '--propagation',
    'private',
    process.execPath,
    fileURLToPath(import.meta.url),
    ...process.argv.slice(2),
  ];
  // unshare replaces itself by Node, so a signal that is handed on reaches the suite.
  const inner = spawn('unshare', words, { stdio: 'inherit', env: { ...process.env, [INSIDE]: '1' } });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => inner.kill(signal));
  return new Promise((done, fail) => {
    inner.on('error', fail);
    inner.on('exit', (code) => done(code ?? EXIT_CODES.environment));
  });
}

async function suite(options: SuiteOptions): Promise<void> {
  // A mount or unmount that other namespaces see would change the machine.
  if (isShared()) throw new Error('the mount namespace is not private');
  const cleanup = openCleanup();
  let failed: string[] = [];
  try {
    const work = mkdtempSync('/var/lib/winnow-bench-');
    cleanup.defer(`remove ${work}`, () => rmSync(work, { recursive: true, force: true }));
    cleanup.defer(`remove ${SCRATCH}`, () => rmSync(SCRATCH, { recursive: true, force: true }));
    talk(`working in ${work} as process ${process.pid}`);
    const report = await measure(options, work, cleanup);
    talk('');
    if (options.json !== undefined) writeJson(resolve(REPOSITORY, options.json), 'bench-suite', report);
    if (options.block !== undefined)
      replaceBlock(join(REPOSITORY, 'docs', 'measurements.md'), options.block, renderMarkdown(report));
    process.stdout.write(renderMarkdown(report));
  } finally {
    failed = cleanup.run();
  }
  if (failed.length > 0) {
    throw new WinnowError({
      code: 'E_BENCH_LEFTOVERS',
      kind: 'environment',
      what: `some things could not be taken down: ${failed.join('; ')}`,
      next: 'look with losetup -a and mount, and take them down by hand',
    });
  }
}

function isShared(): boolean {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .some((line) => line.includes(' shared:'));
}

async function measure(options: SuiteOptions, work: string, cleanup: Cleanup): Promise<SuiteReport> {
  const unmeasured: string[] = [];
  if (options.install) {
    talk('looking for Debian packages');
    installMissing([...new Set([...options.programs.flatMap((program) => program.packages), 'vmtouch'])]);
  }
  const store = join(work, 'store');
  const recorded: Recorded[] = [];
  for (const program of options.programs) {
    if (cleanup.abort.aborted) break;
    talk(`recording ${program.title}`);
    const done = attempt(unmeasured, `${program.title} (recording)`, () =>
      record(prepare(program, join(work, 'fixtures')), store, options.dryRun ? 1 : options.records),
    );
    if (done !== undefined) recorded.push(done);
  }
  const timed = compileTimed(join(REPOSITORY, 'bench', 'support', 'timed.c'), work);
  const told = options.parts.includes('cold') ? options.settings : [];
  const limited = told.filter(isLimited).length;
  const disk = fillDisk(work, recorded, options.modes, limited, cleanup);
  const throttle = attempt(unmeasured, 'throttled settings', () => makeThrottle(disk.number, cleanup));
  const runner = { timed, folder: work, disk, ...(throttle === undefined ? {} : { tasks: throttle.tasks }) };
  const variants = [
    ...options.variants,
    ...told.flatMap((setting) =>
      setting.otherGap === undefined
        ? []
        : [{ name: gapName(setting), options: { gapPages: String(setting.otherGap) } }],
    ),
  ];
  const prepared = await readyPrograms(runner, recorded, options.modes, variants, unmeasured, talk);
  const { ready, linked } = checkLinked(runner, prepared, options.modes, unmeasured, talk);
  const machine = describeMachine([work]);
  const report: SuiteReport = {
    date: new Date().toISOString(),
    command: ['npm run bench', ...(process.argv.length > 2 ? ['--', ...process.argv.slice(2)] : [])].join(
      ' ',
    ),
    rounds: options.rounds,
    machine: { ...machine, devices: [...machine.devices, diskDevice(disk)] },
    cold: [],
    linked,
    warm: [],
    exactness: [],
    recorder: [],
    unmeasured,
  };
  if (options.dryRun) return report;
  const how: ColdOptions = { runner, rounds: options.rounds, abort: cleanup.abort, onProgress: talk };
  return { ...report, ...(await measureParts(options, ready, recorded, how, throttle, unmeasured)) };
}

async function measureParts(
  options: SuiteOptions,
  ready: readonly MeasuredProgram[],
  recorded: readonly Recorded[],
  how: ColdOptions,
  throttle: ReturnType<typeof makeThrottle> | undefined,
  unmeasured: string[],
): Promise<Pick<SuiteReport, 'cold' | 'warm' | 'exactness' | 'recorder'>> {
  const has = (part: SuiteOptions['parts'][number]): boolean => options.parts.includes(part);
  const cold: SuiteReport['cold'][number][] = [];
  const settings = has('cold') ? options.settings : [];
  const full = ready.filter((program) => program.recorded.program.tiny !== true);
  for (const setting of settings) {
    if (!isLimited(setting)) cold.push(await measureCold(full, setting, throttle, how));
    else if (throttle !== undefined) {
      const rebuilt = await rebuildLimited(how.runner, full, setting, throttle, {
        kinds: options.modes,
        unmeasured,
        talk: how.onProgress,
      });
      cold.push(await measureCold(rebuilt, setting, throttle, how));
    }
  }
  throttle?.set({ name: 'free', title: 'unthrottled' });
  const warm = has('warm') ? await measureWarm(ready, { ...how, rounds: options.warmRounds }) : [];
  const exactness = (has('exactness') ? full : []).flatMap(
    ({ title, folder, modes, recorded: { profile } }) => {
      how.onProgress(`exactness: ${title}`);
      const step = modes[0]?.steps[0];
      if (step === undefined || how.abort.aborted) return [];
      const method = profile.runs[0]?.method.pages ?? 'exact';
      const done = attempt(unmeasured, `${title} (exactness)`, () =>
        measureExactness(how.runner, title, method, step, folder, workingSet(profile).files),
      );
      return done === undefined ? [] : [done];
    },
  );
  const traced = recorded.filter(({ program }) => ['gcc', 'node'].includes(program.name));
  const recorder = has('recorder')
    ? await measureRecorder(traced, { ...how, folder: how.runner.folder, rounds: options.rounds * 2 })
    : [];
  return { cold, warm, exactness, recorder };
}

function diskDevice(disk: ReturnType<typeof fillDisk>) {
  return {
    number: disk.number,
    name: 'loop device of the cold runs',
    fileSystem: 'ext4',
    readAheadKib: Number(readFileSync(`/sys/dev/block/${disk.number}/queue/read_ahead_kb`, 'utf8')),
    maxRequestKib: Number(readFileSync(`/sys/dev/block/${disk.number}/queue/max_sectors_kb`, 'utf8')),
  };
}

/** What fails for one program is told in the report, and the others go on. */
function attempt<T>(unmeasured: string[], what: string, body: () => T): T | undefined {
  try {
    return body();
  } catch (error) {
    if (!(error instanceof WinnowError)) throw error;
    unmeasured.push(`${what}: ${error.message}${error.where === undefined ? '' : ` (${error.where})`}`);
    process.stderr.write(`\n${describeError(error)}`);
    return undefined;
  }
}
