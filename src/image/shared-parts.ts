/** What an image has of programs that start linked, beside the files that `src/share` made. */
import { chmodSync, copyFileSync, linkSync, mkdirSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { pageIndex, pagesIn } from '../base/brands.ts';
import { errnoOf } from '../base/errors.ts';
import type { Companion, Replacement } from '../prefetch/model.ts';
import { joinExtents, subtract } from '../profile/extents.ts';
import { insideRoot } from '../profile/inside-root.ts';
import type { Extent } from '../profile/model.ts';
import type { BuiltShare } from '../share/built.ts';
import { resolvedIn } from '../share/observe.ts';
import type { ShownModule } from './modules-model.ts';

/** Folder of the image with the copy of the program under the program's name (runtime/linked-programs.c). */
const DIRECT = 'direct';

/** @param isRewritten with rewritten libraries, which who executes the copy itself would not be shown. */
export const shownPrograms = ({ programs }: BuiltShare, isRewritten: boolean): ShownModule[] =>
  programs.map(({ path, size, mtimeNs, inode, copy, copySize, asksForItself }) => ({
    path,
    identity: { size, mtimeNs, inode },
    replacement: copy,
    replacementSize: copySize,
    role: 'program',
    usesOrigin: false,
    linked: asksForItself === undefined && !isRewritten ? 'by-any-name' : 'by-its-name',
  }));

/** Under its own name the copy of the command's program can be executed, and is called as ever in `ps`. */
export function linkByOwnNames(
  folder: string,
  { program, root }: { readonly program: string; readonly root: string | undefined },
  share: BuiltShare,
  mode: number,
): void {
  const path = resolvedIn(root, program);
  const shared = share.programs.find((one) => one.path === path);
  if (shared === undefined || shared.asksForItself !== undefined) return;
  const names = new Set([program, path].map((one) => basename(one)));
  mkdirSync(join(folder, DIRECT), { mode: 0o700 });
  chmodSync(join(folder, DIRECT), mode);
  for (const name of names) linkOrCopy(join(folder, shared.copy), join(folder, DIRECT, name));
}

interface LinkedPlaces {
  /** The folder with the files, which will be `to`. */
  readonly from: string;
  readonly to: string;
  /** What stands for originals already, by their paths. */
  readonly rewritten: ReadonlyMap<string, Replacement>;
  /** Where the originals' paths are looked up; undefined: on this machine. */
  readonly root: string | undefined;
}

/**
 * What a start needs of the programs' images: all of each (of a joined one, what linking made and what was recorded), and no
 * page of the originals that an image has in its place.
 */
export function linkedReplacements(
  { programs, kept }: BuiltShare,
  { from, to, rewritten, root }: LinkedPlaces,
): [string, Replacement][] {
  const fileOf = (name: string): Companion => {
    const { size, mtimeNs, ino, dev } = statSync(join(from, name), { bigint: true });
    return { path: join(to, name), size: Number(size), mtimeNs, inode: ino, dev };
  };
  const copies = programs.map(
    ({ path, copy, copySize, linked, restore, joinedPages }): [string, Replacement] => {
      const last = { page: pageIndex(pagesIn(copySize) - 1), count: 1 };
      const always = joinedPages?.always.map(({ page, count }) => ({ page: pageIndex(page), count }));
      const own = fileOf(linked);
      const companions = [always === undefined ? own : { ...own, extents: always }, fileOf(restore)];
      // The path of the loader stands at its end.
      const { dropped, added, headers } = rewritten.get(path) ?? { dropped: [], added: [] };
      const pages = { dropped, added: [...subtract(added, [last]), last] };
      return [path, { ...fileOf(copy), ...pages, ...(headers === undefined ? {} : { headers }), companions }];
    },
  );
  if (programs.some(({ joinedPages }) => joinedPages !== undefined))
    return [...copies, ...movedLibraries({ programs, kept }, { to, rewritten, root })];
  // Another program may map such pages as they stand in the file.
  const [only] = programs;
  if (only === undefined || programs.length > 1 || kept.length > 0) return copies;
  const libraries = only.replaced
    .filter(({ path }) => path !== only.path)
    .flatMap(({ path, pages }): [string, Replacement][] => {
      const held = extentsOf(pages);
      const copy = rewritten.get(path);
      if (copy !== undefined) {
        // What stood in the original stands at the same place in its copy.
        const dropped = joinExtents([...copy.dropped, ...held]);
        return [[path, { ...copy, dropped, added: subtract(copy.added, held) }]];
      }
      const itself = asItself(path, root);
      return itself === undefined ? [] : [[path, { ...itself, dropped: held }]];
    });
  return [...copies, ...libraries];
}

function asItself(path: string, root: string | undefined): Replacement | undefined {
  const here = root === undefined ? path : insideRoot(root, path);
  const now = statSync(here, { bigint: true, throwIfNoEntry: false });
  if (now === undefined) return undefined;
  const { size, mtimeNs, ino, dev } = now;
  return { path, size: Number(size), mtimeNs, inode: ino, dev, dropped: [], added: [] };
}

/** Which program used which pages was not recorded, so each gets all of what was used in any. */
function movedLibraries(
  { programs, kept }: BuiltShare,
  { to, rewritten, root }: Omit<LinkedPlaces, 'from'>,
): [string, Replacement][] {
  const own = new Set(programs.map(({ path }) => path));
  const moved = new Map<string, NonNullable<Replacement['moved']>>();
  for (const { linked, joinedPages } of programs) {
    for (const { path, pieces } of joinedPages?.modules ?? [])
      if (!own.has(path)) moved.set(path, [...(moved.get(path) ?? []), { path: join(to, linked), pieces }]);
  }
  // A program that starts by its own loader maps the files.
  const stays = kept.length > 0;
  return [...moved].flatMap(([path, places]): [string, Replacement][] => {
    const file = rewritten.get(path) ?? asItself(path, root);
    return file === undefined ? [] : [[path, { ...file, moved: places, stays }]];
  });
}

/** @param pages ascending. */
function extentsOf(pages: readonly number[]): Extent[] {
  const extents: { page: Extent['page']; count: number }[] = [];
  for (const page of pages) {
    const last = extents.at(-1);
    if (last !== undefined && last.page + last.count === page) last.count += 1;
    else extents.push({ page: pageIndex(page), count: 1 });
  }
  return extents;
}

export function linkOrCopy(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch (error) {
    // File systems without hard links.
    if (errnoOf(error) !== 'EPERM' && errnoOf(error) !== 'EOPNOTSUPP' && errnoOf(error) !== 'EMLINK')
      throw error;
    copyFileSync(from, to);
  }
}
