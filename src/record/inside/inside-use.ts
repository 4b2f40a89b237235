/**
 * What programs looked up and read, from the log of a recording from inside.
 *
 * Problem: the log says what was called and answered, as the process named it: relative to a folder, or to a descriptor.
 * Method: the entries are gone through once in the order of the calls; each process has its folder, and the paths behind its
 * descriptors, which a child takes over. A file of at most SMALL_FILE bytes that was opened for reading counts whole
 * (as in `file-use.ts`), of a larger one what was read; of what the loader opens the first page, as the rest is mapped.
 * Example: `chdir /src`, `openat 5 "lib"`, `newfstatat 5 "a.c"` looks up /src/lib/a.c.
 * Limits: a folder's descriptor that was open before exec has no path, and what is looked up below it is left out.
 */
import type { Pid } from '../../base/brands.ts';
import type { InsideEntry, ReadPiece } from '../../sys/inside-log.ts';
import { FileSizes } from '../file-sizes.ts';
import { SMALL_FILE, SYS } from '../filter.ts';
import { isReadOnlyOpen, isWritingOpen } from '../open-flags.ts';
import { type FilePages, ImagePages } from '../pages.ts';
import type { PathReader } from '../paths.ts';
import { statOrNothing } from '../stat.ts';
import type { Image } from '../tracees.ts';

/** The one file that the loader maps and lets go again before anybody could look; it searches in all of it. */
const LOADER_CACHE = '/etc/ld.so.cache';
/** What the loader looks for before any library, always: its call is not worth a page that is written to. */
const LOADER_PRELOAD = '/etc/ld.so.preload';
const AT_FDCWD = -100;
const CHDIR = 80;
const FCHDIR = 81;
const OPENS: ReadonlySet<number> = new Set([SYS.open, SYS.openat]);
/** A process's names of its own: what they meant is gone. */
const OWN_NAME = /^\/(proc\/(self|thread-self|\d+)|dev\/(fd|stdin|stdout|stderr))(\/|$)/;

/** A process between two execs. */
interface Life {
  folder: string | undefined;
  readonly descriptors: Map<number, string>;
  image: Image | undefined;
}

interface Opened {
  readonly image: Image | undefined;
  readonly path: string;
  readonly byLoader: boolean;
}

export class InsideUse {
  readonly lookups = new Set<string>();
  readonly order = new Set<string>();
  readonly written = new Set<string>();
  readonly setUid = new Set<string>();
  readonly #pages = new ImagePages();
  readonly #paths: PathReader;
  readonly #imageOf: (entry: InsideEntry) => Image | undefined;
  readonly #lives = new Map<Pid, Life>();
  readonly #opened = new Map<number, Opened>();
  readonly #sizes = new FileSizes();

  /** @param imageOf which image a program that starts, or a child, is. */
  constructor(paths: PathReader, imageOf: (entry: InsideEntry) => Image | undefined) {
    this.#paths = paths;
    this.#imageOf = imageOf;
  }

  /** Call it once, with all entries in the order of the calls. */
  add(entries: readonly InsideEntry[]): void {
    for (const entry of entries) this.#note(entry);
    // Tables say what they say at the end.
    for (const entry of entries)
      if (entry.kind === 'table') for (const piece of entry.pieces) this.#addPiece(piece);
  }

  /** What the recorder was asked to execute, which nobody of the tree named. */
  noteStarted(program: string): void {
    this.lookups.add(program);
  }

  noteMapped(paths: readonly string[]): void {
    for (const path of paths) this.order.add(path);
  }

  pagesOf(image: Image): FilePages {
    return this.#pages.of(image);
  }

  settle(): void {}

