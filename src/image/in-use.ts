/**
 * Which folders of images do programs that run still need?
 *
 * Problem: a program in a mount namespace goes on with modules whose files were removed, but /proc/self/maps and
 * /proc/self/exe then call them deleted, and what it starts has such names from its beginning. Under the audit
 * object, modules opened later would be the originals.
 *
 * Method: names of these folders are unique, so they are looked for as they stand in the mounts of every
 * mount namespace, and in the memory maps of every process, that may be read. Root may read all; others read
 * their own, and nobody else runs their images.
 *
 * Limits: processes of other containers are not seen.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** Undefined where the process is gone or another user's. */
function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return undefined;
  }
}

function namespaceOf(process: string): string | undefined {
  try {
    return readlinkSync(`${process}/ns/mnt`);
  } catch {
    return undefined;
  }
}

function processes(): string[] {
  try {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map((name) => `/proc/${name}`);
  } catch {
    return [];
  }
}

/** @param names of folders, `.NAME@hex`. @returns those that are in use. */
export function versionsInUse(names: readonly string[]): Set<string> {
  const inUse = new Set<string>();
  if (names.length === 0) return inUse;
  const seen = new Set<string>();
  const note = (text: string | undefined): void => {
    for (const name of names) if (text?.includes(`/${name}/`) === true) inUse.add(name);
  };
  for (const process of processes()) {
    const namespace = namespaceOf(process);
    if (namespace === undefined) continue;
    note(read(`${process}/maps`));
    if (!seen.has(namespace)) note(read(`${process}/mountinfo`));
    seen.add(namespace);
  }
  return inUse;
}
