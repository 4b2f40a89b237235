/** What a call costs by the way that leads to the function: the ways of the notes on sharing, side by side. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { describeMachine } from '../src/bench/machine.ts';
import { summarize } from '../src/bench/stats.ts';
import { renderMachine } from '../src/bench/terminal.ts';
import { readClosure } from '../src/share/closure/modules.ts';
import { CALL_WAYS, type CallWay } from '../src/share/notes/call-costs.ts';
import { FIRST_ADDRESS } from '../src/share/prelink/plan-addresses.ts';
import { prelinkClosure } from '../src/share/prelink/prelink.ts';
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

/** Rounds of one run of the program; runs with and without prelinked libraries alternate. */
const ROUNDS_A_RUN = 5;

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
function measure(rounds: number): Map<CallWay, number[]> {
  const folder = mkdtempSync(join(tmpdir(), 'winnow-call-cost-'));
  try {
    const program = compile(folder);
    const copies = join(folder, 'prelinked');
    prelink(program, copies);
    const samples = new Map<CallWay, number[]>(CALL_WAYS.map(({ name }) => [name, []]));
    for (let left = rounds; left > 0; left -= ROUNDS_A_RUN) {
      const count = String(Math.min(left, ROUNDS_A_RUN));
      const plain = tool('env', `LD_LIBRARY_PATH=${folder}`, program, count);
      const prelinked = tool('env', `LD_LIBRARY_PATH=${copies}`, program, count);
      for (const { name } of CALL_WAYS) {
        const [text, way] = name === 'direct-plt' ? [prelinked, 'near-plt'] : [plain, name];
        for (const [, ns] of text.matchAll(new RegExp(`(?:^| )${way}=(\\S+)`, 'gm')))
          samples.get(name)?.push(Number(ns));
      }
    }
    return samples;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The program and its two libraries; returns the program. */
function compile(folder: string): string {
  const sources = join(REPOSITORY, 'bench', 'support');
  const [library, caller, program] = ['libcallee.so', 'libcaller.so', 'call-cost'].map((name) =>
    join(folder, name),
  );
  // The calls in assembly write below the stack pointer, of which the compiler does not know.
  const gcc = (...args: readonly (string | undefined)[]): string =>
    tool('gcc', '-O2', '-mno-red-zone', '-fPIC', '-o', ...args.filter((word) => word !== undefined));
  gcc(library, '-shared', join(sources, 'call-cost-library.c'));
  gcc(caller, '-shared', join(sources, 'call-cost-caller.c'));
  gcc(program, '-pie', join(sources, 'call-cost.c'), caller, library);
  return program ?? '';
}

/** Copies of the libraries with direct stubs, side by side so that all of them are near. */
function prelink(program: string, folder: string): void {
  mkdirSync(folder);
  const closure = readClosure(program, { LD_LIBRARY_PATH: dirname(program) });
  if ('kind' in closure) return;
  const addresses = { how: 'side by side', from: FIRST_ADDRESS } as const;
  const { modules } = prelinkClosure(closure, { relocations: 'applied', stubs: 'direct', addresses });
  for (const { module, bytes } of modules) {
    writeFileSync(join(folder, basename(module.name)), bytes, { mode: 0o755 });
  }
}
