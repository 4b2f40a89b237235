/** Sizes of files that programs opened, asked for once each. */
import { statOrNothing } from './stat.ts';

export class FileSizes {
  readonly #known = new Map<string, number>();

  /** Bytes; 0 for what is no regular file, or is not there (any more). */
  of(path: string): number {
    const known = this.#known.get(path);
    if (known !== undefined) return known;
    const stats = statOrNothing(path);
    const size = stats?.isFile() === true ? stats.size : 0;
    this.#known.set(path, size);
    return size;
  }
}
