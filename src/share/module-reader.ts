/** Pages of modules as they are in their files. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { PAGE_SIZE } from '../base/brands.ts';
import type { FileRange, LinkedState } from './model.ts';

/** Pages of the linked files, as mappings show them. */
export class ModuleReader {
  readonly #paths: readonly string[];
  readonly #open = new Map<number, number>();

  constructor({ files }: LinkedState) {
    this.#paths = files.map(({ path }) => path);
  }

  readonly read = ({ file, offset }: FileRange, size: number): Buffer | undefined => {
    const fd = this.#fd(file);
    if (fd === undefined) return undefined;
    const end = Math.ceil(fstatSync(fd).size / PAGE_SIZE) * PAGE_SIZE;
    if (offset + size > end) return undefined;
    const bytes = Buffer.alloc(size);
    for (let at = 0; at < size; ) {
      const got = readSync(fd, bytes, at, size - at, offset + at);
      if (got === 0) break;
      at += got;
    }
    return bytes;
  };

  #fd(file: number): number | undefined {
    const known = this.#open.get(file);
    const path = this.#paths[file];
    if (known !== undefined || path === undefined) return known;
    const fd = openSync(path, 'r');
    this.#open.set(file, fd);
    return fd;
  }

  close(): void {
    for (const fd of this.#open.values()) closeSync(fd);
  }
}
