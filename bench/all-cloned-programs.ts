/**
 * Real programs with every function of every module copied: they behave as before; and where the originals cannot be
 * executed, which places they come to all the same, each with its reason. Or (--technique share) the same programs
 * started linked.
 */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type Behaviour, CopiedImage, chooseTechnique } from './support/copied-image.ts';
import { COPIED_PROGRAMS, type CopiedProgram } from './support/copied-programs.ts';
import {
  type CopiedResult,
  type LinkedResult,
  openReport,
  renderCopied,
  renderLinked,
} from './support/differential-report.ts';
import { Leaks } from './support/leaks.ts';
import { COMMON_OPTIONS, choose, exitCodeOf, parseSuiteArgs } from './support/main.ts';
import { installMissing } from './support/programs.ts';
import { replaceBlock, writeJson } from './support/report-files.ts';
import { readNamedMisses } from './support/select-json.ts';
import { REPOSITORY } from './support/winnow.ts';

const USAGE = `usage: npm run bench:all-cloned-programs -- [options]      (as root)
  --programs a,b   of ${COPIED_PROGRAMS.map(({ name }) => name).join(', ')} (default: all)
  --technique T    select (default): every function is copied; share: linked images; prelink: prelinked libraries
  --json FOLDER    where the figures go (default bench/results for a whole run, which docs/measurements.md gets, too)
  --no-install     do not install missing Debian packages
`;

const RESULTS = join(REPOSITORY, 'bench', 'results');
const MEASUREMENTS = join(REPOSITORY, 'docs', 'measurements.md');
/** Prints the memory map of the shell that each program is run by; the last command would be executed in its place. */
const OWN_MAP = ['/bin/bash', '-c', 'cat /proc/$$/maps; true'];

process.exitCode = await exitCodeOf(() => main(process.argv.slice(2)));

async function main(args: readonly string[]): Promise<number> {
  const { values } = parseSuiteArgs(
    {
      args: [...args],
      options: {
        ...COMMON_OPTIONS,
        programs: { type: 'string' },
        technique: { type: 'string', default: 'select' },
      },
    },
    USAGE,
  );
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const programs = choose('--programs', values.programs, COPIED_PROGRAMS, USAGE);
  if (!values['no-install']) installMissing(programs.flatMap(({ packages }) => packages));
  const technique = chooseTechnique(values.technique, USAGE);
  const whole = values.programs === undefined;
  const folder = values.json ?? (whole ? RESULTS : undefined);
  const where = { folder, whole };
  return technique === 'select'
    ? tryCopiedPrograms(programs, where)
    : tryLinkedPrograms(programs, technique, where);
}

interface Where {
  /** For figures. */
  readonly folder: string | undefined;
  /** docs/measurements.md gets them, too. */
  readonly whole: boolean;
}

function tryCopiedPrograms(programs: readonly CopiedProgram[], { folder, whole }: Where): number {
  const head = openReport('select');
  const leaks = new Leaks();
  const results: CopiedResult[] = [];
  for (const program of programs) {
    const result = tryProgram(program, leaks);
    results.push(result);
    process.stdout.write(describe(result));
  }
  for (const { module, at, name, reason } of leaks.all.filter(({ explained }) => !explained)) {
    process.stdout.write(`not explained: ${module} ${at} ${name}: ${reason}\n`);
  }
  const report = { ...head, programs: results };
  if (folder !== undefined) {
    writeJson(resolve(folder, 'all-cloned-programs.json'), 'bench-all-cloned-programs', report);
    writeJson(resolve(folder, 'leaks.json'), 'bench-leaks', { leaks: leaks.all });
  }
  const text = renderCopied(report, leaks.all);
  if (whole) replaceBlock(MEASUREMENTS, 'all-cloned-programs', text);
  process.stdout.write(text);
  const isGood = results.every(({ differences }) => differences.length === 0);
  return isGood && leaks.all.every(({ explained }) => explained) ? 0 : 1;
}

