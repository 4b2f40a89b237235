/** One library with every function copied: rewritten, and judged by winnow's reader, readelf, eu-elflint and ld.so. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { rva } from '../../src/base/brands.ts';
import { WinnowError } from '../../src/base/errors.ts';
import { viewOf } from '../../src/elf/bytes.ts';
import type { ElfImage } from '../../src/elf/image.ts';
import { readElf, readElfFile } from '../../src/elf/read.ts';
import { PF_W, RELA_SIZE } from '../../src/elf/spec.ts';
import { analyseModule } from '../../src/rewrite/analyse.ts';
import type { Kept, ModuleAnalysis, RewrittenModule, Unit } from '../../src/rewrite/model.ts';
import { restoreModule } from '../../src/rewrite/restore.ts';
import { rewriteModule } from '../../src/rewrite/rewrite.ts';
import { readBack } from './read-back.ts';
import { tool } from './sh.ts';

/** How often something stayed, by reason. */
export type Counts = Readonly<Record<string, number>>;

export interface JudgedLibrary {
  readonly path: string;
  readonly bytes: number;
  /** Why the library as a whole stays; then all figures are 0. */
  readonly kept?: string;
  readonly units: number;
  readonly clonedUnits: number;
  /** By kind and reason. */
  readonly refusedUnits: Counts;
  readonly jumpTables: number;
  readonly clonedJumpTables: number;
  readonly keptJumpTables: Counts;
  /** Code that could not be made a unit. */
  readonly noUnits: Counts;
  /** `no`: neither the original by itself. */
  readonly loads: boolean;
  /** What a judge says against the new file and not against the original. */
  readonly complaints: readonly string[];
}

/** Compiles the program that loads a library. */
export function buildLoader(folder: string): string {
  const loader = join(folder, 'load-library');
  tool('gcc', '-O1', '-o', loader, join(sources(), 'load-library.c'), '-ldl');
  return loader;
}

/** The C sources stand in the repository, also when this runs from dist/. */
function sources(): string {
  const here = import.meta.dirname;
  return basename(dirname(dirname(here))) === 'dist'
    ? join(here, '..', '..', '..', 'bench', 'support')
    : here;
}

