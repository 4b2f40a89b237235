/**
 * What the runs of a profile say together: the working set, with how sure each page is and when it is
 * needed first. Derived when asked for, never stored (see model.ts).
 *
 * Problem: 16 runs of a browser hold half a million page uses in some hundred thousand extents, spread
 * over processes; a planner wants each page once. Example: page 7 used in runs 0 and 2 has 2 hits and
 * weight 1 + 0.8^2 = 1.64. Method: a sweep over the ends of all extents of one file; between two ends
 * the set of runs that use the pages does not change, and it is one bit a run. So the cost is that of
 * sorting the ends, whatever the number of pages. Limits: a file that changed between runs counts only
 * where it had its newest content; what older versions used says nothing about the pages of the new one.
 */
import { pageIndex } from '../base/brands.ts';
import { sameContent } from './identity.ts';
import type { Extent, FileIdentity, Lookup, Profile, Run, UsedPages, UsedProcess } from './model.ts';

/** What one run counts for in place of the one after it. */
export const DECAY = 0.8;

/** What a run counts for; `age` 0 is the newest of those that are counted. */
export const weightOf = (age: number): number => DECAY ** age;

export type How = UsedPages['how'];

/** Pages of one file that the same runs used in the same way. */
export interface WorkingExtent extends Extent {
  /** In how many runs the pages were used. */
  readonly hits: number;
  /** Sum of DECAY^age over these runs; the newest run of the profile has age 0. */
  readonly weight: number;
  /** `mapped` where any run saw the page through a mapping. */
  readonly how: How;
}

export interface WorkingFile {
  readonly path: string;
  /** As the newest run that used the file saw it. */
  readonly identity: FileIdentity;
  /** Median over the runs of its place in the order of first use; halves are possible. */
  readonly order: number;
  /** In how many runs it was used with this content. */
  readonly runs: number;
  /** In how many runs it was used with other content; they count for nothing else. */
  readonly otherRuns: number;
  /** Ascending and apart from each other in pages, hits or how. */
  readonly extents: readonly WorkingExtent[];
}

export interface WorkingLookup extends Lookup {
  /** Sum of DECAY^age over the runs that looked it up. */
  readonly weight: number;
  /** Median over the runs of its place among the look-ups. */
  readonly order: number;
}

export interface WorkingSet {
  /** How many runs are counted: the most thorough ones of the profile. */
  readonly runs: number;
  /** How many of its runs are not, because others say more. */
  readonly setAside: number;
  /** Weight of what every run used. */
  readonly fullWeight: number;
  /** Sorted by order, then path. */
  readonly files: readonly WorkingFile[];
  /** Sorted by order, then path; `found` as the newest run that looked saw it. */
  readonly lookups: readonly WorkingLookup[];
}

/** Processes of all runs with the same program and the same shape of arguments. */
export interface ProcessSet {
  readonly program: string;
  readonly argvShape: readonly string[];
  /** In how many runs there was one. */
  readonly runs: number;
  /** How many there were over all runs. */
  readonly times: number;
  readonly files: readonly WorkingFile[];
}

function weightOfMask(mask: number): number {
  let weight = 0;
  for (let age = 0; mask >>> age !== 0; age += 1) if ((mask >>> age) & 1) weight += weightOf(age);
  return weight;
}

function bitsIn(mask: number): number {
  let bits = 0;
  for (let rest = mask; rest !== 0; rest &= rest - 1) bits += 1;
  return bits;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const high = sorted[sorted.length >> 1] ?? 0;
  return sorted.length % 2 === 1 ? high : (high + (sorted[(sorted.length >> 1) - 1] ?? high)) / 2;
}

/** The uses of one file, run by run. `age` is the run's index, newest first. */
interface FileUse {
  readonly age: number;
  readonly rank: number;
  readonly identity: FileIdentity;
  readonly pages: UsedPages[];
}

interface RunPart {
  readonly age: number;
  readonly run: Run;
  readonly processes: readonly UsedProcess[];
}

/** Splits a file's pages where the set of runs, or how they are used, changes. */
function sweep(uses: readonly FileUse[]): WorkingExtent[] {
  // A slot is one run and one way of use: age * 2, plus 1 for mappings.
  const ends: { readonly page: number; readonly step: 1 | -1; readonly slot: number }[] = [];
  for (const { age, pages } of uses) {
    for (const { how, extents } of pages) {
      const slot = age * 2 + (how === 'mapped' ? 1 : 0);
      for (const { page, count } of extents) {
        ends.push({ page, step: 1, slot }, { page: page + count, step: -1, slot });
      }
    }
  }
  ends.sort((a, b) => a.page - b.page);
  // Processes of one run overlap: a slot's bit falls when the last of them ends.
  const open = new Map<number, number>();
  const extents: WorkingExtent[] = [];
  let lastMask = -1;
  ends.forEach(({ page, step, slot }, index) => {
    open.set(slot, (open.get(slot) ?? 0) + step);
    if (open.get(slot) === 0) open.delete(slot);
    const next = ends[index + 1]?.page;
    if (next === page || next === undefined) return;
    let mask = 0;
    let isMapped = false;
    for (const one of open.keys()) {
      mask |= 1 << (one >> 1);
      isMapped ||= (one & 1) === 1;
    }
    if (mask === 0) return;
    const how = isMapped ? 'mapped' : 'read';
    const last = extents.at(-1);
    if (last !== undefined && last.page + last.count === page && lastMask === mask && last.how === how) {
      extents[extents.length - 1] = { ...last, count: next - last.page };
    } else {
      const counted = { hits: bitsIn(mask), weight: weightOfMask(mask) };
      extents.push({ page: pageIndex(page), count: next - page, ...counted, how });
    }
    lastMask = mask;
  });
  return extents;
}