  #note(entry: InsideEntry): void {
    switch (entry.kind) {
      case 'started': {
        const image = this.#imageOf(entry);
        this.#lives.set(entry.process, { folder: entry.folder, descriptors: new Map(), image });
        if (image !== undefined) this.noteMapped(image.startFiles);
        this.#look(LOADER_PRELOAD);
        return;
      }
      case 'forked': {
        const parent = this.#lives.get(entry.parent);
        const descriptors = new Map(parent?.descriptors);
        this.#lives.set(entry.process, { folder: parent?.folder, descriptors, image: this.#imageOf(entry) });
        return;
      }
      case 'call':
        return this.#noteCall(entry);
      case 'exec':
        return this.#noteExec(entry);
      case 'duplicated': {
        const life = this.#lives.get(entry.process);
        if (life !== undefined) setPath(life.descriptors, entry.to, life.descriptors.get(entry.from));
        return;
      }
      case 'held': {
        const image = this.#lives.get(entry.process)?.image;
        if (this.#sizes.of(entry.path) > 0)
          this.#noteOpened(entry.sequence, { image, path: entry.path, byLoader: false });
        return;
      }
      case 'piece':
        return this.#addPiece(entry.piece);
    }
  }

  #noteCall(entry: InsideEntry & { readonly kind: 'call' }): void {
    const life = this.#lives.get(entry.process);
    if (life === undefined) return;
    if (entry.nr === FCHDIR) {
      life.folder = life.descriptors.get(entry.folder);
      return;
    }
    const path = this.#absolute(life, entry.folder, entry.path);
    if (entry.nr === CHDIR) {
      life.folder = path;
      return;
    }
    const isOpen = OPENS.has(entry.nr);
    if (isOpen && entry.result >= 0) setPath(life.descriptors, entry.result, path);
    if (path === undefined) return;
    this.#look(path);
    if (!isOpen) return;
    if (isWritingOpen(entry.flags)) this.written.add(path);
    else if (entry.result >= 0 && isReadOnlyOpen(entry.flags) && this.#sizes.of(path) > 0) {
      this.#noteOpened(entry.sequence, { image: life.image, path, byLoader: entry.byLoader });
    }
  }

  #look(path: string): void {
    this.lookups.add(path);
    this.order.add(path);
  }

  #absolute(life: Life, folder: number, path: string): string | undefined {
    if (OWN_NAME.test(path)) return undefined;
    if (path.startsWith('/')) return this.#paths.tidy(path);
    const from = folder === AT_FDCWD ? life.folder : life.descriptors.get(folder);
    if (from === undefined || !from.startsWith('/')) return undefined;
    return this.#paths.tidy(from === '/' ? `/${path}` : `${from}/${path}`);
  }

  #noteOpened(sequence: number, opened: Opened): void {
    this.#opened.set(sequence, opened);
    const { image, path } = opened;
    if (image === undefined) return;
    const pages = this.#pages.of(image).of(path);
    const size = this.#sizes.of(path);
    if (opened.byLoader && path !== LOADER_CACHE) pages.addPages(0, 1);
    else if (size <= SMALL_FILE || opened.byLoader) pages.addBytes(0, size);
  }

  #noteExec({ process, path: named }: InsideEntry & { readonly kind: 'exec' }): void {
    const life = this.#lives.get(process);
    const path = life === undefined ? undefined : this.#absolute(life, AT_FDCWD, named);
    if (path === undefined) return;
    this.#look(path);
    const stats = statOrNothing(path);
    if (stats?.isFile() !== true) return;
    if ((stats.mode & 0o6000) !== 0) this.setUid.add(path);
    // The kernel reads the first page to see what it is; a script is opened again by its interpreter.
    if (life?.image !== undefined) this.#pages.of(life.image).of(path).addPages(0, 1);
  }

  #addPiece({ opened, from, to }: ReadPiece): void {
    const file = this.#opened.get(opened);
    if (file?.image === undefined || file.byLoader) return;
    const size = this.#sizes.of(file.path);
    if (size > SMALL_FILE) this.#pages.of(file.image).of(file.path).addBytes(from, Math.min(to, size));
  }
}

function setPath(descriptors: Map<number, string>, fd: number, path: string | undefined): void {
  if (path === undefined) descriptors.delete(fd);
  else descriptors.set(fd, path);
}