/** @param folder for files of this library; made and removed. */
export function judgeLibrary(path: string, folder: string, loader: string): JudgedLibrary {
  const image = readElfFile(path);
  const bytes = image.bytes.length;
  const analysis = analyseModule(image);
  if ('kind' in analysis) return { ...NOTHING, path, bytes, kept: analysis.reason };
  const result = cloneAll(image, analysis);
  if (result.kind === 'kept') return { ...NOTHING, path, bytes, kept: result.reason };
  const files = {
    before: join(folder, 'before', basename(path)),
    after: join(folder, 'after', basename(path)),
  };
  try {
    for (const file of Object.values(files)) mkdirSync(dirname(file), { recursive: true });
    writeFileSync(files.before, image.bytes);
    writeFileSync(files.after, result.bytes);
    const load = compareLoads(image, files, loader);
    return {
      path,
      bytes,
      ...figuresOf(analysis, result),
      loads: load.loads,
      complaints: [
        ...readerComplaints(image, analysis, result),
        ...judgeComplaints('readelf', ['-aW'], files),
        ...judgeComplaints('eu-elflint', ['--gnu-ld'], files).filter((text) => !isAboutReach(text, image)),
        ...load.complaints,
      ],
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const NOTHING = {
  units: 0,
  clonedUnits: 0,
  refusedUnits: {},
  jumpTables: 0,
  clonedJumpTables: 0,
  keptJumpTables: {},
  noUnits: {},
  loads: true,
  complaints: [],
} as const;

/** A library that no judge has come to: that is a complaint. */
export const notJudged = (path: string, complaint: string): JudgedLibrary => ({
  ...NOTHING,
  path,
  bytes: 0,
  complaints: [complaint],
});

const cloneAll = (image: ElfImage, analysis: ModuleAnalysis): RewrittenModule | Kept =>
  rewriteModule(image, analysis, { hot: analysis.units.map(({ start }) => start), cold: 'file' });

function figuresOf(analysis: ModuleAnalysis, { figures, kept, map }: RewrittenModule) {
  const cloned = new Set(map.clones.map(({ unit }) => unit.start));
  const refused = new Map<number, Unit>(
    analysis.units.filter(({ start }) => !cloned.has(start)).map((unit) => [unit.start, unit]),
  );
  const unitOf = ({ at }: Kept): Unit | undefined => refused.get(at ?? -1);
  return {
    units: figures.units,
    clonedUnits: figures.clonedUnits,
    refusedUnits: countReasons(
      kept.flatMap((one) => {
        const kind = unitOf(one)?.kind;
        return kind === undefined ? [] : [{ ...one, reason: `${kind}: ${one.reason}` }];
      }),
    ),
    jumpTables: figures.jumpTables,
    clonedJumpTables: figures.clonedJumpTables,
    keptJumpTables: countReasons(kept.filter((one) => unitOf(one) === undefined)),
    noUnits: countReasons(analysis.kept),
  };
}

function countReasons(kept: readonly Kept[]): Counts {
  const counts: Record<string, number> = {};
  for (const { reason } of kept) counts[reason] = (counts[reason] ?? 0) + 1;
  return counts;
}

function readerComplaints(
  image: ElfImage,
  analysis: ModuleAnalysis,
  result: RewrittenModule,
): readonly string[] {
  try {
    const copy = readElf(result.bytes, image.path);
    const complaints = [...readBack(image, copy, result.map)];
    if (Buffer.compare(restoreModule(result.bytes), image.bytes) !== 0)
      complaints.push('what it restores is not the original');
    const again = cloneAll(copy, analysis);
    if (again.kind === 'kept' || Buffer.compare(again.bytes, result.bytes) !== 0)
      complaints.push('rewritten twice it is not the same');
    return complaints.map((text) => `winnow: ${text}`);
  } catch (error) {
    if (error instanceof WinnowError) return [`winnow: ${error.code} ${error.message}`];
    throw error;
  }
}

interface Files {
  readonly before: string;
  readonly after: string;
}

/** What a tool says of the new file and not of the original, numbers and names left out. */
function judgeComplaints(program: string, args: readonly string[], files: Files): readonly string[] {
  const before = remarks(program, args, files.before).map(normal);
  // A .symtab that was missing is made from .dynsym, with all that is remarkable in it.
  const known = new Set(
    before.flatMap((text) => [text, text.replace(/\[ *N\] '\.dynsym'/, "[N] '.symtab'")]),
  );
  const found = new Map(remarks(program, args, files.after).map((text) => [normal(text), text]));
  return [...found].filter(([key]) => !known.has(key)).map(([, text]) => `${program}: ${text}`);
}

const REACH = /: section \[ *(\d+)\] .*: relocation (\d+): read-only section modified but text relocation/;

/**
 * eu-elflint takes the size of a relocation's symbol for that of the place that is relocated, so a word in .got.plt
 * near the end of .data "reaches" a read-only segment behind it if a large function is called through it
 * (check_one_reloc: `r_offset + sym->st_size >= loaded->from`). Whether the word itself can be written is told here.
 */
function isAboutReach(text: string, image: ElfImage): boolean {
  const found = REACH.exec(text);
  const section = image.sections[Number(found?.[1] ?? 0)];
  if (found === null || section === undefined) return false;
  const record = section.offset + Number(found[2]) * RELA_SIZE;
  const place = rva(Number(viewOf(image.bytes).getBigUint64(record, true)));
  return ((image.segmentOf(place)?.flags ?? 0) & PF_W) !== 0;
}

function remarks(program: string, args: readonly string[], file: string): readonly string[] {
  const done = spawnSync(program, [...args, file], {
    encoding: 'latin1',
    maxBuffer: 2 ** 29,
    env: { ...process.env, LC_ALL: 'C' },
  });
  if (done.error !== undefined) throw done.error;
  const lines = `${done.stdout}\n${done.stderr}`.split('\n');
  const isRemark = program === 'readelf' ? /<corrupt|^readelf: / : /./;
  const died = done.signal === null ? [] : [`dies by ${done.signal}`];
  return [...lines.filter((line) => isRemark.test(line) && line !== 'No errors'), ...died].map((line) =>
    line.replaceAll(file, basename(file)),
  );
}

const normal = (text: string): string =>
  text
    .replace(/\((?!.*set).*?\)/g, '()')
    .replace(/0x[0-9a-f]+|\d+/g, 'N')
    .replace(/\[ +/g, '[');

function compareLoads(image: ElfImage, files: Files, loader: string) {
  const load = (file: string): string => {
    // A library that the loader itself needs is found here first.
    const name = join(dirname(file), image.soname ?? basename(file));
    if (name !== file) writeFileSync(name, image.path === file ? image.bytes : readElfFile(file).bytes);
    const env = { ...process.env, LC_ALL: 'C', LD_LIBRARY_PATH: dirname(file) };
    const done = spawnSync(loader, [name], { encoding: 'utf8', timeout: 60_000, env });
    const text = `${done.stdout}${done.stderr}`.replaceAll(dirname(file), '').trim();
    return `${done.signal ?? done.status} ${text}`;
  };
  const before = load(files.before);
  const after = load(files.after);
  const loads = before.startsWith('0 ');
  if (loads ? after.startsWith('0 ') : after === before) return { loads, complaints: [] };
  return { loads, complaints: [`ld.so: ${after}, but ${before} of the original`] };
}
