/**
 * What a program looks up and reads, from the notices of its calls.
 *
 * Problem: read() leaves no trace in the page tables, and trapping every read costs too much.
 * Method: opens are noticed. A file of at most SMALL_FILE bytes that is opened for reading counts whole:
 * the kernel's first read-ahead brings that much anyway. Of a larger one the tracer borrows the
 * descriptor once open has returned: a duplicate shares the file offset, so that after the program has
 * closed its own the offset still says how far it read. Jumps (lseek) and pread64 are noticed where
 * they go beyond SMALL_FILE, and cut the reading into pieces.
 * Example: ld opens libgcc.a, reads 60 KiB, jumps to 2 MiB, reads 8 KiB and closes it: [0, 60K) and
 * [2M, 2M + 8K).
 * Limits: what io_uring, preadv and splice with an offset read is not seen. A library that ld.so opens
 * is mapped; of reads only its first page counts. Files opened for writing are left out at the end.
 */
import type { Address, Tid } from '../base/brands.ts';
import { borrowFd, closeFd, offsetOfFd } from '../sys/fds.ts';
import { isSameOpenFile } from '../sys/kcmp.ts';
import { type LoggedSeek, pathsIn, walkLog } from '../sys/look-ups.ts';
import type { Notice } from '../sys/seccomp.ts';
import type { FollowedFd } from '../sys/wake.ts';
import { READINGS_MAX } from '../sys/wake-layout.ts';
import type { Control, Observer, TraceEvent } from './events.ts';
import { FileSizes } from './file-sizes.ts';
import { SMALL_FILE, SYS } from './filter.ts';
import { isReadOnlyOpen, isWritingOpen } from './open-flags.ts';
import { type FilePages, ImagePages } from './pages.ts';
import type { PathReader } from './paths.ts';
import { readFdLink, readOwnLink } from './proc.ts';
import { statOrNothing } from './stat.ts';
import { type Image, pidfdOf, type Thread } from './tracees.ts';

const SEEK_SET = 0;
const SEEK_CUR = 1;
const OPENS: ReadonlySet<number> = new Set([SYS.open, SYS.openat, SYS.openat2]);
/** A borrowed descriptor keeps its file open; more than this many and the oldest are settled. */
const MOST_BORROWED = READINGS_MAX;

/** Calls that the sleep has let go, and who made the opens among them. */
interface Logged {
  readonly log: ArrayBuffer;
  readonly openedBy: readonly (Image | undefined)[];
}

/** A large file that a program has opened for reading. */
interface Reading extends FollowedFd {
  readonly image: Image;
  readonly path: string;
  /** What /proc calls it: symbolic links resolved. */
  realPath(): string;
  readonly size: number;
  /** Where the piece that is being read began. */
  from: number;
}

export class FileUse implements Observer {
  readonly #lookups = new Set<string>();
  readonly #order = new Set<string>();
  /** What `lookups` and `order` are made of when they are asked for: programs wait for what is done earlier. */
  #trail: (string | Logged | { readonly mapped: readonly string[] })[] = [];
  /** Paths opened for writing, or created. */
  readonly written = new Set<string>();
  /** Set-uid programs that a tracee executed. */
  readonly setUid = new Set<string>();
  readonly #paths: PathReader;
  readonly #pages = new ImagePages();
  readonly #sizes = new FileSizes();
  readonly #readings = new Map<string, Reading>();
  readonly #follows: (readings: Iterable<FollowedFd>) => void;

  /** @param follows told of the descriptors in which jumps matter, whenever they have changed. */
  constructor(paths: PathReader, follows: (readings: Iterable<FollowedFd>) => void = () => {}) {
    this.#paths = paths;
    this.#follows = follows;
  }

  /** Every path looked up, in the order of first use. */
  get lookups(): ReadonlySet<string> {
    this.#follow();
    return this.#lookups;
  }

  /** Every path named or mapped by exec, in the order of first use: that of the prefetch. */
  get order(): ReadonlySet<string> {
    this.#follow();
    return this.#order;
  }

