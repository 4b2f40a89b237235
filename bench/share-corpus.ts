/** Which of the dynamic programs under /usr/bin get an image after linking, or prelinked libraries, and whether they do the same then. */
import { chmodSync, mkdtempSync, readdirSync, realpathSync, rmSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describeMachine } from '../src/bench/machine.ts';
import type { Sharing } from '../src/cli/build-techniques.ts';
import { probeProgram } from '../src/elf/probe.ts';
import { openCleanup } from './support/cleanup.ts';
import { badUsage, COMMON_OPTIONS, exitCodeOf, parseSuiteArgs } from './support/main.ts';
import { installMissing } from './support/programs.ts';
import { replaceBlock, writeJson } from './support/report-files.ts';
import { type CorpusResult, STARTS, tryProgram } from './support/share-corpus.ts';
import { renderCorpus } from './support/share-corpus-report.ts';
import { PROGRAM_PACKAGES } from './support/share-packages.ts';
import { REPOSITORY } from './support/winnow.ts';

const USAGE = `usage: npm run bench:share-programs -- [options] [PROGRAM...]      (as root; half an hour)
  --every N        only every Nth program
  --share HOW      image (default) or prelink
  --json FILE      where the results go (default for a whole run: bench/results/share-programs.json, or
                   share-programs-prelink.json)
  --no-install     do not install the hundred Debian packages that bring the programs
`;
const BIN = '/usr/bin';
const SHARINGS = ['image', 'prelink'] as const;

process.exitCode = await exitCodeOf(() => main(process.argv.slice(2)));

async function main(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseSuiteArgs(
    {
      args: [...args],
      options: {
        ...COMMON_OPTIONS,
        every: { type: 'string', default: '1' },
        share: { type: 'string', default: 'image' },
      },
      allowPositionals: true,
    },
    USAGE,
  );
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const every = Number(values.every);
  if (!Number.isInteger(every) || every < 1)
    throw badUsage(`--every takes a whole number from 1 on, not ${values.every}`, USAGE);
  const share: Sharing | undefined = SHARINGS.find((one) => one === values.share);
  if (share === undefined) throw badUsage(`--share takes image or prelink, not ${values.share}`, USAGE);
  const whole = positionals.length === 0 && every === 1;
  if (!values['no-install']) installMissing(PROGRAM_PACKAGES);
  const programs =
    positionals.length > 0 ? positionals : dynamicPrograms().filter((_, index) => index % every === 0);
  const results = await tryAll(programs, share);
  const report = {
    date: new Date().toISOString(),
    share,
    machine: { ...describeMachine([]), devices: [] },
    starts: STARTS,
    packages: PROGRAM_PACKAGES.length,
    results,
  };
  const name = share === 'image' ? 'share-programs' : 'share-programs-prelink';
  const json = values.json ?? (whole ? join(REPOSITORY, 'bench', 'results', `${name}.json`) : undefined);
  if (json !== undefined) writeJson(resolve(json), 'bench-share-programs', report);
  const text = renderCorpus(report);
  if (whole) replaceBlock(join(REPOSITORY, 'docs', 'measurements.md'), name, text);
  process.stdout.write(text);
  return results.some(({ kind }) => kind === 'wrong') ? 1 : 0;
}

/** Programs that name an interpreter, each once however many links lead to it; those elsewhere than under /usr/bin are left out. */
function dynamicPrograms(): string[] {
  const paths = readdirSync(BIN).map((name) => join(BIN, name));
  const files = paths.flatMap((path) => {
    try {
      const real = realpathSync(path);
      return real.startsWith(`${BIN}/`) && statSync(real).isFile() ? [real] : [];
    } catch {
      // A link that leads nowhere.
      return [];
    }
  });
  return [...new Set(files)].sort().filter((path) => {
    const kind = probeProgram(path);
    return kind.kind === 'elf' && kind.interp !== undefined;
  });
}

async function tryAll(programs: readonly string[], share: Sharing): Promise<CorpusResult[]> {
  const cleanup = openCleanup();
  try {
    const work = mkdtempSync('/var/lib/winnow-bench-');
    cleanup.defer(`remove ${work}`, () => rmSync(work, { recursive: true, force: true }));
    chmodSync(work, 0o755);
    const results: CorpusResult[] = [];
    for (const [index, path] of programs.entries()) {
      if (cleanup.abort.aborted) break;
      const result = await tryProgram(path, work, share);
      results.push(result);
      if (process.stderr.isTTY || result.kind === 'wrong' || result.kind === 'unused' || index % 50 === 0)
        process.stderr.write(`${index + 1}/${programs.length} ${path}: ${JSON.stringify(result)}\n`);
    }
    return results;
  } finally {
    cleanup.run();
  }
}
