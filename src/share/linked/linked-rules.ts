/**
 * What holds of every NAME.linked beside its layout: the writer keeps to it, the reader finds out.
 *
 * runtime/restore.c relies on none of it for its own memory: what it would map or write outside of the maps it
 * refuses by itself. These rules find builders' faults early and say them in words.
 */
import { PAGE_SIZE } from '../../base/brands.ts';
import { LINKED_FILES_MAX, LINKED_FIXUPS_MAX, LINKED_MAPS_MAX, LINKED_WATCHES_MAX } from './linked-layout.ts';
import type { PlacedImage, PlacedMap } from './linked-model.ts';
import { wrongSlide } from './slide-rules.ts';

/** The end of the user half, 47 bits. */
const ADDRESSES_END = 2 ** 47;
/** Paths of the kernel are shorter than this. */
const PATH_END = 4096;

const isPages = (value: number): boolean =>
  Number.isSafeInteger(value) && value >= 0 && value % PAGE_SIZE === 0;

function wrongSource({ source, size }: PlacedMap, image: PlacedImage): string | undefined {
  switch (source.kind) {
    case 'zeros':
      return undefined;
    case 'pages': {
      const isInside = isPages(source.offset) && source.offset + size <= image.pages.length;
      return isInside ? undefined : 'a map shows pages that are not there';
    }
    case 'file': {
      const file = image.files[source.index];
      if (file?.isMapped !== true) return 'a map shows a file that is not to be mapped';
      // What lies behind the end of the file would be SIGBUS.
      const isInside = isPages(source.offset) && source.offset + size < file.size + PAGE_SIZE;
      return isInside ? undefined : 'a map shows what is behind the end of its file';
    }
    case 'program': {
      const { first, size: all } = image.program;
      const isInside = isPages(source.rva) && source.rva >= first && source.rva + size <= first + all;
      return isInside ? undefined : 'a map shows what the program does not have';
    }
  }
}

function wrongMap(map: PlacedMap, image: PlacedImage): string | undefined {
  if (!isPages(map.at) || !isPages(map.size) || map.size === 0) return 'a map is not made of pages';
  if (map.at + map.size > ADDRESSES_END) return 'a map lies outside of the user half';
  return wrongSource(map, image);
}

function wrongMaps(image: PlacedImage): string | undefined {
  const under = layersOf(image);
  if (under === undefined) return 'maps are not in order or overlap';
  for (const map of image.maps) {
    const wrong = wrongMap(map, image) ?? wrongLayer(map, under.get(map));
    if (wrong !== undefined) return wrong;
  }
  return undefined;
}

/** What lies over an area, and over which; undefined where maps overlap otherwise. */
export function layersOf({ maps, isJoined }: Layered): ReadonlyMap<PlacedMap, PlacedMap> | undefined {
  const under = new Map<PlacedMap, PlacedMap>();
  let area: PlacedMap | undefined;
  let areaEnd = PAGE_SIZE;
  let end = PAGE_SIZE;
  for (const map of maps) {
    if (isJoined && area !== undefined && map.at < areaEnd) {
      if (map.at < end || map.at + map.size > areaEnd) return undefined;
      under.set(map, area);
      end = map.at + map.size;
    } else {
      if (map.at < areaEnd) return undefined;
      area = map;
      areaEnd = map.at + map.size;
      end = map.at;
    }
  }
  return under;
}

type Layered = Pick<PlacedImage, 'maps' | 'isJoined'>;

/** The map that shows an address: the upper one. */
export const mapAt = (maps: readonly PlacedMap[], at: number): PlacedMap | undefined =>
  maps.findLast((map) => at >= map.at && at < map.at + map.size);

function wrongLayer({ source, at }: PlacedMap, area: PlacedMap | undefined): string | undefined {
  if (area === undefined) return undefined;
  if (area.source.kind !== 'pages') return 'a map lies over one that is no area';
  if (source.kind === 'zeros') return undefined;
  const isSame = source.kind === 'pages' && source.offset - area.source.offset === at - area.at;
  return isSame ? undefined : 'a map over an area shows something else';
}

/** Whether `size` bytes from `at` on lie in maps that follow each other and may be written. */
function isWritable({ maps }: PlacedImage, at: number, size: number): boolean {
  for (let from = at; from < at + size; ) {
    const map = mapAt(maps, from);
    if (map?.protection.write !== true) return false;
    from = map.at + map.size;
  }
  return true;
}