function usesByPath(parts: readonly RunPart[]): Map<string, FileUse[]> {
  const byPath = new Map<string, FileUse[]>();
  for (const { age, run, processes } of parts) {
    const pagesOf = new Map<number, UsedPages[]>();
    for (const process of processes) {
      for (const pages of process.pages) {
        const known = pagesOf.get(pages.file);
        if (known === undefined) pagesOf.set(pages.file, [pages]);
        else known.push(pages);
      }
    }
    run.files.forEach(({ path, identity }, rank) => {
      const pages = pagesOf.get(rank);
      if (pages === undefined) return;
      const uses = byPath.get(path) ?? [];
      byPath.set(path, uses);
      // A file replaced while the program ran stands in the list twice: the first one is counted.
      if (uses.at(-1)?.age !== age) uses.push({ age, rank, identity, pages });
    });
  }
  return byPath;
}

const byOrder = (a: { order: number; path: string }, b: { order: number; path: string }): number =>
  a.order - b.order || (a.path < b.path ? -1 : 1);

/** `parts` newest first. */
function workingFiles(parts: readonly RunPart[]): WorkingFile[] {
  const files: WorkingFile[] = [];
  for (const [path, uses] of usesByPath(parts)) {
    const newest = uses[0];
    if (newest === undefined) continue;
    const current = uses.filter((use) => sameContent(use.identity, newest.identity));
    files.push({
      path,
      identity: newest.identity,
      order: median(current.map((use) => use.rank)),
      runs: current.length,
      otherRuns: uses.length - current.length,
      extents: sweep(current),
    });
  }
  return files.sort(byOrder);
}

function workingLookups(runs: readonly Run[]): WorkingLookup[] {
  const byPath = new Map<string, { found: boolean; ages: number[]; ranks: number[] }>();
  runs.forEach((run, age) => {
    run.lookups.forEach(({ path, found }, rank) => {
      const known = byPath.get(path);
      if (known === undefined) byPath.set(path, { found, ages: [age], ranks: [rank] });
      else if (known.ages.at(-1) !== age) {
        known.ages.push(age);
        known.ranks.push(rank);
      }
    });
  });
  const lookups = [...byPath].map(([path, { found, ages, ranks }]) => {
    const weight = ages.reduce((sum, age) => sum + weightOf(age), 0);
    return { path, found, weight, order: median(ranks) };
  });
  return lookups.sort(byOrder);
}

/** Look-ups seen, pages exact and not reckoned from functions: what a run can say of pages, in one number. */
function thoroughness({ method }: Run): number {
  if (method.lookups === 'unseen') return 0;
  if (method.pages !== 'exact') return 1;
  return method.functions === 'seen' ? 2 : 3;
}

/**
 * The runs that say most. A quick recording rounds pages up and knows no look-ups: beside a thorough one it
 * would add pages that nothing used, and its silence would count against what it cannot see.
 */
export function mostThorough(profile: Profile): readonly Run[] {
  const best = Math.max(0, ...profile.runs.map(thoroughness));
  return profile.runs.filter((run) => thoroughness(run) === best);
}

/** The working set of the command as a whole, over all processes of its most thorough runs. */
export function workingSet(profile: Profile): WorkingSet {
  const runs = mostThorough(profile);
  return {
    runs: runs.length,
    setAside: profile.runs.length - runs.length,
    fullWeight: runs.reduce((sum, _run, age) => sum + weightOf(age), 0),
    files: workingFiles(runs.map((run, age) => ({ age, run, processes: run.processes }))),
    lookups: workingLookups(runs),
  };
}

/** The same, process by process: in the order in which the newest run that has one started it. */
export function processSets(profile: Profile): ProcessSet[] {
  const groups = new Map<string, { first: UsedProcess; parts: Map<number, UsedProcess[]> }>();
  const runs = mostThorough(profile);
  runs.forEach((run, age) => {
    for (const process of run.processes) {
      const key = JSON.stringify([process.program, ...process.argvShape]);
      const group = groups.get(key) ?? { first: process, parts: new Map<number, UsedProcess[]>() };
      groups.set(key, group);
      const part = group.parts.get(age);
      if (part === undefined) group.parts.set(age, [process]);
      else part.push(process);
    }
  });
  return [...groups.values()].map(({ first, parts }) => {
    const list = [...parts].flatMap(([age, processes]) => {
      const run = runs[age];
      return run === undefined ? [] : [{ age, run, processes }];
    });
    return {
      program: first.program,
      argvShape: first.argvShape,
      runs: list.length,
      times: list.reduce((sum, part) => sum + part.processes.length, 0),
      files: workingFiles(list),
    };
  });
}
