/**
 * What could lead the dynamic loader elsewhere at a later start, as paths that the launcher looks at.
 *
 * Problem. The loader looked for 140 libraries in dozens of folders. If one of its failing look-ups would succeed
 * today, or a name leads to another file, the image is no longer what the loader would make.
 *
 * Example. `/opt/app/lib/libz.so.1` was not there, so the loader went on to the cache: the image holds as
 * long as the folder `/opt/app/lib` has not changed, and `/etc/ld.so.cache` neither.
 *
 * Method. A file that was mapped is opened by the name that the loader opened, so that a link that was turned is
 * seen. A look-up that failed: its path must still be absent; where more than a few failed in one folder, the
 * folder must be unchanged (it changes with every name that comes or goes); where the folder was not there, the
 * highest folder of the path that is missing must still be. What was found and is no module, the cache
 * for one, must be unchanged.
 *
 * Limits. A folder that is watched and written to often sends the image's starts to the plain loader until it is
 * built anew.
 */
import { statSync } from 'node:fs';
import { dirname, normalize } from 'node:path';
import { errnoOf } from '../../base/errors.ts';
import { sameFile } from '../../profile/identity.ts';
import type { FileIdentity } from '../../profile/model.ts';
import type { PlacedFile, PlacedWatch } from '../linked/linked-model.ts';
import type { LinkedFile, LinkedState, NotLinked } from '../model.ts';

/** So many failing look-ups of one folder are watched one by one. */
const FEW = 8;

export interface Guards {
  readonly kind: 'guarded';
  /** By index as `LinkedState.files`; undefined for the program, which the kernel maps itself. */
  readonly files: readonly (Omit<PlacedFile, 'isMapped'> | undefined)[];
  readonly watches: readonly PlacedWatch[];
}

/** What stat says of a path; undefined: nothing is there. */
export type Look = (path: string) => Seen | undefined;

export interface Seen extends FileIdentity {
  readonly kind: 'file' | 'folder' | 'other';
  readonly device: number;
}

/** `kept` where a file is no longer the one that was linked, or is known by a path that depends on the folder of the start. */
export function guardsOf(
  { files, lookups }: Pick<LinkedState, 'files' | 'lookups'>,
  look: Look = lookAtFile,
): Guards | NotLinked {
  const placed: (Omit<PlacedFile, 'isMapped'> | undefined)[] = [];
  const names = new Map<string, FileIdentity>();
  for (const file of files) {
    const name = nameOf(file);
    if (name === undefined) {
      placed.push(undefined);
      continue;
    }
    if (!name.startsWith('/')) return keep('a module is found by a relative path', name);
    const now = look(name);
    if (now === undefined || !sameFile(now, file.identity)) return changed(name);
    const { size, mtimeNs, inode, device } = now;
    placed.push({ path: name, size, mtimeNs, inode, device });
    // The loader knows `/app/lib/../libz.so.1` by that name; what was seen of its look-up is the short one.
    for (const known of [name, normalize(name)]) names.set(known, file.identity);
  }
  const watches = new Map<string, PlacedWatch>();
  const failed = new Map<string, string[]>();
  for (const { path, found } of lookups) {
    if (!path.startsWith('/')) return keep('a library is looked for by a relative path', path);
    // The loader asks for $ORIGIN: each process has its own, and the program is the same.
    if (path.startsWith('/proc/self/')) continue;
    const now = look(path);
    if (found !== (now !== undefined)) return changed(path);
    if (now !== undefined) {
      const module = names.get(path);
      const isModule = module !== undefined && sameFile(module, now);
      // A folder counts for what was not found in it.
      if (now.kind !== 'folder' && !isModule) watches.set(path, unchanged(path, now));
      continue;
    }
    const folder = dirname(path);
    failed.set(folder, [...(failed.get(folder) ?? []), path]);
  }
  for (const [folder, paths] of failed) {
    for (const watch of watchesOf(folder, paths, look)) watches.set(watch.path, watch);
  }
  return { kind: 'guarded', files: placed, watches: [...watches.values()].sort(byPath) };
}

/** What the loader opened; its own name where it mapped what the kernel had not. */
function nameOf({ role, name, path }: LinkedFile): string | undefined {
  if (role === 'program') return undefined;
  return name === '' ? path : name;
}

function watchesOf(folder: string, paths: readonly string[], look: Look): PlacedWatch[] {
  const now = look(folder);
  if (now === undefined) return [{ kind: 'absent', path: highestMissing(folder, look) }];
  if (now.kind !== 'folder' || paths.length <= FEW)
    return [...new Set(paths)].map((path) => ({ kind: 'absent', path }));
  return [unchanged(folder, now)];
}

function highestMissing(path: string, look: Look): string {
  const parent = dirname(path);
  return parent === path || look(parent) !== undefined ? path : highestMissing(parent, look);
}

const unchanged = (path: string, { kind, size, mtimeNs, inode }: Seen): PlacedWatch => ({
  kind: 'unchanged',
  path,
  size: kind === 'folder' ? 0 : size,
  mtimeNs,
  inode,
});

const byPath = (a: PlacedWatch, b: PlacedWatch): number => (a.path < b.path ? -1 : 1);

const keep = (reason: string, detail: string): NotLinked => ({ kind: 'kept', reason, detail });
const changed = (path: string): NotLinked => keep('a file has changed while the image was built', path);

export function lookAtFile(path: string): Seen | undefined {
  try {
    const stat = statSync(path, { bigint: true });
    const kind = stat.isFile() ? 'file' : stat.isDirectory() ? 'folder' : 'other';
    return {
      kind,
      size: Number(stat.size),
      mtimeNs: stat.mtimeNs,
      inode: stat.ino,
      device: Number(stat.dev),
    };
  } catch (error) {
    // Whatever keeps us from seeing it (rights, a loop of links) kept the loader, too.
    if (errnoOf(error) !== undefined) return undefined;
    throw error;
  }
}

/** Whether a guard holds now, as the launcher judges it. */
export function holds(watch: PlacedWatch, look: Look = lookAtFile): boolean {
  const now = look(watch.path);
  if (watch.kind === 'absent') return now === undefined;
  if (now === undefined || now.inode !== watch.inode || now.mtimeNs !== watch.mtimeNs) return false;
  return now.kind === 'folder' || now.size === watch.size;
}
