/**
 * From what the observers saw to a run of the profile: which files count, as what, in which order.
 *
 * Left out: what is no regular file any more, what lies on a file system in memory (nothing to
 * prefetch), files the program wrote or that changed while it ran (temporary files, its own output).
 */
import { randomBytes } from 'node:crypto';
import { realpathSync, statfsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Rva } from '../base/brands.ts';
import { argvShape } from '../profile/argv-shape.ts';
import { joinExtents } from '../profile/extents.ts';
import { identifyFile } from '../profile/identity.ts';
import type {
  Command,
  Ended,
  EnteredCode,
  Lookup,
  Method,
  Note,
  Run,
  UsedFile,
  UsedPages,
  UsedProcess,
} from '../profile/model.ts';
import type { CodeObserver } from './events.ts';
import type { FileUse } from './file-use.ts';
import type { FilePages } from './pages.ts';
import type { Snapshots } from './snapshots.ts';
import { statOrNothing } from './stat.ts';
import type { Image } from './tracees.ts';

/** File systems without a disk behind them, by the f_type of statfs(2). */
const IN_MEMORY: ReadonlySet<number> = new Set([
  0x9fa0, // proc
  0x62656572, // sysfs
  0x01021994, // tmpfs
  0x858458f6, // ramfs
  0x1cd1, // devpts
  0x27e0eb, // cgroup
  0x63677270, // cgroup2
  0x64626720, // debugfs
  0x74726163, // tracefs
  0x19800202, // mqueue
  0x958458f6, // hugetlbfs
]);

/** File times are taken from the kernel's last tick: up to 10 ms behind the clock (HZ=100). */
const CLOCK_TICK_MS = 10;

export interface Seen {
  readonly images: readonly Image[];
  readonly snapshots: Pick<Snapshots, 'pagesOf'>;
  readonly fileUse: Pick<FileUse, 'settle' | 'written' | 'order' | 'lookups' | 'pagesOf'>;
  readonly code?: CodeObserver | undefined;
}

export interface RunFrame {
  readonly command: Command;
  readonly startedAt: number;
  readonly durationMs: number;
  readonly method: Method;
  readonly ended: Ended;
  readonly notes: readonly Note[];
}

export function assembleRun(frame: RunFrame, seen: Seen): Run {
  seen.fileUse.settle();
  const catalogue = new Catalogue(frame.startedAt, seen.fileUse.written);
  for (const path of seen.fileUse.order) catalogue.rank(path);
  const processes = describeProcesses(seen, catalogue);
  const entered = describeEntered(seen.code, catalogue);
  const { files, order } = catalogue.inOrder();
  return {
    id: randomBytes(16).toString('hex'),
    ...frame,
    files,
    processes: processes.map((process) => ({
      ...process,
      pages: process.pages
        .map((pages) => ({ ...pages, file: order[pages.file] ?? 0 }))
        .toSorted((a, b) => a.file - b.file || a.how.localeCompare(b.how)),
    })),
    lookups: describeLookups(seen.fileUse),
    entered: entered
      .map((code) => ({ ...code, file: order[code.file] ?? 0 }))
      .toSorted((a, b) => a.file - b.file),
  };
}

function describeProcesses({ images, snapshots, fileUse }: Seen, catalogue: Catalogue): UsedProcess[] {
  // The first image is the stub that starts the program.
  const real = images.filter(({ program }) => program !== '');
  const indexOf = new Map(real.map((image, index) => [image, index]));
  return real.map((image) => {
    const parent = image.parent === undefined ? undefined : indexOf.get(image.parent);
    return {
      ...(parent === undefined ? {} : { parent }),
      program: image.program,
      argvShape: argvShape(image.argv),
      ...(image.libraryPath === undefined ? {} : { libraryPath: image.libraryPath }),
      ended: image.ended ?? { kind: 'left-running' },
      pages: [
        ...describePages(snapshots.pagesOf(image), 'mapped', catalogue),
        ...describePages(fileUse.pagesOf(image), 'read', catalogue),
      ],
    };
  });
}

function describePages(pages: FilePages, how: UsedPages['how'], catalogue: Catalogue): UsedPages[] {
  // Several names may lead to one file.
  const byFile = new Map<number, UsedPages>();
  for (const [path, set] of pages.entries()) {
    const file = catalogue.indexOf(path);
    if (file === undefined) continue;
    const extents = set.extents(catalogue.sizeOf(file));
    const known = byFile.get(file)?.extents ?? [];
    if (known.length + extents.length > 0) {
      byFile.set(file, { file, how, extents: joinExtents([...known, ...extents]) });
    }
  }
  return [...byFile.values()];
}

