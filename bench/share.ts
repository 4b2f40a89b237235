/**
 * The bench of `share`: from exec to the end of linking, whole runs, memory at exit and side by side, what an image costs.
 */
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describeError, WinnowError } from '../src/base/errors.ts';
import { describeMachine } from '../src/bench/machine.ts';
import type { Sample } from '../src/bench/model.ts';
import { interleave, runMode } from '../src/bench/run.ts';
import { pairedRatio } from '../src/bench/stats.ts';
import { type Cleanup, openCleanup } from './support/cleanup.ts';
import { badUsage, COMMON_OPTIONS, choose, exitCodeOf, parseSuiteArgs } from './support/main.ts';
import { installMissing } from './support/programs.ts';
import { replaceBlock, writeJson } from './support/report-files.ts';
import { buildSharedImage, freshScratch, type SharedImage } from './support/share-image.ts';
import { ownAtExit, sideBySide } from './support/share-memory.ts';
import { SHARE_PROGRAMS, type ShareProgram } from './support/share-programs.ts';
import { renderShare, type ShareReport, type ShareResult } from './support/share-report.ts';
import { measureStarts, openLoaded } from './support/share-start.ts';
import { REPOSITORY } from './support/winnow.ts';

const USAGE = `usage: npm run bench:share -- [options]      (as root)
  --programs a,b   of ${SHARE_PROGRAMS.map(({ name }) => name).join(', ')} (default: all)
  --rounds N       rounds of each timed mode (default 15)
  --json FILE      where the figures go (default bench/results/share.json for a whole run)
  --write-docs     write docs/measurements.md also after a part
  --no-install     do not install missing Debian packages
`;

const talk = (text: string): void => {
  process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${text}` : `${text}\n`);
};

process.exitCode = await exitCodeOf(() => main(process.argv.slice(2)));

async function main(args: readonly string[]): Promise<number> {
  const { values } = parseSuiteArgs(
    {
      args: [...args],
      options: {
        ...COMMON_OPTIONS,
        programs: { type: 'string' },
        rounds: { type: 'string', default: '15' },
        'write-docs': { type: 'boolean', default: false },
      },
    },
    USAGE,
  );
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const chosen = choose('--programs', values.programs, SHARE_PROGRAMS, USAGE);
  const rounds = Number(values.rounds);
  if (!(rounds >= 1)) throw badUsage(`--rounds takes a number from 1 on, not ${values.rounds}`, USAGE);
  const whole = values.programs === undefined;
  const report = await suite(chosen, rounds, !values['no-install']);
  const json = values.json ?? (whole ? join(REPOSITORY, 'bench', 'results', 'share.json') : undefined);
  if (json !== undefined) writeJson(resolve(json), 'bench-share', report);
  const text = renderShare(report);
  if (whole || values['write-docs']) replaceBlock(join(REPOSITORY, 'docs', 'measurements.md'), 'share', text);
  process.stdout.write(text);
  return 0;
}

async function suite(
  chosen: readonly ShareProgram[],
  rounds: number,
  install: boolean,
): Promise<ShareReport> {
  const cleanup = openCleanup();
  try {
    if (install) installMissing([...new Set(chosen.flatMap(({ packages }) => packages)), 'gcc']);
    const work = mkdtempSync('/var/lib/winnow-bench-');
    cleanup.defer(`remove ${work}`, () => rmSync(work, { recursive: true, force: true }));
    chmodSync(work, 0o755);
    const loaded = openLoaded();
    cleanup.defer('remove loaded', () => loaded.close());
    const programs: ShareResult[] = [];
    const unmeasured: string[] = [];
    for (const program of chosen) {
      if (cleanup.abort.aborted) break;
      const folder = join(work, program.name);
      mkdirSync(folder);
      try {
        programs.push(await measure(program, folder, { rounds, loaded: loaded.path, cleanup }));
      } catch (error) {
        // What fails for one program is told in the report, and the others go on.
        if (!(error instanceof WinnowError)) throw error;
        unmeasured.push(`${program.title}: ${error.message}`);
        process.stderr.write(`\n${describeError(error)}`);
      }
    }
    const words = process.argv.slice(2);
    return {
      date: new Date().toISOString(),
      command: ['npm run bench:share', ...(words.length > 0 ? ['--', ...words] : [])].join(' '),
      rounds,
      machine: describeMachine([work]),
      programs,
      unmeasured,
    };
  } finally {
    cleanup.run();
  }
}

interface Conditions {
  readonly rounds: number;
  readonly loaded: string;
  readonly cleanup: Cleanup;
}

async function measure(program: ShareProgram, folder: string, conditions: Conditions): Promise<ShareResult> {
  talk(`${program.title}: recording and building`);
  const image = buildSharedImage(program, folder);
  const { linked } = image;
  if (linked === undefined) throw notLinked(image);
  talk(`${program.title}: starts`);
  const start =
    program.kind === 'start'
      ? measureStarts({ ...image, linked }, conditions.loaded, conditions.rounds * 3)
      : undefined;
  const wall = await wallOf(image, conditions);
  talk(`${program.title}: memory`);
  const own = ownAtExit(image);
  const side = await sideBySide(image);
  return {
    name: program.name,
    title: program.title,
    kind: program.kind,
    buildMs: image.buildMs,
    modules: linked.modules,
    relocatedPages: linked.relocatedPages,
    maps: linked.maps,
    bytes: linked.bytes,
    ...(start === undefined ? {} : { start }),
    wall,
    own,
    ...(side === undefined ? {} : { side }),
  };
}

async function wallOf(image: SharedImage, { rounds, cleanup }: Conditions): Promise<ShareResult['wall']> {
  const argv = [image.file, ...image.args];
  const mode = (name: string, file: string) => ({ name, steps: [{ file, argv, cwd: image.folder }] });
  const modes = [mode('plain', image.file), mode('image', image.launch)];
  const runOnce = (one: (typeof modes)[number]): Promise<Sample> => {
    freshScratch();
    return runMode(one, { env: image.env });
  };
  for (const one of modes) await runOnce(one);
  const [plain, linked] = await interleave({
    modes,
    rounds,
    abort: cleanup.abort,
    onRound: (done, all) => talk(`${image.program.title}: run time ${done}/${all}`),
    runOnce,
  });
  if (plain === undefined || linked === undefined) throw notLinked(image);
  const wall = (samples: readonly Sample[]): number[] => samples.map(({ wallMs }) => wallMs);
  return {
    plainMs: plain.wallMs,
    imageMs: linked.wallMs,
    ratio: pairedRatio(wall(plain.samples), wall(linked.samples)),
  };
}

function notLinked({ kept, file }: SharedImage): WinnowError {
  const why = kept.map(({ path, reason, detail }) => `${path}: ${reason} ${detail ?? ''}`.trim()).join('; ');
  return new WinnowError({
    code: 'E_BENCH_WINNOW',
    kind: 'environment',
    what: `the program got no image: ${why === '' ? 'it was not recorded' : why}`,
    where: file,
    next: 'winnow image show says more, or leave it out with --programs',
  });
}