const isExecutable = ({ maps }: PlacedImage, at: number): boolean =>
  mapAt(maps, at)?.protection.execute === true;

function wrongWords(image: PlacedImage): string | undefined {
  const wrong = wrongFixUps(image);
  if (wrong !== undefined) return wrong;
  if (!isWritable(image, image.tidAt, 4)) return 'the thread id has no place';
  const { robust, rseq } = image;
  if (robust !== undefined && (robust.at === 0 || !isWritable(image, robust.at, robust.size)))
    return 'the list of robust futexes has no place';
  if (rseq !== undefined && (rseq.at === 0 || rseq.at % 32 !== 0 || !isWritable(image, rseq.at, rseq.size)))
    return 'the restartable sequences have no place';
  if (!isExecutable(image, image.start)) return 'the loader cannot be gone on with at its start';
  if (!isExecutable(image, image.entry)) return 'the program has no entry';
  return undefined;
}

function wrongFixUps(image: PlacedImage): string | undefined {
  let end = 0;
  for (const { at, size, kind } of image.fixUps) {
    if (kind === 'in-vdso' && (size !== 8 || image.vdsoAt === undefined))
      return 'there is no vDSO to point into';
    if ((kind === 'slid-program' || kind === 'slid-rest') && size !== 8) return 'half a word slides';
    if (at < end) return 'fix-ups are not in order or overlap';
    if (!isInMaps(image, at, size)) return 'a fix-up lies outside of the maps';
    end = at + size;
  }
  return undefined;
}

/** Whether a word lies in one map that has bytes of its own. Fix-ups may lie in relro: restore.c writes them before. */
function isInMaps(image: PlacedImage, at: number, size: number): boolean {
  const map = ownMapAt(image, at);
  if (map === undefined || at + size > map.at + map.size) return false;
  return map.source.kind === 'pages' || map.protection.write;
}

/** The map whose bytes can be written at an address: none of an area itself, over which others lie. */
function ownMapAt({ maps, isJoined }: PlacedImage, at: number): PlacedMap | undefined {
  const map = mapAt(maps, at);
  if (map === undefined) return undefined;
  const next = maps[maps.indexOf(map) + 1];
  const isArea = isJoined && next !== undefined && next.at < map.at + map.size;
  return isArea ? undefined : map;
}

function wrongVdso({ machine: { vdso }, vdsoAt, maps }: PlacedImage): string | undefined {
  if ((vdso === undefined) !== (vdsoAt === undefined)) return 'the vDSO is there in part';
  if (vdso === undefined || vdsoAt === undefined) return undefined;
  const isWhole = isPages(vdsoAt) && isPages(vdso.lead) && isPages(vdso.size) && vdso.size > 0;
  if (!isWhole || vdsoAt + vdso.size > ADDRESSES_END) return 'the vDSO is not made of pages';
  // The loader has a table of modules by address.
  if (maps.some(({ at }) => at >= vdsoAt)) return 'a map lies above the vDSO';
  return undefined;
}

function wrongPaths({ files, watches }: PlacedImage): string | undefined {
  const isPath = (path: string): boolean =>
    path.startsWith('/') && !path.includes('\0') && Buffer.byteLength(path) < PATH_END;
  return [...files, ...watches].every(({ path }) => isPath(path)) ? undefined : 'a path is not absolute';
}

function wrongCounts(image: PlacedImage): string | undefined {
  if (image.files.length > LINKED_FILES_MAX) return 'there are too many files';
  if (image.maps.length > LINKED_MAPS_MAX) return 'there are too many maps';
  if (image.fixUps.length > LINKED_FIXUPS_MAX) return 'there are too many fix-ups';
  if (image.watches.length > LINKED_WATCHES_MAX) return 'there are too many watched paths';
  if (!isPages(image.pages.length)) return 'the pages are not whole';
  if (!isPages(image.program.first) || !isPages(image.program.size))
    return 'the program is not made of pages';
  return undefined;
}

/** The first rule that the image breaks, in words. */
export function whatIsWrong(image: PlacedImage): string | undefined {
  return (
    wrongCounts(image) ??
    wrongPaths(image) ??
    wrongMaps(image) ??
    wrongVdso(image) ??
    wrongWords(image) ??
    wrongSlide(image, ADDRESSES_END, (at) => ownMapAt(image, at))
  );
}
