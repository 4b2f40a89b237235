/**
 * Resident file pages at exit, under the kernel's plain demand paging: what a process still has mapped of
 * files in its last moment, split by protection, summed over the process tree.
 *
 * Method: the program is traced without filter and without userfaultfd, so faults are as ever (fault-around
 * included); when a memory ends, its /proc/PID/smaps is read. Rss counts pages that several processes
 * share once for each.
 * Limits: a process that is killed while it is not traced, or whose leader is gone, is missing; `processes`
 * says how many were seen, to be compared between modes.
 */
import { WinnowError } from '../src/base/errors.ts';
import { memoryAtEnds, type TracedRun } from './support/traced.ts';

export interface ResidentPages {
  readonly processes: number;
  /** 4 KiB pages of executable mappings of files. */
  readonly executable: number;
  /** 4 KiB pages of mappings of files that are neither executable nor writable. */
  readonly readOnly: number;
  /** 4 KiB pages of writable private mappings of files. */
  readonly writable: number;
  /** 4 KiB pages without a file. */
  readonly anonymous: number;
  /** Those of them that are executable and not writable: stored code that was brought, in an image that has such. */
  readonly brought: number;
  /** 4 KiB pages of mappings of files that are no longer the file's: written by the process or by what linked it. */
  readonly ownOfFiles: number;
}

/**
 * Runs the program to its end; output goes where this process's goes.
 *
 * @throws what `record` throws; WinnowError E_BENCH_WINNOW where the program fails: what it then has in memory
 *   says nothing.
 */
export function residentAtExit(run: TracedRun): ResidentPages {
  const { texts, ended } = memoryAtEnds(run, 'smaps');
  if (ended?.kind !== 'exited' || ended.code !== 0) {
    throw new WinnowError({
      code: 'E_BENCH_WINNOW',
      kind: 'environment',
      what: `the program ends with ${JSON.stringify(ended)}`,
      where: run.file,
      next: 'run it by hand, or leave it out with --programs',
    });
  }
  const seen = texts.map(countPages);
  const sum = (of: (one: ResidentPages) => number): number => seen.reduce((total, one) => total + of(one), 0);
  return {
    processes: seen.length,
    executable: sum((one) => one.executable),
    readOnly: sum((one) => one.readOnly),
    writable: sum((one) => one.writable),
    anonymous: sum((one) => one.anonymous),
    brought: sum((one) => one.brought),
    ownOfFiles: sum((one) => one.ownOfFiles),
  };
}

/** Pages of one process by its smaps. */
export function countPages(smaps: string): ResidentPages {
  const none = { executable: 0, readOnly: 0, writable: 0, anonymous: 0, brought: 0, ownOfFiles: 0 };
  const pages = { processes: 1, ...none };
  let isBrought = false;
  let kind: 'executable' | 'readOnly' | 'writable' | 'anonymous' = 'anonymous';
  for (const line of smaps.split('\n')) {
    const head = /^[0-9a-f]+-[0-9a-f]+ (\S{4}) \S+ \S+ (\d+)/.exec(line);
    if (head !== null) {
      const [, protection = '', inode = '0'] = head;
      // The kernel's own page of code has a name in brackets.
      isBrought = inode === '0' && protection.startsWith('r-x') && !line.endsWith(']');
      if (inode === '0') kind = 'anonymous';
      else if (protection[2] === 'x') kind = 'executable';
      else kind = protection[1] === 'w' ? 'writable' : 'readOnly';
      continue;
    }
    const rss = /^Rss:\s+(\d+) kB/.exec(line);
    if (rss !== null) {
      pages[kind] += Number(rss[1]) / 4;
      if (isBrought) pages.brought += Number(rss[1]) / 4;
    }
    const own = /^Anonymous:\s+(\d+) kB/.exec(line);
    if (own !== null && kind !== 'anonymous') pages.ownOfFiles += Number(own[1]) / 4;
  }
  return pages;
}
