/** The files whose code is mapped, each looked at once, however often and wherever it is mapped. */
import { type BigIntStats, closeSync, constants, fstatSync, openSync, statSync } from 'node:fs';
import { errnoOf, WinnowError } from '../base/errors.ts';
import type { Fd } from '../sys/fds.ts';
import { CodeFile, codeSegments } from './code-file.ts';
import type { Entries } from './entries.ts';

/** Where to break in a file that is open under `fd`. */
export type FindEntries = (path: string, fd: Fd) => Entries;

export class CodeFiles {
  /** By identity and time of change; without code where there is nothing to break in. */
  readonly #known = new Map<string, { readonly code: CodeFile | undefined; readonly identity: string }>();
  readonly #findEntries: FindEntries;
  /** Files of code that cannot be broken in, by reason. */
  readonly kept = new Map<string, string[]>();

  constructor(findEntries: FindEntries) {
    this.#findEntries = findEntries;
  }

  /** Those that their names still lead to: what was entered in a file that was replaced says nothing of the new one. */
  inPlace(): readonly CodeFile[] {
    const found: CodeFile[] = [];
    for (const { code, identity } of this.#known.values()) {
      if (code === undefined) continue;
      const stat = statSync(code.path, { bigint: true, throwIfNoEntry: false });
      if (stat !== undefined && identityOf(stat) === identity) found.push(code);
    }
    return found;
  }

  /**
   * Nothing happens where there is nothing to break in.
   *
   * @param place what to open: a link of /proc that leads to the very file that is mapped.
   * @param path the file's name; one that leads to another file by now is nothing to break in.
   */
  use(place: string, path: string, work: (code: CodeFile, fd: Fd) => void): void {
    let fd: Fd;
    try {
      // O_NONBLOCK: a pipe would wait for its writer.
      fd = openSync(place, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
    } catch (error) {
      if (errnoOf(error) === undefined) throw error;
      return;
    }
    try {
      const code = this.#of(path, fd);
      if (code !== undefined) work(code, fd);
    } finally {
      closeSync(fd);
    }
  }

  #of(path: string, fd: Fd): CodeFile | undefined {
    const stat = fstatSync(fd, { bigint: true });
    if (!stat.isFile()) return undefined;
    const identity = identityOf(stat);
    const key = `${identity}:${stat.ctimeNs}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known.code;
    const named = statSync(path, { bigint: true, throwIfNoEntry: false });
    const isNamed = named?.ino === stat.ino && named.dev === stat.dev;
    const code = isNamed ? this.#read(path, fd, Number(stat.size)) : undefined;
    this.#known.set(key, { code, identity });
    return code;
  }

  #read(path: string, fd: Fd, size: number): CodeFile | undefined {
    const segments = codeSegments(fd, size);
    if (segments.length === 0) return undefined;
    const entries = this.#entriesOf(path, fd);
    if ('kind' in entries) {
      this.kept.set(entries.reason, [...(this.kept.get(entries.reason) ?? []), path]);
      return undefined;
    }
    return new CodeFile(path, fd, segments, entries);
  }

  #entriesOf(path: string, fd: Fd): Entries {
    try {
      return this.#findEntries(path, fd);
    } catch (error) {
      // A damaged table is no reason to stop a program that runs well with it.
      if (error instanceof WinnowError) return { kind: 'kept', reason: error.what };
      throw error;
    }
  }
}

const identityOf = ({ dev, ino, size, mtimeNs }: BigIntStats): string => `${dev}:${ino}:${size}:${mtimeNs}`;