function tryProgram({ name, kind, setup, script }: CopiedProgram, leaks: Leaks): CopiedResult {
  // Not under /tmp: what lies there is temporary, and temporary files are left out of a profile.
  const folder = mkdtempSync(join(REPOSITORY, 'dist', 'all-cloned-'));
  try {
    const image = new CopiedImage(name, folder, ['/bin/bash', '-c', script]);
    if (setup !== undefined) image.setUp(setup);
    image.record();
    const { modules } = image.build('file');
    const shown = image.countShown(OWN_MAP);
    const differences = compare(image.runOriginal(), image.runImage());
    image.build('deny');
    const missed = image.misses();
    const found = missed === undefined ? [] : readNamedMisses(missed);
    for (const one of found) leaks.add(name, folder, one);
    return {
      name,
      kind,
      modules: modules.length,
      shown,
      copiedFunctions: modules.reduce((sum, { figures }) => sum + figures.clonedUnits, 0),
      differences,
      leaks: found.length,
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function tryLinkedPrograms(
  programs: readonly CopiedProgram[],
  technique: 'share' | 'prelink',
  { folder, whole }: Where,
): number {
  const head = openReport(technique);
  const made = technique === 'share' ? 'linked' : 'prelinked';
  const results = programs.map((program) => {
    const result = tryLinked(program, technique);
    const { name, kind, linked, kept, differences } = result;
    const verdict = differences.length === 0 ? 'same' : `DIFFERS: ${differences.join('; ')}`;
    const plain = kept.map(({ path, reason }) => `, ${path} plain: ${reason}`).join('');
    process.stdout.write(`${name} (${kind}): ${linked.length} programs ${made}${plain}: ${verdict}\n`);
    return result;
  });
  const report = { ...head, programs: results };
  if (folder !== undefined)
    writeJson(resolve(folder, `${made}-programs.json`), 'bench-linked-programs', report);
  const text = renderLinked(report);
  if (whole) replaceBlock(MEASUREMENTS, `${made}-programs`, text);
  process.stdout.write(text);
  return results.every(({ differences }) => differences.length === 0) ? 0 : 1;
}

function tryLinked(
  { name, kind, setup, script }: CopiedProgram,
  technique: 'share' | 'prelink',
): LinkedResult {
  const folder = mkdtempSync(join(REPOSITORY, 'dist', 'linked-'));
  chmodSync(folder, 0o755);
  try {
    const image = new CopiedImage(name, folder, ['/bin/bash', '-c', script]);
    if (setup !== undefined) image.setUp(setup);
    const starts = image.buildLinked(technique);
    const named = (path: string): string => path.replace(`${folder}/`, '');
    const linked = starts.linked.map(named);
    const kept = starts.kept.map(({ path, reason }) => ({ path: named(path), reason }));
    const differences = compare(image.runOriginal(), image.runImage());
    const missed = image.missedStarts().map((one) => ({ ...one, path: named(one.path) }));
    return { name, kind, linked, kept, differences, missed };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function compare(before: Behaviour, after: Behaviour): string[] {
  const texts = (['stdout', 'stderr'] as const).flatMap((stream) => {
    const old = before[stream].split('\n');
    const now = after[stream].split('\n');
    const line = old.findIndex((text, i) => text !== now[i]);
    if (line < 0 && old.length === now.length) return [];
    return [`${stream}, line ${line + 1}: ${old[line] ?? 'none'} became ${now[line] ?? 'none'}`];
  });
  return before.end === after.end ? texts : [`it ended with ${after.end}, not ${before.end}`, ...texts];
}

function describe({ name, kind, modules, copiedFunctions, differences, leaks }: CopiedResult): string {
  const verdict = differences.length === 0 ? 'same' : `DIFFERS: ${differences.join('; ')}`;
  return `${name} (${kind}): ${modules} modules, ${copiedFunctions} functions copied, ${leaks} leaks: ${verdict}\n`;
}
