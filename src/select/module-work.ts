/** The work on one module, in this thread or in another one: examine, rewrite, write. */
import {
  chmodSync,
  closeSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  statSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { PAGE_SIZE } from '../base/brands.ts';
import { WinnowError } from '../base/errors.ts';
import type { ElfImage } from '../elf/image.ts';
import { mentionsOrigin } from '../elf/origin.ts';
import { readElf } from '../elf/read.ts';
import type {
  Kept,
  ModuleAnalysis,
  PageRun,
  RewriteOptions,
  RewrittenModule,
  Unit,
} from '../rewrite/model.ts';
import { pagesOfUnits } from './code-pages.ts';
import { bytesOnDisk, coldOf, separateCold } from './cold-code.ts';
import { COLD_ENDING } from './cold-layout.ts';
import { runInPlace, unusedRuns } from './fixed-addresses.ts';
import type { BuiltModule, CodeUse, Cold, KeptModule, ModuleUse, StayedCount, StoredCode } from './model.ts';
import { type Analyse, type Examined, examineModule, hostPath, type SelectContext } from './plan.ts';
import { isLargelyUnknown, rewrittenPages, unseenUnits } from './rewritten-pages.ts';

export interface ModuleJob {
  readonly use: ModuleUse;
  readonly context: SelectContext;
  /** Name of the file to write. */
  readonly file: string;
  /** Folder to write it into; undefined where only figures are asked for. */
  readonly folder: string | undefined;
}

export type ModuleResult =
  | { readonly kind: 'built'; readonly module: BuiltModule }
  | { readonly kind: 'kept'; readonly module: KeptModule };

export interface RewriteTools {
  readonly analyse: Analyse;
  readonly rewrite: (
    image: ElfImage,
    analysis: ModuleAnalysis,
    options: RewriteOptions,
  ) => RewrittenModule | Kept;
}

export const NOTHING_TO_GAIN = 'nothing to gain: its used code lies close together as it is';

/** A module that cannot be packed is copied for its size only if that is below this part of the original's. */
const ENOUGH_SAVED = 0.9;

/** @throws what writing a file throws. */
export function workOn(job: ModuleJob, tools: RewriteTools): ModuleResult {
  try {
    return workOnSound(job, tools);
  } catch (error) {
    if (!(error instanceof WinnowError)) throw error;
    const reason = `damaged: ${error.code}`;
    return { kind: 'kept', module: { path: job.use.path, reason, textPages: 0 } };
  }
}

/** @throws WinnowError E_ELF_… where a table of the module is damaged. */
function workOnSound({ use, context, file: name, folder }: ModuleJob, tools: RewriteTools): ModuleResult {
  const examined = examineModule(use, context, tools.analyse);
  if (examined.kind === 'kept') return examined;
  const { module, image, analysis } = examined;
  const keep = (reason: string): ModuleResult => ({
    kind: 'kept',
    module: { path: module.path, reason, textPages: module.textPages, code: codeUse(module) },
  });
  const treated = coldOf(image, context);
  const rewritten = tools.rewrite(image, analysis, {
    hot: module.hot,
    cold: treated === 'file' ? 'file' : 'deny',
    ...(treated === 'file' && image.interp !== undefined ? { apart: runsApart(examined) } : {}),
  });
  if (rewritten.kind === 'kept') return keep(rewritten.reason);
  const cold = coldUnits(examined, rewritten);
  const stayedPages = pagesOfUnits(cold);
  const gains = rewritten.figures.hotPages + stayedPages < module.usedPages;
  if (!gains && treated === 'file' && context.all !== true) return keep(NOTHING_TO_GAIN);
  const into = folder === undefined ? undefined : join(folder, name);
  const original = statSync(hostPath(use.path, context.root));
  const copied = rewritten.map.clones.map(({ unit }) => unit);
  const inPlace = isLargelyUnknown(image, analysis.units) ? copied : runInPlace(image, copied);
  const running = [...cold, ...inPlace, ...unseenUnits(analysis)];
  const pages = rewrittenPages(image, readElf(rewritten.bytes, use.path), copied, running);
  const { bytes, coldFile, stored } = separate(examined, rewritten, { context, treated });
  if (
    !gains &&
    stored !== undefined &&
    stored.diskBytes + stored.storeBytes > ENOUGH_SAVED * image.bytes.length
  )
    return keep(NOTHING_TO_GAIN);
  if (into !== undefined) {
    writeFile(into, bytes, original);
    if (coldFile !== undefined) writeFile(`${into}${COLD_ENDING}`, coldFile, original);
  }
  const file = into === undefined ? undefined : statSync(into, { bigint: true });
  return {
    kind: 'built',
    module: {
      ...module,
      file: name,
      stayed: joined(module.stayed, rewritten.kept),
      fileSize: bytes.length,
      fileMtimeNs: file?.mtimeNs ?? 0n,
      fileInode: file?.ino ?? 0n,
      usesOrigin: mentionsOrigin(image.bytes),
      figures: rewritten.figures,
      stayedPages,
      pages,
      ...(stored === undefined ? {} : { stored }),
    },
  };
}

function runsApart({ image, analysis, module, cold }: Examined): PageRun[] {
  const hot = new Set<number>(module.hot);
  const copied = analysis.units.filter(({ start }) => hot.has(start));
  return unusedRuns(image, [...cold, ...runInPlace(image, copied)]);
}

interface Separated {
  /** The rewritten module, without what stands in the other file alone. */
  readonly bytes: Uint8Array;
  readonly coldFile?: Uint8Array;
  readonly stored?: StoredCode;
}

/** Cuts unused code out of the rewritten bytes, and makes the file that goes with them where not all can be executed. */
function separate(
  { image, analysis }: Examined,
  { bytes }: RewrittenModule,
  { context, treated }: { readonly context: SelectContext; readonly treated: Cold },
): Separated {
  if (context.cold === 'file') return { bytes };
  const onMiss = context.onMiss ?? 'abort';
  const { contents, module, cutBytes } = separateCold({ image, analysis, bytes, cold: treated, onMiss });
  if (treated !== 'store') return { bytes: module, coldFile: contents };
  return {
    bytes: module,
    coldFile: contents,
    stored: { storeBytes: contents.length, cutBytes, diskBytes: bytesOnDisk(module) },
  };
}

const codeUse = (module: CodeUse): CodeUse => ({
  textPages: module.textPages,
  touchedPages: module.touchedPages,
  usedPages: module.usedPages,
  functions: module.functions,
  usedFunctions: module.usedFunctions,
});

/** Used units that were not copied, whoever refused them. */
function coldUnits({ module, analysis, cold }: Examined, { map }: RewrittenModule): Unit[] {
  const copied = new Set(map.clones.map(({ unit }) => unit.start));
  const wanted = new Set(module.hot);
  const refused = analysis.units.filter(({ start }) => wanted.has(start) && !copied.has(start));
  return [...cold, ...refused];
}

function joined(counts: readonly StayedCount[], more: readonly Kept[]): StayedCount[] {
  const all = new Map(counts.map(({ reason, count }) => [reason, count]));
  for (const { reason } of more) all.set(reason, (all.get(reason) ?? 0) + 1);
  return [...all].map(([reason, count]) => ({ reason, count }));
}

/**
 * The copy can be read and executed by whoever could the original: a program that changes its user still
 * opens its libraries. Who may find it is up to the image's folder.
 */
function writeFile(path: string, bytes: Uint8Array, original: Attributes): void {
  const fd = openSync(path, 'wx', 0o600);
  try {
    writePages(fd, bytes);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  chmodSync(path, 0o600 | (original.mode & 0o555));
  utimesSync(path, original.atime, original.mtime);
}

interface Attributes {
  readonly mode: number;
  readonly atime: Date;
  readonly mtime: Date;
}

/**
 * Pages of zeros become holes, and each other page is a write of its own. What is written at once, up to 2 MiB,
 * stays together in the page cache of file systems with large folios, and since Linux 6.18 one page fault maps all
 * of it: unused code would be resident beside used one, and could leave memory only together with it.
 */
function writePages(fd: number, bytes: Uint8Array): void {
  const zeros = Buffer.alloc(PAGE_SIZE);
  ftruncateSync(fd, bytes.length);
  for (let page = 0; page < bytes.length; page += PAGE_SIZE) {
    const end = Math.min(page + PAGE_SIZE, bytes.length);
    if (zeros.subarray(0, end - page).equals(bytes.subarray(page, end))) continue;
    for (let at = page; at < end; ) at += writeSync(fd, bytes, at, end - at, at);
  }
}

/** Bytes that a file name may have, with that behind it. */
const MOST_NAME = 250;

/** `03-libfoo.so.1`: unique in the folder, and readable in a process's memory map. */
export function moduleFile(index: number, path: string): string {
  const number = String(index).padStart(2, '0');
  const name = `${number}-${basename(path)}`;
  return Buffer.byteLength(name) > MOST_NAME ? number : name;
}