  /** Files that exec mapped: they come before what is named next. */
  noteMapped(paths: readonly string[]): void {
    this.#trail.push({ mapped: paths });
  }

  pagesOf(image: Image): FilePages {
    this.#follow();
    return this.#pages.of(image);
  }

  observe(event: TraceEvent, control: Control): void {
    // The loader is named nowhere but in the program's PT_INTERP, and needed first of all.
    if (event.kind === 'image-started') this.noteMapped(event.image.startFiles);
    if (event.kind === 'look-ups') this.#noteLog(event.log, event.imageOf);
    if (event.kind === 'image-replacing') this.#noteExec(event.thread, event.notice);
    if (event.kind !== 'call') return;
    const { notice } = event;
    if (notice.nr === SYS.lseek) return this.#noteSeek(event.image, notice);
    if (notice.nr === SYS.flock) return this.#letGo(event.image, notice);
    if (notice.nr === SYS.pread64) return this.#notePread(event.image, notice);
    const path = this.#paths.pathOf(event.thread, notice);
    if (path === undefined) return;
    this.#note(path);
    if (OPENS.has(notice.nr)) this.#noteOpen(event.image, event.thread, notice, path, control);
  }

  #note(path: string): void {
    this.#trail.push(path);
  }

  #follow(): void {
    const trail = this.#trail;
    this.#trail = [];
    for (const step of trail) {
      if (typeof step !== 'string' && 'mapped' in step) {
        for (const path of step.mapped) this.#order.add(path);
        continue;
      }
      for (const path of typeof step === 'string' ? [step] : this.#pathsOf(step)) {
        this.#lookups.add(path);
        this.#order.add(path);
      }
    }
  }

  #noteLog(log: ArrayBuffer, imageOf: (tid: Tid) => Image | undefined): void {
    const openedBy: (Image | undefined)[] = [];
    walkLog(log, {
      open: (thread) => openedBy.push(imageOf(thread)),
      seek: (seek) => this.#noteLoggedSeek(imageOf(seek.tid), seek),
    });
    this.#trail.push({ log, openedBy });
  }

  #pathsOf({ log, openedBy }: Logged): string[] {
    let opens = 0;
    return pathsIn(log).map(({ path, open }) => {
      const tidy = this.#paths.tidy(path);
      const image = open === undefined ? undefined : openedBy[opens++];
      if (open !== undefined && image !== undefined) this.#addWhole(image, tidy, open.ip, open.bytes);
      return tidy;
    });
  }

  /** A file that is mapped, of which the loader reads the first page; or a small one. */
  #addWhole(image: Image, path: string, ip: Address, size: number): void {
    const pages = this.#pages.of(image).of(path);
    if (isLoaders(image, ip)) pages.addPages(0, 1);
    else pages.addBytes(0, size);
  }

  /** Reads what is still open to its end; call it before the result is taken. */
  settle(): void {
    for (const reading of this.#readings.values()) this.#finish(reading);
    this.#readings.clear();
    this.#follows([]);
  }

  #noteExec(thread: Thread, notice: Notice): void {
    const path = this.#paths.execTarget(thread, notice);
    if (path === undefined) return;
    this.#note(path);
    const stats = statOrNothing(path);
    if (stats?.isFile() !== true) return;
    if ((stats.mode & 0o6000) !== 0) this.setUid.add(path);
    // The kernel reads the first page to see what it is; a script is opened again by its interpreter.
    this.#pages.of(thread.process.image).of(path).addPages(0, 1);
  }

  #noteOpen(image: Image, thread: Thread, notice: Notice, path: string, control: Control): void {
    const flags = notice.nr === SYS.openat2 ? 0 : Number(notice.args[notice.nr === SYS.open ? 1 : 2]);
    if (isWritingOpen(flags)) this.written.add(path);
    if (!isReadOnlyOpen(flags)) return;
    const size = this.#sizes.of(path);
    if (size <= 0) return;
    if (isLoaders(image, notice.ip) || size <= SMALL_FILE) this.#addWhole(image, path, notice.ip, size);
    else control.afterCall(thread, (result) => this.#borrow(image, thread, path, size, Number(result)));
  }

  #borrow(image: Image, thread: Thread, path: string, size: number, fd: number): void {
    if (fd < 0) return;
    const pidfd = pidfdOf(thread.process);
    const borrowed = pidfd === undefined ? undefined : borrowFd(pidfd, fd);
    if (borrowed === undefined) return;
    const key = keyOf(image, fd);
    const before = this.#readings.get(key);
    if (before !== undefined) this.#finish(before);
    this.#readings.delete(key);
    const realPath = (): string => readOwnLink(borrowed);
    this.#readings.set(key, { image, pid: image.pid, fd, path, realPath, size, borrowed, from: 0 });
    if (this.#readings.size > MOST_BORROWED) this.#finishOldest();
    this.#follows(this.#readings.values());
  }

  #finishOldest(): void {
    for (const [key, reading] of this.#readings) {
      this.#finish(reading);
      this.#readings.delete(key);
      return;
    }
  }

  #finish(reading: Reading): void {
    this.#cutPiece(reading, offsetOfFd(reading.borrowed), 0);
    closeFd(reading.borrowed);
  }

  /** What was read since the last jump, up to `at`; the next piece begins at `next`. */
  #cutPiece(reading: Reading, at: number | undefined, next: number): void {
    if (at !== undefined) {
      // Behind where the piece began: a jump to near the start, which is not noticed.
      const from = at < reading.from ? 0 : reading.from;
      this.#pages.of(reading.image).of(reading.path).addBytes(from, Math.min(at, reading.size));
    }
    reading.from = next;
  }

  #noteSeek(image: Image, notice: Notice): void {
    const reading = this.#readingBehind(image, notice.tid, Number(notice.args[0]));
    if (reading === undefined) return;
    const offset = Number(BigInt.asIntN(64, notice.args[1]));
    this.#jump(reading, offsetOfFd(reading.borrowed), offset, Number(notice.args[2]));
  }

  #noteLoggedSeek(image: Image | undefined, { fd, at, offset, whence }: LoggedSeek): void {
    const reading = image === undefined ? undefined : this.#readings.get(keyOf(image, fd));
    if (reading !== undefined) this.#jump(reading, at, offset, whence);
  }

  #jump(reading: Reading, at: number | undefined, offset: number, whence: number): void {
    const base = whence === SEEK_SET ? 0 : whence === SEEK_CUR ? (at ?? 0) : reading.size;
    this.#cutPiece(reading, at, Math.max(0, base + offset));
  }

  /** A lock belongs to the open file: our duplicate would hold it for longer than the program does. */
  #letGo(image: Image, notice: Notice): void {
    const fd = Number(notice.args[0]);
    const reading = this.#readingBehind(image, notice.tid, fd);
    if (reading === undefined) return;
    this.#finish(reading);
    this.#readings.delete(keyOf(image, fd));
    this.#follows(this.#readings.values());
  }

  #notePread(image: Image, notice: Notice): void {
    const fd = Number(notice.args[0]);
    const path = this.#readingBehind(image, notice.tid, fd)?.path ?? readFdLink(notice.tid, fd);
    const offset = Number(notice.args[3]);
    const size = path.startsWith('/') ? this.#sizes.of(path) : 0;
    if (offset >= size) return;
    this.#pages
      .of(image)
      .of(path)
      .addBytes(offset, Math.min(size, offset + Number(notice.args[2])));
  }

  /** A descriptor's number may have gone to another file since: then it is not what we follow. */
  #readingBehind(image: Image, tid: Tid, fd: number): Reading | undefined {
    const reading = this.#readings.get(keyOf(image, fd));
    if (reading === undefined) return undefined;
    const same = isSameOpenFile(reading.borrowed, tid, fd) ?? readFdLink(tid, fd) === reading.realPath();
    return same ? reading : undefined;
  }
}

const isLoaders = (image: Image, ip: Address): boolean =>
  image.loader.some(({ start, end }) => Number(ip) >= start && Number(ip) < end);

const keyOf = (image: Image, fd: number): string => `${image.pid}:${fd}`;
