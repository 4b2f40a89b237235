/** The mappings of a stopped loader by anchor and offset, so that those of all runs can be compared. */
import { closeSync, openSync, readSync } from 'node:fs';
import { identifyFile, sameFile } from '../../profile/identity.ts';
import type { FileIdentity } from '../../profile/model.ts';
import type { Mapping } from '../../sys/maps.ts';
import type { Anchor, LinkedFile, Protection } from '../model.ts';
import { type AnchorBases, anchorAt, type Extents } from './anchors.ts';
import { type LinkMap, linkMaps } from './headers-in-memory.ts';
import type { StoppedLoader } from './loader-run.ts';
import { isVdso } from './move-vdso.ts';
import { Refusal } from './refusal.ts';

/** A mapping with what it shows; neighbours that go on from one another are joined. */
export interface Region {
  readonly anchor: Exclude<Anchor, 'vdso'>;
  readonly offset: number;
  readonly size: number;
  readonly protection: Protection;
  readonly source: { readonly path: string; readonly offset: number } | undefined;
}

/** Ascending by anchor and offset. @throws Refusal for a mapping that is none of a module, or of a file that is gone. */
export function regionsOf(run: StoppedLoader, bases: AnchorBases, extents: Extents): readonly Region[] {
  const found: Region[] = [];
  for (const mapping of run.maps) {
    if (isVdso(mapping) || mapping.path === '[stack]' || mapping.path === '[vsyscall]') continue;
    const region = regionOf(mapping, bases, extents);
    const previous = found.at(-1);
    if (previous !== undefined && goesOn(previous, region)) {
      found[found.length - 1] = { ...previous, size: previous.size + region.size };
    } else found.push(region);
  }
  return found;
}

function regionOf(mapping: Mapping, bases: AnchorBases, extents: Extents): Region {
  const { start, end, path } = mapping;
  const anchor = anchorAt(start, bases, extents);
  const shown = path === '' ? 'anonymous memory' : path;
  if (
    anchor === undefined ||
    start - bases[anchor] + (end - start) > extents[anchor].first + extents[anchor].size
  ) {
    throw new Refusal('a mapping of no module', shown);
  }
  if (mapping.shared) throw new Refusal('shared memory before the first constructor', shown);
  if (mapping.deleted) throw new Refusal('a module was replaced while it was linked', path);
  const { readable: read, writable: write, executable: execute } = mapping;
  const isFile = path !== '' && !path.startsWith('[');
  return {
    anchor,
    offset: start - bases[anchor],
    size: end - start,
    protection: { read, write, execute },
    source: isFile ? { path, offset: mapping.offset } : undefined,
  };
}

function goesOn(one: Region, next: Region): boolean {
  if (one.anchor !== next.anchor || one.offset + one.size !== next.offset) return false;
  const { read, write, execute } = one.protection;
  const other = next.protection;
  if (read !== other.read || write !== other.write || execute !== other.execute) return false;
  if (one.source === undefined || next.source === undefined) return one.source === next.source;
  return one.source.path === next.source.path && one.source.offset + one.size === next.source.offset;
}

/** @throws Refusal unless the loader did the same in another run. */
export function requireSameRegions(one: readonly Region[], other: readonly Region[]): void {
  const lines = (regions: readonly Region[]): string[] => regions.map((region) => JSON.stringify(region));
  const left = lines(one);
  const right = lines(other);
  const at = left.findIndex((line, index) => line !== right[index]);
  if (at < 0 && left.length === right.length) return;
  const region = one[at] ?? other[at] ?? other[left.length];
  throw new Refusal(
    'the loader maps other things in other circumstances',
    region === undefined ? undefined : `${region.source?.path ?? 'anonymous memory'} in the ${region.anchor}`,
  );
}

/** Program, loader, then libraries in the loader's order. @throws Refusal where a mapped file is not in its list. */
export function filesOf(
  run: StoppedLoader,
  bases: AnchorBases,
  regions: readonly Region[],
): readonly LinkedFile[] {
  const maps = linkMaps(run.memory, run.auxv, bases.program) ?? [];
  const names = new Map(maps.map((map) => [pathOf(run, map), map.name]));
  const byPath = new Map<string, LinkedFile>();
  const add = (path: string, role: LinkedFile['role']): void => {
    if (byPath.has(path)) return;
    byPath.set(path, { path, identity: identify(path), role, name: names.get(path) ?? path });
  };
  for (const role of ['program', 'loader'] as const) {
    for (const { anchor, source } of regions)
      if (anchor === role && source !== undefined) add(source.path, role);
  }
  const inArena = new Set(
    regions.flatMap(({ anchor, source }) =>
      anchor === 'arena' && source !== undefined ? [source.path] : [],
    ),
  );
  for (const path of names.keys()) if (path !== undefined && inArena.has(path)) add(path, 'library');
  for (const path of inArena) {
    if (maps.length > 0 && !byPath.has(path)) throw new Refusal('a mapping of no module', path);
    add(path, 'library');
  }
  return [...byPath.values()];
}

function pathOf(run: StoppedLoader, { dynamicAt }: LinkMap): string | undefined {
  return run.maps.find(({ start, end }) => start <= dynamicAt && dynamicAt < end)?.path;
}

function identify(path: string): FileIdentity {
  try {
    return identifyFile(path);
  } catch {
    throw new Refusal('a module that cannot be found again', path);
  }
}

/** @throws Refusal where a file is another one by now. */
export function requireUnchanged(files: readonly LinkedFile[]): void {
  for (const { path, identity } of files) {
    if (!sameFile(identity, identify(path)))
      throw new Refusal('a module was replaced while it was linked', path);
  }
}

/** Files by path, for reading pages of their content; `close` at the end. */
export class SourcePages {
  readonly #open = new Map<string, number>();

  /** 4096 bytes at an offset, zeros behind the end. */
  page(path: string, offset: number): Buffer {
    let fd = this.#open.get(path);
    if (fd === undefined) {
      fd = openSync(path, 'r');
      this.#open.set(path, fd);
    }
    const bytes = Buffer.alloc(4096);
    readSync(fd, bytes, 0, bytes.length, offset);
    return bytes;
  }

  close(): void {
    for (const fd of this.#open.values()) closeSync(fd);
    this.#open.clear();
  }
}
