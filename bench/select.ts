/**
 * The bench of `select`: text pages needed, unexpected loads, resident pages, run time, what recording and
 * building cost. One command, every mode in turn.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describeError, WinnowError } from '../src/base/errors.ts';
import { describeMachine } from '../src/bench/machine.ts';
import { openCleanup } from './support/cleanup.ts';
import { badUsage, COMMON_OPTIONS, choose, exitCodeOf, parseSuiteArgs } from './support/main.ts';
import { installMissing } from './support/programs.ts';
import { replaceBlock, writeJson } from './support/report-files.ts';
import { renderSelect, type SelectReport, type WorkloadResult } from './support/select-report.ts';
import { measureWorkload } from './support/select-run.ts';
import { REPOSITORY } from './support/winnow.ts';
import { WORKLOADS, type Workload } from './support/workloads.ts';

const USAGE = `usage: npm run bench:select -- [options]      (as root)
  --programs a,b   of ${WORKLOADS.map(({ name }) => name).join(', ')} (default: all)
  --rounds N       rounds of each timed mode (default 9)
  --json FILE      where the figures go (default bench/results/select.json for a whole run)
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
        rounds: { type: 'string', default: '9' },
        'write-docs': { type: 'boolean', default: false },
      },
    },
    USAGE,
  );
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const chosen = choose('--programs', values.programs, WORKLOADS, USAGE);
  const rounds = Number(values.rounds);
  if (!(rounds >= 1)) throw badUsage(`--rounds takes a number from 1 on, not ${values.rounds}`, USAGE);
  const whole = values.programs === undefined;
  const report = await suite(chosen, rounds, !values['no-install']);
  const json = values.json ?? (whole ? join(REPOSITORY, 'bench', 'results', 'select.json') : undefined);
  if (json !== undefined) writeJson(resolve(json), 'bench-select', report);
  const text = renderSelect(report);
  if (whole || values['write-docs']) {
    replaceBlock(join(REPOSITORY, 'docs', 'measurements.md'), 'select', text);
  }
  process.stdout.write(text);
  return 0;
}

async function suite(chosen: readonly Workload[], rounds: number, install: boolean): Promise<SelectReport> {
  const cleanup = openCleanup();
  try {
    if (install) installMissing([...new Set(chosen.flatMap(({ packages }) => packages))]);
    const work = mkdtempSync('/var/lib/winnow-bench-');
    cleanup.defer(`remove ${work}`, () => rmSync(work, { recursive: true, force: true }));
    const programs: WorkloadResult[] = [];
    const unmeasured: string[] = [];
    for (const workload of chosen) {
      if (cleanup.abort.aborted) break;
      const folder = join(work, workload.name);
      mkdirSync(folder);
      try {
        programs.push(await measureWorkload(workload, folder, { rounds, abort: cleanup.abort, talk }));
      } catch (error) {
        // What fails for one program is told in the report, and the others go on.
        if (!(error instanceof WinnowError)) throw error;
        unmeasured.push(`${workload.title}: ${error.message}`);
        process.stderr.write(`\n${describeError(error)}`);
      }
    }
    const words = process.argv.slice(2);
    const command = ['npm run bench:select', ...(words.length > 0 ? ['--', ...words] : [])].join(' ');
    return {
      date: new Date().toISOString(),
      command,
      rounds,
      machine: describeMachine([work]),
      programs,
      unmeasured,
    };
  } finally {
    cleanup.run();
  }
}
