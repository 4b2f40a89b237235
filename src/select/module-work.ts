/** The work on one module, in this thread or in another one: examine, rewrite, write. */
import { chmodSync, closeSync, fsyncSync, openSync, statSync, utimesSync } from 'node:fs';
import { basename, join } from 'node:path';
import { WinnowError } from '../base/errors.ts';
import type { ElfImage } from '../elf/image.ts';
import { mentionsOrigin } from '../elf/origin.ts';
import { readElf } from '../elf/read.ts';
import { writeAll } from '../profile/store-files.ts';
import type { Kept, ModuleAnalysis, RewriteOptions, RewrittenModule, Unit } from '../rewrite/model.ts';
import { pagesOfUnits } from './code-pages.ts';
import type { BuiltModule, CodeUse, KeptModule, ModuleUse, StayedCount } from './model.ts';
import { type Analyse, type Examined, examineModule, hostPath, type SelectContext } from './plan.ts';
import { rewrittenPages } from './rewritten-pages.ts';

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
  const rewritten = tools.rewrite(image, analysis, { hot: module.hot, cold: context.cold });
  if (rewritten.kind === 'kept') return keep(rewritten.reason);
  const cold = coldUnits(examined, rewritten);
  const stayedPages = pagesOfUnits(cold);
  const gains = rewritten.figures.hotPages + stayedPages < module.usedPages;
  if (!gains && context.cold === 'file' && context.all !== true) return keep(NOTHING_TO_GAIN);
  const into = folder === undefined ? undefined : join(folder, name);
  const original = statSync(hostPath(use.path, context.root));
  if (into !== undefined) writeModule(into, rewritten.bytes, original);
  const file = into === undefined ? undefined : statSync(into, { bigint: true });
  return {
    kind: 'built',
    module: {
      ...module,
      file: name,
      stayed: joined(module.stayed, rewritten.kept),
      fileSize: rewritten.bytes.length,
      fileMtimeNs: file?.mtimeNs ?? 0n,
      fileInode: file?.ino ?? 0n,
      usesOrigin: mentionsOrigin(image.bytes),
      figures: rewritten.figures,
      stayedPages,
      pages: rewrittenPages(image, readElf(rewritten.bytes, use.path), cold),
    },
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
function writeModule(
  path: string,
  bytes: Uint8Array,
  original: { mode: number; atime: Date; mtime: Date },
): void {
  const fd = openSync(path, 'wx', 0o600);
  try {
    writeAll(fd, bytes);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  chmodSync(path, 0o600 | (original.mode & 0o555));
  utimesSync(path, original.atime, original.mtime);
}

/** Bytes that a file name may have. */
const MOST_NAME = 255;

/** `03-libfoo.so.1`: unique in the folder, and readable in a process's memory map. */
export function moduleFile(index: number, path: string): string {
  const number = String(index).padStart(2, '0');
  const name = `${number}-${basename(path)}`;
  return Buffer.byteLength(name) > MOST_NAME ? number : name;
}