/** Two names of one file are one file: the order goes by the name that was mapped first. */
function describeEntered(code: CodeObserver | undefined, catalogue: Catalogue): EnteredCode[] {
  const byFile = new Map<number, Set<Rva>>();
  for (const [path, entries] of code?.entered() ?? []) {
    const file = catalogue.indexOf(path);
    if (file === undefined) continue;
    byFile.set(file, new Set([...(byFile.get(file) ?? []), ...entries]));
  }
  return [...byFile].map(([file, entries]) => ({ file, entries: [...entries] }));
}

const describeLookups = (fileUse: Seen['fileUse']): Lookup[] =>
  [...fileUse.lookups]
    .filter((path) => !fileUse.written.has(path) && !isInMemory(path))
    .map((path) => ({ path, found: statOrNothing(path) !== undefined }));

const memoryFolders = new Map<string, boolean>();

/** Whether the folder of a path (or what exists of it) is on a file system in memory. */
function isInMemory(path: string): boolean {
  const folder = dirname(path);
  const known = memoryFolders.get(folder);
  if (known !== undefined) return known;
  let answer: boolean;
  try {
    answer = IN_MEMORY.has(statfsSync(folder).type);
  } catch {
    answer = folder === path ? false : isInMemory(folder);
  }
  memoryFolders.set(folder, answer);
  return answer;
}

/** The files that count, each identified once. */
class Catalogue {
  readonly #startedAt: number;
  readonly #written: ReadonlySet<string>;
  readonly #ranks = new Map<string, number>();
  readonly #indexes = new Map<string, number | undefined>();
  readonly #files: { readonly file: UsedFile; rank: number }[] = [];
  readonly #byRealPath = new Map<string, number>();

  constructor(startedAt: number, written: ReadonlySet<string>) {
    this.#startedAt = startedAt;
    this.#written = written;
  }

  /** Notes that `path` was named now. */
  rank(path: string): void {
    if (!this.#ranks.has(path)) this.#ranks.set(path, this.#ranks.size);
  }

  sizeOf(index: number): number {
    return this.#files[index]?.file.identity.size ?? 0;
  }

  /** The index of the file behind a path; undefined if it does not count. */
  indexOf(path: string): number | undefined {
    if (this.#indexes.has(path)) return this.#indexes.get(path);
    const index = this.#add(path);
    this.#indexes.set(path, index);
    if (index !== undefined) this.#lower(index, path);
    return index;
  }

  #add(path: string): number | undefined {
    if (this.#written.has(path)) return undefined;
    try {
      const real = realpathSync.native(path);
      const known = this.#byRealPath.get(real);
      if (known !== undefined) return known;
      if (this.#written.has(real) || isInMemory(real)) return undefined;
      const stats = statSync(real);
      // A time of birth tells of files that were made with an old date (tar, cp -p).
      const newest = Math.max(stats.mtimeMs, stats.birthtimeMs);
      if (!stats.isFile() || stats.size === 0 || newest > this.#startedAt - CLOCK_TICK_MS) return undefined;
      this.#files.push({ file: { path: real, identity: identifyFile(real) }, rank: Number.MAX_SAFE_INTEGER });
      this.#byRealPath.set(real, this.#files.length - 1);
      return this.#files.length - 1;
    } catch {
      // Gone, or not ours to read: nothing to prefetch.
      return undefined;
    }
  }

  /** A file's first use is that of the name that was used first. */
  #lower(index: number, path: string): void {
    const entry = this.#files[index];
    if (entry === undefined) return;
    const rank = this.#ranks.get(path) ?? this.#ranks.get(entry.file.path);
    if (rank !== undefined && rank < entry.rank) entry.rank = rank;
  }

  /** The files by first use, and where each index went. */
  inOrder(): { readonly files: UsedFile[]; readonly order: readonly number[] } {
    const sorted = this.#files
      .map((entry, index) => ({ ...entry, index }))
      .toSorted((a, b) => a.rank - b.rank);
    const order: number[] = [];
    sorted.forEach(({ index }, position) => {
      order[index] = position;
    });
    return { files: sorted.map(({ file }) => file), order };
  }
}
