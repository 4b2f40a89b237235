/**
 * Where one run has its anchors, and by how much they differ between runs.
 *
 * A word is a pointer into an anchor where it differs between all runs by as much as that anchor does. That says
 * something only if no two anchors differ alike: such runs are thrown away and made again (link.ts).
 */
import { PAGE_SIZE } from '../../base/brands.ts';
import { ANCHORS, type Anchor, type AnchorExtent } from '../model.ts';
import { AT } from './auxv.ts';
import type { EligibleProgram } from './eligible.ts';
import { extentOf, programSegments, segmentsAt } from './headers-in-memory.ts';
import type { StoppedLoader } from './loader-run.ts';

/** The addresses that offsets count from, in one run; a vDSO that is not there has 0. */
export type AnchorBases = Readonly<Record<Anchor, number>>;

export function basesOf(run: StoppedLoader, program: EligibleProgram): AnchorBases {
  return {
    program: Number(run.auxv.get(AT.entry) ?? 0n) - program.entry,
    arena: run.arena.base,
    loader: run.loaderBase,
    vdso: Number(run.auxv.get(AT.vdso) ?? 0n),
  };
}

export type Extents = Readonly<Record<Exclude<Anchor, 'vdso'>, AnchorExtent>>;

/** The same in all runs, since modules are: asked of one. */
export function extentsOf(run: StoppedLoader, program: EligibleProgram): Extents {
  const ofProgram = extentOf(programSegments(run.memory, run.auxv));
  const ofLoader = extentOf(segmentsAt(run.memory, run.loaderBase));
  const { base, end } = run.arena;
  const inArena = run.maps.filter(({ start }) => start >= base && start < end);
  const heads = inArena.filter(({ offset, path, readable }) => offset === 0 && path !== '' && readable);
  const aligns = heads.map(({ start }) => {
    const segments = segmentsAt(run.memory, start);
    return segments.length === 0 ? PAGE_SIZE : extentOf(segments).align;
  });
  const fixed = (at: number | undefined) => ({ fixedAt: at });
  return {
    program: { ...sized(ofProgram), ...fixed(program.isFixed ? 0 : undefined) },
    arena: {
      first: 0,
      size: Math.max(0, ...inArena.map((mapping) => mapping.end - base)),
      align: Math.max(PAGE_SIZE, ...aligns),
      fixedAt: undefined,
    },
    loader: { ...sized(ofLoader), ...fixed(undefined) },
  };
}

const sized = ({ first, end, align }: ReturnType<typeof extentOf>) => ({ first, size: end - first, align });

/** For each anchor, by how much its base differs from the one of the first run; index: run - 1. */
export type Deltas = Readonly<Record<Anchor, readonly number[]>>;

export function deltasOf(bases: readonly AnchorBases[]): Deltas {
  const [first, ...others] = bases;
  const of = (anchor: Anchor): readonly number[] =>
    others.map((run) => run[anchor] - (first?.[anchor] ?? Number.NaN));
  return { program: of('program'), arena: of('arena'), loader: of('loader'), vdso: of('vdso') };
}

/** What else slides, and must slide differently: the initial stack and the break. */
export const othersOf = (run: StoppedLoader): readonly number[] => [run.stack.start, run.calls.break ?? 0];

/**
 * Whether every two runs tell all anchors from each other and from what stays.
 *
 * @param runs with further addresses that must differ in their own way.
 */
export function tellApart(
  runs: readonly { readonly bases: AnchorBases; readonly others: readonly number[] }[],
  isFixed: boolean,
): boolean {
  const anchors = ANCHORS.filter(
    (anchor) => !(anchor === 'program' && isFixed) && runs.some(({ bases }) => bases[anchor] !== 0),
  );
  const places = runs.map(({ bases, others }) => [...anchors.map((anchor) => bases[anchor]), ...others]);
  return places.every((one, i) =>
    places.slice(0, i).every((other) => {
      const slid = one.map((at, k) => at - (other[k] ?? 0));
      return !slid.includes(0) && new Set(slid).size === slid.length;
    }),
  );
}

/** glibc sorts modules by address: `_dl_find_object`. */
export const ORDER: readonly Anchor[] = ['program', 'arena', 'loader', 'vdso'];

/** Whether the anchors of a run lie in the order that images have. */
export function isInOrder(bases: AnchorBases, extents: Extents): boolean {
  const { program, arena, loader } = extents;
  const programEnd = bases.program + program.first + program.size;
  const arenaEnd = bases.arena + arena.size;
  const loaderEnd = bases.loader + loader.first + loader.size;
  if (programEnd > bases.arena || arenaEnd > bases.loader + loader.first) return false;
  return bases.vdso === 0 || loaderEnd <= bases.vdso;
}

/** The anchor that a mapping of a run belongs to; undefined: none, as the stack. */
export function anchorAt(
  address: number,
  bases: AnchorBases,
  extents: Extents,
): Exclude<Anchor, 'vdso'> | undefined {
  for (const anchor of ['program', 'arena', 'loader'] as const) {
    const offset = address - bases[anchor] - extents[anchor].first;
    if (offset >= 0 && offset < extents[anchor].size) return anchor;
  }
  return undefined;
}
