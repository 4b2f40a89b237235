/** The ELF files under some folders. */
import { closeSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';

/** Regular files that begin as ELF files do, sorted; links are not followed, unreadable files left out. */
export function elfFiles(folders: readonly string[]): string[] {
  return folders.flatMap(walk).toSorted();
}

function walk(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return walk(path);
    return entry.isFile() && isElf(path) ? [path] : [];
  });
}

function isElf(path: string): boolean {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    return false;
  }
  try {
    const start = Buffer.alloc(4);
    return readSync(fd, start, 0, 4, 0) === 4 && start.equals(Buffer.from('\x7fELF', 'latin1'));
  } finally {
    closeSync(fd);
  }
}
