/**
 * The C library of this process, for the rooms' system calls. Only `src/sys` imports koffi.
 *
 * Calls are synchronous: ptrace is bound to the OS thread that attached, so koffi's `.async` is never
 * used here.
 */
import koffi from 'koffi';

export const libc = koffi.load(null);

const errnoName = new Map<number, string>(
  Object.entries(koffi.os.errno).map(([name, value]) => [Number(value), name]),
);

/** The errno of the last failed call on this thread, as its name (`ENOENT`). */
export function lastErrno(): string {
  const value = koffi.errno();
  return errnoName.get(value) ?? `errno ${value}`;
}
