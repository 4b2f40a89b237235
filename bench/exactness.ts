/**
 * Recorded pages against the truth.
 *
 * The truth: a cold run with the device's read-ahead switched off brings in the pages that the program
 * touches and no others; afterwards every page of every file of the mount is asked for its presence.
 * Recall is the part of the true pages that the profile has, precision the part of the profile's pages
 * that are true.
 * Limits: a program that asks for more itself (readahead, MADV_WILLNEED) counts with what it asked for.
 */
import { closeSync, lstatSync, openSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Step } from '../src/bench/model.ts';
import { residentPages } from '../src/sys/page-cache.ts';
import { READ_AHEAD_KIB } from './support/disk.ts';
import type { ExactnessResult } from './support/report.ts';
import { freshScratch, type RootRunner, runInRoot } from './support/root-run.ts';

export interface RecordedFile {
  readonly path: string;
  readonly extents: readonly { readonly page: number; readonly count: number }[];
}

/** Compares a program's recorded pages with those of one cold run. */
export function measureExactness(
  runner: RootRunner,
  title: string,
  method: string,
  step: Step,
  folder: string,
  recorded: readonly RecordedFile[],
): ExactnessResult {
  const { disk } = runner;
  disk.mount('ro');
  try {
    disk.setReadAhead(0);
    freshScratch(disk.root);
    runInRoot(runner, [step], folder);
    const { dev } = statSync(disk.root);
    const truth = new Map<number, { path: string; pages: Set<number> }>();
    for (const path of filesUnder(disk.root, dev)) {
      const { ino } = lstatSync(path);
      if (!truth.has(ino)) truth.set(ino, { path: path.slice(disk.root.length), pages: pagesInMemory(path) });
    }
    return compare(title, method, truth, byInode(disk.root, recorded));
  } finally {
    disk.setReadAhead(READ_AHEAD_KIB);
    disk.unmount();
  }
}

function filesUnder(folder: string, dev: number): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isFile()) return [path];
    // Not into /proc and the other file systems that are mounted here.
    return entry.isDirectory() && lstatSync(path).dev === dev ? filesUnder(path, dev) : [];
  });
}

function pagesInMemory(path: string): Set<number> {
  const fd = openSync(path, 'r');
  try {
    const pages = new Set<number>();
    for (const [page, isThere] of residentPages(fd)?.entries() ?? []) if (isThere === 1) pages.add(page);
    return pages;
  } finally {
    closeSync(fd);
  }
}

/** One file can be recorded under several paths. */
function byInode(
  root: string,
  recorded: readonly RecordedFile[],
): Map<number, { path: string; pages: Set<number> }> {
  const files = new Map<number, { path: string; pages: Set<number> }>();
  for (const { path, extents } of recorded) {
    const ino = statSync(join(root, path), { throwIfNoEntry: false })?.ino;
    if (ino === undefined) continue;
    const known = files.get(ino) ?? { path, pages: new Set<number>() };
    files.set(ino, known);
    for (const { page, count } of extents) for (let i = page; i < page + count; i += 1) known.pages.add(i);
  }
  return files;
}

type Pages = ReadonlyMap<number, { readonly path: string; readonly pages: ReadonlySet<number> }>;

function compare(title: string, method: string, truth: Pages, recorded: Pages): ExactnessResult {
  const nothing: ReadonlySet<number> = new Set();
  const worst: { path: string; missed: number; excess: number }[] = [];
  let truthPages = 0;
  let recordedPages = 0;
  let commonPages = 0;
  for (const inode of new Set([...truth.keys(), ...recorded.keys()])) {
    const real = truth.get(inode)?.pages ?? nothing;
    const noted = recorded.get(inode)?.pages ?? nothing;
    let common = 0;
    for (const page of noted) if (real.has(page)) common += 1;
    truthPages += real.size;
    recordedPages += noted.size;
    commonPages += common;
    const path = truth.get(inode)?.path ?? recorded.get(inode)?.path ?? '';
    if (real.size + noted.size > 2 * common)
      worst.push({ path, missed: real.size - common, excess: noted.size - common });
  }
  worst.sort((a, b) => b.missed + b.excess - (a.missed + a.excess));
  return {
    title,
    method,
    truthPages,
    recordedPages,
    commonPages,
    recall: commonPages / truthPages,
    precision: commonPages / recordedPages,
    worst: worst.slice(0, 10),
  };
}
