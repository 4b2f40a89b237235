/**
 * What an image has touched of the files it maps: a snapshot of its page tables while its memory is
 * still there, at execve's entry and when its last thread ends. Snapshots of one image are joined.
 * A program waits for its snapshot: so what the kernel says is kept as it is, and read afterwards.
 */
import { PAGE_SIZE, pid, userAddress } from '../base/brands.ts';
import { type Mapping, parseMaps, readMapsText } from '../sys/maps.ts';
import { type AddressRange, ALL_MEMORY, backedPages, regionsOf, scanRaw } from '../sys/pagemap.ts';
import type { Notice } from '../sys/seccomp.ts';
import type { CodeObserver, Observer, TraceEvent } from './events.ts';
import { SYS } from './filter.ts';
import { type FilePages, ImagePages } from './pages.ts';
import type { PathReader } from './paths.ts';
import { statOrNothing } from './stat.ts';
import type { Image, Thread } from './tracees.ts';

export class Snapshots implements Observer {
  readonly #pages = new ImagePages();
  readonly #paths: PathReader;
  readonly #code: CodeObserver | undefined;
  #unread: Unread[] = [];
  #unreadSize = 0;
  /** Images whose memory was gone before it could be looked at. */
  lost = 0;

  readonly #ownFiles: ReadonlySet<string>;

  /**
   * @param code knows which pages are there because of breakpoints: they do not count.
   * @param ownFiles files that only the recording puts into memory.
   */
  constructor(paths: PathReader, code?: CodeObserver, ownFiles: ReadonlySet<string> = new Set()) {
    this.#paths = paths;
    this.#ownFiles = ownFiles;
    this.#code = code;
  }

  observe(event: TraceEvent): void {
    if (event.kind === 'memory-ending') this.take(event.image, event.tid);
    if (event.kind === 'call' && event.notice.nr === SYS.munmap) this.#takeUnmapped(event.image, event);
    if (event.kind !== 'image-replacing' || event.thread.process.borrowsMemory) return;
    const target = this.#paths.execTarget(event.thread, event.notice);
    if (target !== undefined && isExecutableFile(target)) this.take(event.image, event.thread.tid);
  }

  /** `id` is a live thread of the image, or its process id. */
  take(image: Image, id: number): void {
    // The stub that starts the program is ours, not the program's.
    if (image.program === '') return;
    this.#add(image, id);
  }

  /** What is about to be unmapped disappears from the page tables. */
  #takeUnmapped(
    image: Image,
    { thread, notice }: { readonly thread: Thread; readonly notice: Notice },
  ): void {
    const start = Number(notice.args[0]);
    const end = start + Number(notice.args[1]);
    const within = image.mapped.some((range) => range.start < end && range.end > start);
    if (within) this.#add(image, thread.tid, { start: userAddress(start), end: userAddress(end) });
  }

  #add(image: Image, id: number, within?: AddressRange): void {
    try {
      const maps = readMapsText(pid(id));
      const regions = scanRaw(pid(id), within ?? ALL_MEMORY) ?? backedPages(pid(id), filesIn(maps, within));
      this.#unread.push({ image, maps, regions, within, written: this.#code?.writtenPages(image, within) });
      this.#unreadSize += maps.length + regions.length;
      if (this.#unreadSize > MOST_UNREAD) this.#readAll();
    } catch {
      this.lost++;
    }
  }

  /** What somebody else saw of an image: its mappings, and the backed pages of its memory. */
  add(image: Image, mappings: readonly Mapping[], backed: readonly AddressRange[]): void {
    addPages(this.#counted(mappings.filter(ofRegularFile)), backed, this.pagesOf(image));
  }

  #counted(files: readonly Mapping[]): readonly Mapping[] {
    return this.#ownFiles.size === 0 ? files : files.filter(({ path }) => !this.#ownFiles.has(path));
  }

  pagesOf(image: Image): FilePages {
    this.#readAll();
    return this.#pages.of(image);
  }

  #readAll(): void {
    for (const { image, maps, regions, within, written = [] } of this.#unread) {
      const backed = Buffer.isBuffer(regions) ? regionsOf(regions) : regions;
      addPages(this.#counted(filesIn(maps, within)), without(backed, written), this.#pages.of(image));
    }
    this.#unread = [];
    this.#unreadSize = 0;
  }
}

/** A snapshot as the kernel gave it. */
interface Unread {
  readonly image: Image;
  readonly maps: string;
  readonly regions: Buffer | readonly AddressRange[];
  readonly within: AddressRange | undefined;
  readonly written: readonly AddressRange[] | undefined;
}

/** Bytes, about. */
const MOST_UNREAD = 32 * 1024 * 1024;

function isExecutableFile(path: string): boolean {
  const stats = statOrNothing(path);
  return stats?.isFile() === true && (stats.mode & 0o111) !== 0;
}

const filesIn = (maps: string, within: AddressRange | undefined): Mapping[] =>
  parseMaps(maps, within).filter(ofRegularFile);

/** Both ascending. */
function addPages(files: readonly Mapping[], backed: readonly AddressRange[], into: FilePages): void {
  let at = 0;
  for (const mapping of files) {
    const pages = into.of(mapping.path);
    while (at < backed.length && (backed[at]?.end ?? 0) <= mapping.start) at++;
    for (let i = at; i < backed.length; i++) {
      const range = backed[i];
      if (range === undefined || range.start >= mapping.end) break;
      const low = Math.max(range.start, mapping.start) - mapping.start + mapping.offset;
      const high = Math.min(range.end, mapping.end) - mapping.start + mapping.offset;
      pages.addPages(low / PAGE_SIZE, high / PAGE_SIZE);
    }
  }
}

/** What of `ranges` is not in `gone`; both ascending and disjoint. */
function without(ranges: readonly AddressRange[], gone: readonly AddressRange[]): readonly AddressRange[] {
  if (gone.length === 0) return ranges;
  const left: AddressRange[] = [];
  let next = 0;
  for (const { start, end } of ranges) {
    let at = start;
    while (next < gone.length && (gone[next]?.end ?? 0) <= start) next++;
    for (let i = next; at < end; i++) {
      const hole = gone[i];
      if (hole === undefined || hole.start >= end) break;
      if (hole.start > at) left.push({ start: at, end: hole.start });
      if (hole.end > at) at = hole.end;
    }
    if (at < end) left.push({ start: at, end });
  }
  return left;
}

const ofRegularFile = ({ inode, path, deleted }: Mapping): boolean =>
  inode !== 0n && path.startsWith('/') && !deleted;
