/**
 * Which pages tell whether the program is in memory.
 *
 * A start may afford some two dozen probes. The C library and the loader are always in memory, so they
 * say nothing; large files are what a cold start waits for. So: the program's own file first, then the
 * largest files, some pages of each, spread over what every run used.
 *
 * A probe of a page that is missing begins to read it, before anything else is asked for. So where the program's headers
 * stand far behind its start, as in a rewritten one, they are the first probe: exec waits for them.
 */
import type { PageIndex } from '../base/brands.ts';
import type { WorkingExtent } from '../profile/stats.ts';
import type { Probe } from './model.ts';

/** The limits of runtime/plan.h allow for more paths than this in one page of memory. */
const MOST_FILES = 40;
const PAGES_PER_FILE = 3;
/** Opening a file costs as much as five probes of it: small ones tell too little for that. */
const FEWEST_PAGES = 4;

const ALWAYS_IN_MEMORY = /^(?:ld-linux-x86-64\.so|ld-musl-x86_64\.so|lib(?:c|m|dl|rt|pthread)\.so)/;

export interface ProbedFile {
  readonly path: string;
  readonly sure: readonly WorkingExtent[];
  /** The page with its program headers, where that is not the first one. */
  readonly headers?: PageIndex | undefined;
}

function pagesOf(file: ProbedFile): number {
  return file.sure.reduce((sum, { count }) => sum + count, 0);
}

/** Pages of the extents that the most runs used, evenly spread. */
function spread(file: ProbedFile): number[] {
  const most = Math.max(...file.sure.map(({ hits }) => hits));
  const extents = file.sure.filter(({ hits }) => hits === most);
  const total = extents.reduce((sum, { count }) => sum + count, 0);
  const pages = new Set<number>();
  for (let i = 0; i < PAGES_PER_FILE; i += 1) {
    let rest = Math.floor(((2 * i + 1) * total) / (2 * PAGES_PER_FILE));
    const holder = extents.find(({ count }) => {
      if (rest < count) return true;
      rest -= count;
      return false;
    });
    if (holder !== undefined) pages.add(holder.page + rest);
  }
  return [...pages];
}

/** @param program the file that the kernel executes. */
export function chooseProbes(files: readonly ProbedFile[], program: string): Probe[] {
  const telling = files.filter(({ path, sure }) => {
    const name = path.slice(path.lastIndexOf('/') + 1);
    return sure.length > 0 && (path === program || !ALWAYS_IN_MEMORY.test(name));
  });
  const largest = telling
    .filter((file) => file.path !== program && pagesOf(file) >= FEWEST_PAGES)
    .sort((a, b) => pagesOf(b) - pagesOf(a))
    .slice(0, MOST_FILES - 1);
  const own = telling.filter(({ path }) => path === program);
  return [...own, ...largest].flatMap((file) => {
    const pages = spread(file);
    const first = file.path === program && file.headers !== undefined ? [file.headers] : [];
    return [...new Set([...first, ...pages])].map((page) => ({ path: file.path, page }));
  });
}
