/**
 * Measures one program under `select`, as a person would use it: record --functions, build, look, run.
 *
 * Profiles, images and the analysis cache lie in the workload's folder, so that the first analysis is a
 * first one.
 */
import { closeSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { WinnowError } from '../../src/base/errors.ts';
import { coldMaker } from '../../src/bench/cold.ts';
import type { Sample } from '../../src/bench/model.ts';
import { interleave, runMode } from '../../src/bench/run.ts';
import { pairedRatio } from '../../src/bench/stats.ts';
import { openStore } from '../../src/profile/store.ts';
import { runProcess } from '../../src/sys/spawn.ts';
import { type ResidentPages, residentAtExit } from '../resident.ts';
import type { Conditions } from './program-suite.ts';
import { SCRATCH } from './programs.ts';
import { readFunctionsReport, readMisses } from './select-json.ts';
import type { WorkloadResult } from './select-report.ts';
import { storedSizes } from './stored.ts';
import { REPOSITORY } from './winnow.ts';
import { type Invocation, type Workload, workloadEnvironment } from './workloads.ts';

interface Place {
  readonly workload: Workload;
  readonly folder: string;
  readonly store: string;
  readonly env: Readonly<Record<string, string>>;
  readonly run: Invocation;
}

/** Recorded runs: the last ones with a warm analysis cache. */
const RECORDS = 3;

/** @throws WinnowError E_BENCH_WINNOW where a step fails */
export async function measureWorkload(
  workload: Workload,
  folder: string,
  options: Conditions,
): Promise<WorkloadResult> {
  options.talk(`${workload.title}: preparing`);
  const env = { ...workloadEnvironment(join(folder, 'home')), XDG_CACHE_HOME: join(folder, 'cache') };
  const place: Place = {
    workload,
    folder,
    store: join(folder, 'store'),
    env,
    run: workload.setUp(folder),
  };
  const native = plainRun(place);
  options.talk(`${workload.title}: recording functions`);
  const recorded = Array.from({ length: RECORDS }, () => winnow(place, ['record', '--functions']));
  const recordMs = openStore({ store: place.store })
    .read(workload.name)
    .runs.map(({ durationMs }) => durationMs);
  options.talk(`${workload.title}: building`);
  rmSync(join(folder, 'cache'), { recursive: true, force: true });
  const build = ['build', '--only', 'select'];
  const first = winnow(place, build);
  const again = winnow(place, build);
  const functions = readFunctionsReport(winnow(place, ['report', '--functions', '--json']).stdout);
  const result = {
    name: workload.name,
    title: workload.title,
    functions,
    recording: {
      nativeMs: native.wallMs,
      firstMs: recorded[0]?.wallMs ?? Number.NaN,
      // Newest first; the program's own time, as the recorder notes it.
      warmMs: recordMs[0] ?? Number.NaN,
    },
    building: {
      firstMs: first.wallMs,
      againMs: again.wallMs,
      peakMib: Math.max(first.maxRssKib, again.maxRssKib) / 1024,
    },
  };
  const resident = workload.pages ? residentOf(place, options) : undefined;
  const time = workload.timed ? await timeOf(place, options) : undefined;
  const stored = workload.pages ? storedOf(place, options) : undefined;
  const misses = workload.pages ? missesOf(place, options) : undefined;
  return {
    ...result,
    ...(resident === undefined ? {} : { resident }),
    ...(time === undefined ? {} : { time }),
    ...(stored === undefined ? {} : { stored }),
    ...(misses === undefined ? {} : { misses }),
  };
}

const launcherOf = ({ store, workload }: Place): string => join(store, 'images', workload.name, 'launch');

function freshScratch(): void {
  rmSync(SCRATCH, { recursive: true, force: true });
  mkdirSync(SCRATCH, { recursive: true });
}

/**
 * How a file came into the page cache decides how much of it a page fault maps: since Linux 6.18 all of a large folio,
 * and read() and write() make larger ones than page faults do. So both start from an empty cache, which a
 * run fills before the one that counts.
 */
function residentOf(place: Place, { talk }: Conditions): NonNullable<WorkloadResult['resident']> {
  talk(`${place.workload.title}: resident pages`);
  const { run, env, folder } = place;
  const of = (file: string): ResidentPages => {
    const once = (): ResidentPages => {
      freshScratch();
      return residentAtExit({ file, argv: [run.file, ...run.args], env, cwd: folder });
    };
    coldMaker([], true)?.empty();
    once();
    return once();
  };
  return { original: of(place.run.file), image: of(launcherOf(place)) };
}

async function timeOf(
  place: Place,
  { rounds, abort, talk }: Conditions,
): Promise<NonNullable<WorkloadResult['time']>> {
  const argv = [place.run.file, ...place.run.args];
  const mode = (name: string, file: string) => ({
    name,
    steps: [{ file, argv, cwd: place.folder }],
  });
  const modes = [mode('original', place.run.file), mode('image', launcherOf(place))];
  const runOnce = (one: (typeof modes)[number]): Promise<Sample> => {
    freshScratch();
    return runMode(one, { env: place.env });
  };
  for (const one of modes) await runOnce(one);
  const results = await interleave({
    modes,
    rounds,
    abort,
    onRound: (done, all) => talk(`${place.workload.title}: run time ${done}/${all}`),
    runOnce,
  });
  const [original, image] = results;
  if (original === undefined || image === undefined) throw failed(place, 'no run was timed');
  const wall = (samples: readonly Sample[]): number[] => samples.map(({ wallMs }) => wallMs);
  return {
    originalMs: original.wallMs,
    imageMs: image.wallMs,
    ratio: pairedRatio(wall(image.samples), wall(original.samples)),
  };
}

/** Builds with everything cold stored: what that saves, and whether the program does the same. */
function storedOf(place: Place, { talk }: Conditions): NonNullable<WorkloadResult['stored']> {
  talk(`${place.workload.title}: stored code`);
  winnow(place, ['build', '--only', 'select', '--cold', 'store']);
  const launcher = launcherOf(place);
  freshScratch();
  const { run, env, folder, workload } = place;
  const argv = [run.file, ...run.args];
  const { brought } = residentAtExit({ file: launcher, argv, env, cwd: folder });
  const talking = [...argv, ...(workload.talking ?? [])];
  const [original, image] = [run.file, launcher].map((file) => outcome(place, file, talking));
  return {
    sizes: storedSizes(join(place.store, 'images', workload.name)),
    broughtPages: brought,
    isSame: original === image,
  };
}

/** How the program ends, and what it says on the way. */
function outcome(place: Place, file: string, argv: readonly string[]): string {
  freshScratch();
  const path = join(place.folder, 'outcome');
  const output = openSync(path, 'w');
  try {
    const done = runProcess({
      file,
      argv,
      env: place.env,
      cwd: place.folder,
      stdin: { kind: 'null' },
      stdout: { kind: 'fd', fd: output },
      stderr: { kind: 'null' },
    });
    return `${JSON.stringify(done.status)}\n${readFileSync(path, 'utf8')}`;
  } finally {
    closeSync(output);
  }
}

/** Builds with everything cold forbidden, runs once under the tracer, and counts what was called all the same. */
function missesOf(place: Place, { talk }: Conditions): NonNullable<WorkloadResult['misses']> {
  talk(`${place.workload.title}: unexpected loads`);
  winnow(place, ['build', '--only', 'select', '--cold', 'deny']);
  const misses = join(place.folder, 'misses.json');
  winnow(place, ['record', '--from-misses', '--json', misses]);
  return readMisses(readFileSync(misses, 'utf8'));
}

function plainRun(place: Place): { readonly wallMs: number } {
  const once = (): number => {
    freshScratch();
    const done = runProcess({
      file: place.run.file,
      argv: [place.run.file, ...place.run.args],
      env: place.env,
      cwd: place.folder,
      stdin: { kind: 'null' },
      stdout: { kind: 'null' },
      stderr: { kind: 'null' },
    });
    if (done.status.kind !== 'exited' || done.status.code !== 0) {
      throw failed(place, `the program itself ends with ${JSON.stringify(done.status)}`);
    }
    return done.wallNs / 1e6;
  };
  once();
  return { wallMs: Math.min(once(), once(), once()) };
}

interface Done {
  readonly stdout: string;
  readonly stderr: string;
  readonly wallMs: number;
  readonly maxRssKib: number;
}

/** Runs winnow on the workload. The largest of its processes gives `maxRssKib`. */
function winnow(place: Place, words: readonly string[]): Done {
  freshScratch();
  const named = words[0] === 'report' ? [place.workload.name] : ['--name', place.workload.name];
  const run = words[0] === 'record' ? ['--', place.run.file, ...place.run.args] : [];
  const all = [...words, '--store', place.store, ...named, ...run];
  const outputs = { stdout: join(place.folder, 'stdout'), stderr: join(place.folder, 'stderr') };
  const open = (path: string): number => openSync(path, 'w');
  const [stdout, stderr] = [open(outputs.stdout), open(outputs.stderr)];
  try {
    const done = runProcess({
      file: join(REPOSITORY, 'bin', 'winnow'),
      argv: ['winnow', ...all],
      cwd: place.folder,
      env: place.env,
      stdin: { kind: 'null' },
      stdout: { kind: 'fd', fd: stdout },
      stderr: { kind: 'fd', fd: stderr },
    });
    const text = readFileSync(outputs.stderr, 'utf8');
    if (done.status.kind !== 'exited' || done.status.code !== 0)
      throw failed(place, `winnow ${words.join(' ')} ends with ${JSON.stringify(done.status)}: ${text}`);
    return {
      stdout: readFileSync(outputs.stdout, 'utf8'),
      stderr: text,
      wallMs: done.wallNs / 1e6,
      maxRssKib: done.usage.maxRssKib,
    };
  } finally {
    closeSync(stdout);
    closeSync(stderr);
  }
}

const failed = (place: Place, what: string): WinnowError =>
  new WinnowError({
    code: 'E_BENCH_WINNOW',
    kind: 'environment',
    what: what.trim().split('\n').slice(-4).join(' | '),
    where: place.workload.title,
    next: 'run the same by hand, or leave the program out with --programs',
  });
