/**
 * What an image has touched of the files it maps: a snapshot of its page tables while its memory is
 * still there, at execve's entry and when its last thread ends. Snapshots of one image are joined.
 */
import { statSync } from 'node:fs';
import { PAGE_SIZE, type Pid } from '../base/brands.ts';
import { type Mapping, readMaps } from '../sys/maps.ts';
import { backedPages } from '../sys/pagemap.ts';
import type { Observer, TraceEvent } from './events.ts';
import { FilePages } from './pages.ts';
import type { PathReader } from './paths.ts';
import type { Image } from './tracees.ts';

export class Snapshots implements Observer {
  readonly #pages = new Map<Image, FilePages>();
  readonly #paths: PathReader;
  /** Images whose memory was gone before it could be looked at. */
  lost = 0;

  constructor(paths: PathReader) {
    this.#paths = paths;
  }

  observe(event: TraceEvent): void {
    if (event.kind === 'memory-ending') this.take(event.image, event.tid);
    if (event.kind !== 'image-replacing' || event.thread.process.borrowsMemory) return;
    const target = this.#paths.execTarget(event.thread, event.notice);
    if (target !== undefined && isExecutableFile(target)) this.take(event.image, event.thread.tid);
  }

  /** `id` is a live thread of the image, or its process id. */
  take(image: Image, id: number): void {
    // The stub that starts the program is ours, not the program's.
    if (image.program === '') return;
    try {
      addSnapshot(id, this.pagesOf(image));
    } catch {
      this.lost++;
    }
  }

  pagesOf(image: Image): FilePages {
    let pages = this.#pages.get(image);
    if (pages === undefined) {
      pages = new FilePages();
      this.#pages.set(image, pages);
    }
    return pages;
  }
}

function isExecutableFile(path: string): boolean {
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats?.isFile() === true && (stats.mode & 0o111) !== 0;
}

/** @throws where the process is gone. */
export function addSnapshot(id: Pid | number, into: FilePages): void {
  const files = readMaps(id as Pid).filter(ofRegularFile);
  const backed = backedPages(id as Pid, files);
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

const ofRegularFile = ({ inode, path, deleted }: Mapping): boolean =>
  inode !== 0n && path.startsWith('/') && !deleted;
