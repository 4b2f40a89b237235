/** The table of the notes on sharing, for one program with an image: `winnow report --sharing`, into the documents. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { WinnowError } from '../src/base/errors.ts';
import { describeMachine } from '../src/bench/machine.ts';
import { renderMachine } from '../src/bench/terminal.ts';
import { renderSharing } from '../src/report/sharing-text.ts';
import { COMMON_OPTIONS, exitCodeOf, parseSuiteArgs } from './support/main.ts';
import { ENVIRONMENT, installMissing } from './support/programs.ts';
import { replaceBlock, writeJson } from './support/report-files.ts';
import { REPOSITORY } from './support/winnow.ts';

const USAGE = `usage: npm run bench:sharing-table -- [options] [CMD...]      (a minute; default: inkscape --version)
  --json FILE      where the figures go (default bench/results/sharing-table.json)
  --no-install     do not install missing Debian packages
`;
const DEFAULT = ['inkscape', '--version'];

process.exitCode = await exitCodeOf(() => main(process.argv.slice(2)));

async function main(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseSuiteArgs(
    { args: [...args], allowPositionals: true, options: COMMON_OPTIONS },
    USAGE,
  );
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const command = positionals.length > 0 ? positionals : DEFAULT;
  if (positionals.length === 0 && !values['no-install']) installMissing(['inkscape']);
  const folder = mkdtempSync(join(tmpdir(), 'winnow-sharing-table-'));
  try {
    const winnow = (...words: readonly string[]): string => run(folder, [...words, '--', ...command]);
    winnow('record');
    winnow('build', '--only', 'share');
    // Of system 4, all pages of which are relocated at the start.
    winnow('record', '--name', 'slid');
    run(folder, ['build', '--only', 'share', '--slide', '--name', 'slid']);
    const report = JSON.parse(winnow('report', '--sharing', '--json'));
    const text = renderSharing(report);
    const load = (loadavg()[0] ?? 0).toFixed(1);
    const measured = new Date().toISOString().slice(0, 10);
    const machine = { ...describeMachine([]), devices: [] };
    // The first table and its legend; the whole is in the command.
    const table = text.split('\n\n').slice(0, 3).join('\n\n').trimEnd();
    const markdown =
      `Measured ${measured} with \`npm run bench:sharing-table\`; ${load} processes were running, so compare the times with each other only.\n\n` +
      `\`\`\`\n${renderMachine(machine)}\`\`\`\n\n\`\`\`\n$ winnow report --sharing -- ${command.join(' ')}\n${table}\n\`\`\`\n\n`;
    process.stdout.write(markdown);
    const json = resolve(values.json ?? join(REPOSITORY, 'bench', 'results', 'sharing-table.json'));
    const { winnow: _, version: __, ...rest } = report;
    writeJson(json, 'bench-sharing-table', { measured, load, machine, ...rest });
    for (const document of ['README.md', join('docs', 'measurements.md')])
      replaceBlock(join(REPOSITORY, document), 'sharing-table', markdown);
    return 0;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** @throws WinnowError E_BENCH_TOOL */
function run(folder: string, words: readonly string[]): string {
  const [name = '', ...rest] = words;
  const done = spawnSync(
    join(REPOSITORY, 'bin', 'winnow'),
    [name, '--store', join(folder, 'store'), ...rest],
    {
      encoding: 'utf8',
      maxBuffer: 1 << 28,
      env: { ...ENVIRONMENT, HOME: folder, XDG_CACHE_HOME: join(folder, 'cache') },
    },
  );
  if (done.status === 0) return done.stdout;
  throw new WinnowError({
    code: 'E_BENCH_TOOL',
    kind: 'environment',
    what: `winnow ${name} failed: ${(done.stderr || String(done.error ?? done.signal)).trim()}`,
    where: words.join(' '),
    next: 'run `winnow doctor`',
  });
}
