/** The log of calls that the recorder's sleep has let go (runtime/look-ups.c). */
import { type Address, address, type Tid, tid } from '../base/brands.ts';
import { ENTRY, LOGGED_OPEN, LOGGED_SEEK } from './wake-layout.ts';

/** A jump in a file that is followed. */
export interface LoggedSeek {
  readonly tid: Tid;
  readonly fd: number;
  /** Where the file's offset was; undefined where it has none. */
  readonly at: number | undefined;
  readonly offset: number;
  readonly whence: number;
}

/** A path that was looked up; with `open` one that was opened for reading and found. */
export interface LoggedPath {
  readonly path: string;
  readonly open?: { readonly ip: Address; readonly bytes: number };
}

const word = (field: number): number => field / 4;

/** A 64-bit field: addresses of programs, sizes and offsets are exact in a number. */
const long = (words: Int32Array, at: number): number =>
  (words[at + 1] ?? 0) * 2 ** 32 + ((words[at] ?? 0) >>> 0);

/** Walks the log in the order of the calls, without a look at paths: the next notice waits meanwhile. */
export function walkLog(
  log: ArrayBuffer,
  seen: { readonly open: (tid: Tid) => void; readonly seek: (seek: LoggedSeek) => void },
): void {
  const words = new Int32Array(log);
  for (let at = 0; at < words.length; at += (words[at] ?? 0) / 4) {
    const kind = words[at + word(ENTRY.kind)];
    const thread = tid(words[at + word(ENTRY.tid)] ?? 0);
    if (kind === LOGGED_OPEN) seen.open(thread);
    if (kind !== LOGGED_SEEK) continue;
    const offsetNow = long(words, at + word(ENTRY.at));
    seen.seek({
      tid: thread,
      fd: words[at + word(ENTRY.fd)] ?? 0,
      at: offsetNow < 0 ? undefined : offsetNow,
      offset: long(words, at + word(ENTRY.offset)),
      whence: words[at + word(ENTRY.whence)] ?? 0,
    });
  }
}

/** The paths in the log, in the order of the calls. */
export function pathsIn(log: ArrayBuffer): LoggedPath[] {
  const words = new Int32Array(log);
  const bytes = Buffer.from(log);
  const paths: LoggedPath[] = [];
  for (let at = 0; at < words.length; at += (words[at] ?? 0) / 4) {
    const kind = words[at + word(ENTRY.kind)];
    if (kind === LOGGED_SEEK) continue;
    const start = at * 4 + ENTRY.size;
    const path = bytes.toString('utf8', start, start + (words[at + word(ENTRY.length)] ?? 0));
    const ip = address(BigInt(long(words, at + word(ENTRY.ip))));
    const open = { ip, bytes: long(words, at + word(ENTRY.bytes)) };
    paths.push(kind === LOGGED_OPEN ? { path, open } : { path });
  }
  return paths;
}
