/** What was explained, as a program after linking. */
import { PAGE_SIZE } from '../../base/brands.ts';
import { planChecksum } from '../../base/checksum.ts';
import type {
  Anchor,
  DirtyPage,
  FixUp,
  Leftover,
  LinkedFile,
  LinkedMapping,
  LinkedState,
  MachineTraits,
  Place,
} from '../model.ts';
import { type AnchorBases, anchorAt, type Extents } from './anchors.ts';
import { AT } from './auxv.ts';
import type { Comparison } from './compare.ts';
import type { StoppedLoader } from './loader-run.ts';
import { isVdso } from './move-vdso.ts';
import type { Span } from './own-memory.ts';
import { Refusal } from './refusal.ts';
import type { Region } from './regions.ts';
import type { Snapshot } from './snapshot.ts';
import type { Whereabouts } from './where.ts';

/** The place of an address in one run. @throws Refusal where it is in no anchor. */
export function placeOf(address: number, bases: AnchorBases, extents: Extents): Place {
  const anchor = anchorAt(address, bases, extents);
  if (anchor === undefined) {
    throw new Refusal('an unknown dynamic loader', `it told the kernel of 0x${address.toString(16)}`);
  }
  return { anchor, offset: address - bases[anchor] };
}

/** Places that the loader told the kernel, in one run. */
export interface ToldPlaces {
  readonly threadPointer: Place;
  readonly tidAt: Place;
  readonly robust: { readonly at: Place; readonly size: number } | undefined;
  readonly rseq: { readonly at: Place; readonly size: number; readonly signature: number } | undefined;
}

/** @throws Refusal where the loader did not say what glibc's says. */
export function toldPlaces({ calls }: StoppedLoader, bases: AnchorBases, extents: Extents): ToldPlaces {
  const { threadPointer, tidAt, robust, rseq } = calls;
  if (threadPointer === undefined || tidAt === undefined) {
    throw new Refusal('an unknown dynamic loader', 'it sets up no thread before the first constructor');
  }
  const place = (at: number): Place => placeOf(at, bases, extents);
  return {
    threadPointer: place(threadPointer),
    tidAt: place(tidAt),
    robust: robust === undefined ? undefined : { at: place(robust.at), size: robust.size },
    rseq: rseq === undefined ? undefined : { ...rseq, at: place(rseq.at) },
  };
}

export function assembleLinked(
  { program, reference, extents, regions }: Snapshot,
  files: readonly LinkedFile[],
  told: ToldPlaces,
  spans: readonly Span[],
  comparison: Comparison,
  where: Whereabouts,
): LinkedState {
  const { stopped: run, bases: base } = reference;
  const indexes = new Map(files.map(({ path }, index) => [path, index]));
  const pages = dirtyPages(spans, comparison.contents);
  const { fixUps, leftovers } = causesOf(comparison, where);
  return {
    program: program.path,
    files,
    extents,
    mappings: regions.map((region) => mappingOf(region, indexes, pages)),
    pointers: [...comparison.pointers].map(([standsIn, { at, into }]) => ({
      standsIn,
      at: Float64Array.from(at),
      into: Uint8Array.from(into),
    })),
    fixUps,
    leftovers,
    start: { anchor: 'loader', offset: run.startUser - base.loader },
    entry: { anchor: 'program', offset: program.entry },
    phdr: { anchor: 'program', offset: Number(run.auxv.get(AT.phdr) ?? 0n) - base.program },
    ...told,
    machine: machineOf(run),
    libraryPath: program.libraryPath,
    lookups: run.calls.lookups,
  };
}

type PagesByAnchor = ReadonlyMap<Anchor, ReadonlyMap<number, Buffer>>;

function dirtyPages(spans: readonly Span[], contents: readonly Buffer[]): PagesByAnchor {
  const pages = new Map<Anchor, Map<number, Buffer>>();
  spans.forEach(({ anchor, offset }, index) => {
    const content = contents[index] ?? Buffer.alloc(0);
    const its = pages.get(anchor) ?? new Map<number, Buffer>();
    pages.set(anchor, its);
    for (let at = 0; at < content.length; at += PAGE_SIZE) {
      its.set(offset + at, content.subarray(at, at + PAGE_SIZE));
    }
  });
  return pages;
}

function mappingOf(
  region: Region,
  indexes: ReadonlyMap<string, number>,
  pages: PagesByAnchor,
): LinkedMapping {
  const { anchor, offset, size, protection, source } = region;
  const dirty: DirtyPage[] = [];
  const its = pages.get(anchor);
  for (let at = 0; at < size; at += PAGE_SIZE) {
    const bytes = its?.get(offset + at);
    if (bytes !== undefined) dirty.push({ offset: at, bytes });
  }
  const file = source === undefined ? undefined : indexes.get(source.path);
  if (source !== undefined && file === undefined) throw new Error(`${source.path} is not among the files`);
  return {
    place: { anchor, offset },
    size,
    protection,
    source: source === undefined || file === undefined ? undefined : { file, offset: source.offset },
    dirty,
  };
}

function causesOf(comparison: Comparison, where: Whereabouts): { fixUps: FixUp[]; leftovers: Leftover[] } {
  const fixUps: FixUp[] = [];
  const leftovers: Leftover[] = [];
  for (const { anchor, offset, size, cause } of comparison.explained) {
    const at = { anchor, offset };
    if (cause.launcher === 'keeps its value') leftovers.push({ at, size, cause: cause.name });
    else fixUps.push({ at, size, kind: cause.launcher, name: where.describe(anchor, offset) });
  }
  return { fixUps, leftovers };
}

function machineOf({ auxv, maps, memory, stackLimit }: StoppedLoader): MachineTraits {
  return {
    hwcap: auxv.get(AT.hwcap) ?? 0n,
    hwcap2: auxv.get(AT.hwcap2) ?? 0n,
    minsigstksz: auxv.get(AT.minsigstksz) ?? 0n,
    stackLimit,
    clockTick: Number(auxv.get(AT.clockTick) ?? 0n),
    pageSize: Number(auxv.get(AT.pageSize) ?? 0n),
    vdso: vdsoOf(maps, memory),
  };
}

function vdsoOf(maps: StoppedLoader['maps'], memory: StoppedLoader['memory']): MachineTraits['vdso'] {
  const parts = maps.filter(isVdso);
  const first = parts[0];
  const vdso = parts.find(({ path }) => path === '[vdso]');
  if (first === undefined || vdso === undefined) return undefined;
  const bytes = memory.read(vdso.start, vdso.end - vdso.start);
  return { lead: vdso.start - first.start, size: bytes.length, checksum: planChecksum(bytes) };
}
