/** A bench that measures programs one after another, each in a folder of its own: `bench:select` and `bench:share`. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describeError, WinnowError } from '../../src/base/errors.ts';
import { describeMachine, type Machine } from '../../src/bench/machine.ts';
import { openCleanup } from './cleanup.ts';
import { badUsage, COMMON_OPTIONS, choose, parseSuiteArgs } from './main.ts';
import { installMissing } from './programs.ts';
import { replaceBlock, writeJson } from './report-files.ts';
import { REPOSITORY } from './winnow.ts';

export interface SuiteProgram {
  readonly name: string;
  readonly title: string;
  /** Debian packages that bring it. */
  readonly packages: readonly string[];
}

export interface SuiteReport<R> {
  readonly date: string;
  readonly command: string;
  readonly rounds: number;
  readonly machine: Machine;
  readonly programs: readonly R[];
  readonly unmeasured: readonly string[];
}

export interface Conditions {
  readonly rounds: number;
  readonly abort: AbortSignal;
  readonly talk: (text: string) => void;
}

export interface ProgramSuite<P extends SuiteProgram, R> {
  /** `npm run bench:NAME`, bench/results/NAME.json, and the block of docs/measurements.md. */
  readonly name: string;
  readonly programs: readonly P[];
  readonly defaultRounds: number;
  readonly measure: (program: P, folder: string, conditions: Conditions) => Promise<R>;
  readonly render: (report: SuiteReport<R>) => string;
}

const talk = (text: string): void => {
  process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${text}` : `${text}\n`);
};

type Offer = Pick<ProgramSuite<SuiteProgram, unknown>, 'name' | 'defaultRounds'> & {
  readonly programs: readonly SuiteProgram[];
};

const usageOf = ({ name, programs, defaultRounds }: Offer): string =>
  `usage: npm run bench:${name} -- [options]      (as root)
  --programs a,b   of ${programs.map((program) => program.name).join(', ')} (default: all)
  --rounds N       rounds of each timed mode (default ${defaultRounds})
  --json FILE      where the figures go (default bench/results/${name}.json for a whole run)
  --write-docs     write docs/measurements.md also after a part
  --no-install     do not install missing Debian packages
`;

/** The exit code. @throws WinnowError E_USAGE, and what preparing throws; what fails for one program is in the report. */
export async function runProgramSuite<P extends SuiteProgram, R>(
  suite: ProgramSuite<P, R>,
  args: readonly string[],
): Promise<number> {
  const { name, defaultRounds } = suite;
  const usage = usageOf(suite);
  const { values } = parseSuiteArgs(
    {
      args: [...args],
      options: {
        ...COMMON_OPTIONS,
        programs: { type: 'string' },
        rounds: { type: 'string', default: String(defaultRounds) },
        'write-docs': { type: 'boolean', default: false },
      },
    },
    usage,
  );
  if (values.help) {
    process.stdout.write(usage);
    return 0;
  }
  const chosen = choose('--programs', values.programs, suite.programs, usage);
  const rounds = Number(values.rounds);
  if (!(rounds >= 1)) throw badUsage(`--rounds takes a number from 1 on, not ${values.rounds}`, usage);
  const whole = values.programs === undefined;
  const command = [`npm run bench:${name}`, ...(args.length > 0 ? ['--', ...args] : [])].join(' ');
  const report = { ...(await measureAll(suite, chosen, rounds, !values['no-install'])), command };
  const json = values.json ?? (whole ? join(REPOSITORY, 'bench', 'results', `${name}.json`) : undefined);
  if (json !== undefined) writeJson(resolve(json), `bench-${name}`, report);
  const text = suite.render(report);
  if (whole || values['write-docs']) replaceBlock(join(REPOSITORY, 'docs', 'measurements.md'), name, text);
  process.stdout.write(text);
  return 0;
}

async function measureAll<P extends SuiteProgram, R>(
  suite: ProgramSuite<P, R>,
  chosen: readonly P[],
  rounds: number,
  install: boolean,
): Promise<Omit<SuiteReport<R>, 'command'>> {
  const cleanup = openCleanup();
  try {
    if (install) installMissing([...new Set(chosen.flatMap(({ packages }) => packages))]);
    const work = mkdtempSync('/var/lib/winnow-bench-');
    cleanup.defer(`remove ${work}`, () => rmSync(work, { recursive: true, force: true }));
    // What is mounted over a program must be in reach of whoever starts it.
    chmodSync(work, 0o755);
    const programs: R[] = [];
    const unmeasured: string[] = [];
    for (const program of chosen) {
      if (cleanup.abort.aborted) break;
      const folder = join(work, program.name);
      mkdirSync(folder);
      try {
        programs.push(await suite.measure(program, folder, { rounds, abort: cleanup.abort, talk }));
      } catch (error) {
        // What fails for one program is told in the report, and the others go on.
        if (!(error instanceof WinnowError)) throw error;
        unmeasured.push(`${program.title}: ${error.message}`);
        process.stderr.write(`\n${describeError(error)}`);
      }
    }
    return { date: new Date().toISOString(), rounds, machine: describeMachine([work]), programs, unmeasured };
  } finally {
    cleanup.run();
  }
}
