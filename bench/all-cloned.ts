/**
 * Rewrites the libraries of some hundred Debian packages with every function copied, and has each judged: by
 * winnow's own reader, readelf, eu-elflint, the dynamic loader; rewritten twice, and restored.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { buildLoader, type JudgedLibrary, notJudged } from './support/all-cloned-judge.ts';
import { LIBRARY_PACKAGES, librariesOf } from './support/all-cloned-packages.ts';
import { type AllClonedReport, renderAllCloned, totalsOf } from './support/all-cloned-report.ts';
import { COMMON_OPTIONS, exitCodeOf, parseSuiteArgs } from './support/main.ts';
import { installMissing } from './support/programs.ts';
import { replaceBlock, writeJson } from './support/report-files.ts';
import { tool } from './support/sh.ts';
import { REPOSITORY } from './support/winnow.ts';

const USAGE = `usage: npm run bench:all-cloned -- [options] [LIBRARY...]      (as root; a quarter of an hour)
  --json FILE      where the figures go (default bench/results/all-cloned.json for a whole run)
  --workers N      processes (default 2)
  --no-install     do not install missing Debian packages
`;
/** Of the largest library, and then as much again. */
const LONGEST_MS = 600_000;

process.exitCode = await exitCodeOf(() => main(process.argv.slice(2)));

async function main(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseSuiteArgs(
    {
      args: [...args],
      allowPositionals: true,
      options: {
        ...COMMON_OPTIONS,
        workers: { type: 'string', default: '2' },
      },
    },
    USAGE,
  );
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const whole = positionals.length === 0;
  if (whole && !values['no-install']) installMissing([...LIBRARY_PACKAGES, 'binutils', 'elfutils', 'gcc']);
  const report = await suite(positionals, Number(values.workers));
  const json = values.json ?? (whole ? join(REPOSITORY, 'bench', 'results', 'all-cloned.json') : undefined);
  if (json !== undefined) writeJson(resolve(json), 'bench-all-cloned', report);
  const markdown = renderAllCloned(report);
  if (whole) replaceBlock(join(REPOSITORY, 'docs', 'measurements.md'), 'all-cloned', markdown);
  process.stdout.write(markdown);
  for (const { path, complaints } of report.libraries) {
    for (const text of complaints) process.stdout.write(`${path}: ${text}\n`);
  }
  return report.totals.complaints === 0 ? 0 : 1;
}

async function suite(paths: readonly string[], workers: number): Promise<AllClonedReport> {
  const started = Date.now();
  const found = paths.length > 0 ? { libraries: paths, versions: {} } : librariesOf(LIBRARY_PACKAGES);
  const folder = mkdtempSync(join(tmpdir(), 'winnow-all-cloned-'));
  try {
    const libraries = await judgeAll(found.libraries, folder, workers);
    const firstLine = (...words: readonly [string, ...string[]]): string =>
      tool(...words).split('\n')[0] ?? '';
    return {
      measured: new Date().toISOString().slice(0, 10),
      tools: {
        system: /^PRETTY_NAME="(.*)"/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'unknown',
        readelf: firstLine('readelf', '--version'),
        elflint: firstLine('eu-elflint', '--version'),
        'ld.so': firstLine('/lib64/ld-linux-x86-64.so.2', '--version'),
      },
      packages: found.versions,
      minutes: (Date.now() - started) / 60_000,
      totals: totalsOf(libraries),
      libraries,
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** In the order of the paths. */
async function judgeAll(paths: readonly string[], folder: string, workers: number): Promise<JudgedLibrary[]> {
  const loader = buildLoader(folder);
  const results = new Map<string, JudgedLibrary>();
  const waiting = [...paths];
  const script = join(
    import.meta.dirname,
    'support',
    `all-cloned-worker.${import.meta.filename.endsWith('.ts') ? 'ts' : 'js'}`,
  );
  const work = async (): Promise<void> => {
    let child: ChildProcess | undefined;
    for (let path = waiting.shift(); path !== undefined; path = waiting.shift()) {
      child ??= fork(script, [folder, loader]);
      const result = await ask(child, path);
      if (result === undefined) {
        child.kill('SIGKILL');
        child = undefined;
      }
      results.set(path, result ?? notJudged(path, 'winnow: its process ended or took too long'));
      if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${results.size} of ${paths.length} libraries`);
    }
    child?.disconnect();
  };
  await Promise.all(Array.from({ length: workers }, work));
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  return paths.flatMap((path) => results.get(path) ?? []);
}

/** Undefined where the process gives no answer. */
function ask(child: ChildProcess, path: string): Promise<JudgedLibrary | undefined> {
  return new Promise((resolve) => {
    const finish = (result: JudgedLibrary | undefined): void => {
      clearTimeout(timer);
      child.off('message', onMessage);
      child.off('exit', onExit);
      resolve(result);
    };
    const onMessage = (result: JudgedLibrary): void => finish(result);
    const onExit = (): void => finish(undefined);
    const timer = setTimeout(onExit, LONGEST_MS);
    child.on('message', onMessage);
    child.on('exit', onExit);
    child.send(path);
  });
}
