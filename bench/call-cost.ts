/** What a call costs by the way that leads to the function: the ways of the notes on sharing, side by side. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describeMachine } from '../src/bench/machine.ts';
import { summarize } from '../src/bench/stats.ts';
import { renderMachine } from '../src/bench/terminal.ts';
import { CALL_WAYS } from '../src/share/notes/call-costs.ts';
import { badUsage, COMMON_OPTIONS, exitCodeOf, parseSuiteArgs } from './support/main.ts';
import { markdownTable } from './support/markdown.ts';
import { installMissing } from './support/programs.ts';
import { replaceBlock, writeJson } from './support/report-files.ts';
import { tool } from './support/sh.ts';
import { REPOSITORY } from './support/winnow.ts';

const USAGE = `usage: npm run bench:call-cost -- [options]      (a few seconds)
  --rounds N       rounds, each with all ways (default 101)
  --json FILE      where the figures go (default bench/results/call-cost.json)
  --dry-run        measure, and write nothing
  --no-install     do not install missing Debian packages
`;

process.exitCode = await exitCodeOf(() => main(process.argv.slice(2)));

async function main(args: readonly string[]): Promise<number> {
  const { values } = parseSuiteArgs(
    {
      args: [...args],
      options: {
        ...COMMON_OPTIONS,
        rounds: { type: 'string', default: '101' },
        'dry-run': { type: 'boolean', default: false },
      },
    },
    USAGE,
  );
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) throw badUsage('--rounds: a whole number from 1 on', USAGE);
  if (!values['no-install']) installMissing(['gcc']);
  const samples = measure(rounds);
  const report = {
    measured: new Date().toISOString().slice(0, 10),
    machine: { ...describeMachine([]), devices: [] },
    rounds,
    ways: CALL_WAYS.map(({ name, what }) => ({ name, what, ns: summarize(samples.get(name) ?? []) })),
    samples: Object.fromEntries(samples),
  };
  const rows = report.ways.map(({ what, ns }) => [
    what,
    ns.median.toFixed(2),
    `${ns.quartiles[0].toFixed(2)} to ${ns.quartiles[1].toFixed(2)}`,
  ]);
  const markdown =
    `Measured ${report.measured} with \`npm run bench:call-cost\`: medians of ${rounds} rounds, the ways in turn in each, of each way the best of nine tries.\n\n` +
    `\`\`\`\n${renderMachine(report.machine)}\`\`\`\n\n` +
    `${markdownTable(['ns a call', 'median', 'middle half'], rows)}\n`;
  process.stdout.write(markdown);
  if (values['dry-run']) return 0;
  writeJson(
    resolve(values.json ?? join(REPOSITORY, 'bench', 'results', 'call-cost.json')),
    'bench-call-cost',
    report,
  );
  replaceBlock(join(REPOSITORY, 'docs', 'measurements.md'), 'call-cost', markdown);
  return 0;
}

/** Nanoseconds by way, one for each round. */
function measure(rounds: number): Map<string, number[]> {
  const folder = mkdtempSync(join(tmpdir(), 'winnow-call-cost-'));
  try {
    const sources = join(REPOSITORY, 'bench', 'support');
    const library = join(folder, 'libcallee.so');
    const program = join(folder, 'call-cost');
    tool('gcc', '-O2', '-shared', '-fPIC', '-o', library, join(sources, 'call-cost-library.c'));
    // The calls in assembly write below the stack pointer, of which the compiler does not know.
    const flags = ['-O2', '-mno-red-zone', '-fPIE', '-pie', `-Wl,-rpath,${folder}`];
    tool('gcc', ...flags, '-o', program, join(sources, 'call-cost.c'), library);
    const samples = new Map<string, number[]>(CALL_WAYS.map(({ name }) => [name, []]));
    for (const [, name = '', ns] of tool(program, String(rounds)).matchAll(/(\S+)=(\S+)/g)) {
      samples.get(name)?.push(Number(ns));
    }
    return samples;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
