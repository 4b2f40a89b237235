/**
 * Parts of functions: what a function can be cut into, so that of a long one only what runs moves.
 *
 * Problem: long functions hold code that is never run: errors that did not happen, modes nobody asked for. Copied
 * whole, they take the room of code that runs. Of those that can be cut, PETSc's ex5 runs 71 % of the bytes, `import
 * numpy` 68 %, inkscape 77 %.
 * Example: a function of 3 KiB begins with `test %eax, %eax; jne far`, and 2 KiB of it, between a `ret` and the
 * end, are only come to by such jumps. These are a part of their own.
 * Method: a function can be cut behind an instruction that control does not run past (a jump, a return), where no
 * short branch crosses: nothing has to be added, and nothing but the branches' 4-byte fields leads from one part to
 * another. A part is entered where branches of other parts come in, where their calls land when they throw, and where
 * their jump tables lead: there the recorder waits. What has no such place belongs to the part before it. Each part
 * gets landing pads of its own (part-pads.ts), and the tables of a copied part lead to copied ones (copy-tables.ts).
 * Limits: functions that take addresses of their own code, in whose middle the module's tables point, of whose jumps it
 * is not known where they lead, or whose landing pads cannot be said for a part, are not cut. Nor is a part that would
 * begin with a landing pad of its own calls, or between the instructions that make one table's address together.
 * Parts are at least LEAST_PART long: a breakpoint and an FDE more should be worth it.
 */
import { type Rva, rva } from '../base/brands.ts';
import { AddressBits } from './address-bits.ts';
import type { Cluster } from './cluster-pieces.ts';
import type { CodeMap } from './code-map.ts';
import type { CodeRoots } from './code-roots.ts';
import { LINK_CALL, LINK_SHORT, type Links, NumberList } from './links.ts';
import type { Unit } from './model.ts';
import type { Piece } from './pieces.ts';
import type { UnseenWay, UnseenWays } from './unseen-ways.ts';

/** Bytes. */
const LEAST_PART = 32;

export interface FoundParts {
  /** Where the parts behind the first start, ascending; empty where the function is not to be cut. */
  readonly parts: readonly number[];
  /** Where parts are entered without a branch from another one, ascending. */
  readonly aside: readonly number[];
}

const UNCUT: FoundParts = { parts: [], aside: [] };

/**
 * @param stops where instructions end that control does not run past, ascending.
 * @param inner branches within the function, ascending.
 * @param unseen the other ways within it; undefined: they are not known. Asked for only where it may be cut.
 */
export function findParts(
  piece: Piece,
  code: CodeMap,
  stops: Uint32Array,
  inner: Links,
  unseen: () => UnseenWays | undefined,
): FoundParts {
  const first = startsOfParts(piece, stops, inner, []);
  const found = first.length === 1 ? undefined : unseen();
  if (found === undefined) return UNCUT;
  const { ways, uncut } = found;
  const starts = uncut.length === 0 ? first : startsOfParts(piece, stops, inner, uncut);
  for (;;) {
    const entered = enteredParts(starts, code, inner, ways);
    if (entered === undefined) return UNCUT;
    const lost = ownPads(starts, ways);
    const known = starts.filter((start, index) => entered[index] === 1 && !lost.has(start));
    if (known.length === starts.length) break;
    starts.splice(0, starts.length, ...known);
  }
  const aside = new Set(ways.filter((way) => crosses(starts, way)).map(({ target }) => target));
  return { parts: starts.slice(1), aside: [...aside].sort((a, b) => a - b) };
}

/** Wherever it can be cut, whether or not anything leads there; the function's own start is the first. */
function startsOfParts(
  { start, end }: Piece,
  stops: Uint32Array,
  inner: Links,
  uncut: UnseenWays['uncut'],
): number[] {
  const starts: number[] = [start];
  // Most functions are too short, or end with the only place where control does not run on.
  const latest = stops[firstAbove(stops, end - LEAST_PART) - 1] ?? start;
  if (latest - start < LEAST_PART) return starts;
  const isCrossed = crossedStops(stops, inner, uncut);
  let last: number = start;
  for (let i = 0; i < stops.length; i++) {
    const at = stops[i] ?? end;
    if (isCrossed[i] !== 0 || at - last < LEAST_PART || end - at < LEAST_PART) continue;
    starts.push(at);
    last = at;
  }
  return starts;
}

/** By stop: whether a short branch leads from one side of it to the other, or both must stay together. */
function crossedStops(stops: Uint32Array, inner: Links, uncut: UnseenWays['uncut']): Int32Array {
  const depth = new Int32Array(stops.length + 1);
  const cross = (from: number, to: number): void => {
    const first = firstAbove(stops, Math.min(from, to));
    const last = firstAbove(stops, Math.max(from, to));
    depth[first] = (depth[first] ?? 0) + 1;
    depth[last] = (depth[last] ?? 0) - 1;
  };
  for (let i = 0; i < inner.length; i++) {
    if ((inner.kindAt(i) & LINK_SHORT) !== 0) cross(inner.field.at(i), inner.target.at(i));
  }
  for (const { from, to } of uncut) cross(from, to);
  for (let i = 1; i < depth.length; i++) depth[i] = (depth[i] ?? 0) + (depth[i - 1] ?? 0);
  return depth;
}

/** Index of the first number above `value`; they ascend. */
function firstAbove(numbers: ArrayLike<number>, value: number): number {
  let low = 0;
  let high = numbers.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((numbers[middle] ?? 0) <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

const partOf = (starts: readonly number[], at: number): number => firstAbove(starts, at) - 1;

/** Whether it leads from one part to another. */
function crosses(starts: readonly number[], { from, end, target }: UnseenWay): boolean {
  const to = partOf(starts, target);
  return partOf(starts, from) !== to || partOf(starts, end - 1) !== to;
}

/** Starts of parts that are landing pads of their own calls. */
function ownPads(starts: readonly number[], ways: readonly UnseenWay[]): ReadonlySet<number> {
  const found = new Set<number>();
  for (const { from, end, target, isPad } of ways) {
    const part = partOf(starts, target);
    const isOwn = partOf(starts, from) <= part && partOf(starts, end - 1) >= part;
    if (isPad && isOwn && starts[part] === target) found.add(target);
  }
  return found;
}

/** By part: 1 if another part leads there; the first counts as entered. Undefined: not to be cut. */
function enteredParts(
  starts: readonly number[],
  code: CodeMap,
  inner: Links,
  ways: readonly UnseenWay[],
): Uint8Array | undefined {
  const entered = new Uint8Array(starts.length);
  entered[0] = 1;
  if (starts.length === 1) return entered;
  for (let i = 0; i < inner.length; i++) {
    const target = inner.target.at(i);
    const to = partOf(starts, target);
    if (to === partOf(starts, inner.field.at(i))) continue;
    const isRecursion = target === starts[0];
    // A breakpoint behind a lock prefix would be one in an instruction's middle.
    if (!code.isStart(target) || (inner.kindAt(i) === LINK_CALL && !isRecursion)) return undefined;
    entered[to] = 1;
  }
  for (const way of ways) {
    if (!crosses(starts, way)) continue;
    if (!code.isStart(way.target)) return undefined;
    entered[partOf(starts, way.target)] = 1;
  }
  return entered;
}

/** Adds those of the branches within a function that lead from one of its parts to another. */
export function pushCrossing({ start, parts }: Piece, inner: Links, into: Links): void {
  const starts = [start, ...parts];
  for (let i = 0; i < inner.length; i++) {
    const [field, target] = [inner.field.at(i), inner.target.at(i)];
    if (partOf(starts, field) === partOf(starts, target)) continue;
    into.push(field, target, inner.tailAt(i), inner.kindAt(i));
  }
}

export interface SplitUnits {
  /** Ascending. */
  readonly units: readonly Unit[];
  /** Where other parts of the same function lead to, and nothing else does. */
  readonly inner: AddressBits;
}

/**
 * Cuts the functions.
 *
 * @param wholes one for each cluster.
 * @param branches between parts, ascending.
 */
export function splitUnits(
  code: CodeMap,
  clusters: readonly Cluster[],
  wholes: readonly Unit[],
  branches: Links,
  { certain, pointers, untyped }: CodeRoots,
): SplitUnits {
  const inner = new AddressBits(code.segments);
  const isPointed = ({ start, end }: Unit): boolean =>
    [certain, pointers, untyped].some((list) => (list[firstAbove(list, start)] ?? end) < end);
  const units: Unit[] = [];
  for (const [index, whole] of wholes.entries()) {
    const [piece, another] = clusters[index] ?? [];
    const parts = another === undefined && piece?.trusted === true ? piece.parts : [];
    if (parts.length === 0 || whole.kept !== undefined || isPointed(whole)) units.push(whole);
    else units.push(...split(whole, parts, piece?.aside ?? [], branches, inner));
  }
  return { units, inner };
}

function split(
  whole: Unit,
  parts: readonly number[],
  aside: readonly number[],
  branches: Links,
  inner: AddressBits,
): Unit[] {
  const starts = [whole.start, ...parts];
  const entries = new NumberList();
  for (const at of whole.entries) entries.push(at);
  const add = (target: number): void => {
    entries.push(target);
    inner.set(target);
  };
  for (const target of aside) add(target);
  for (
    let i = branches.firstFrom(whole.start);
    i < branches.length && branches.field.at(i) < whole.end;
    i++
  ) {
    add(branches.target.at(i));
  }
  for (const at of whole.entries) inner.clear(at);
  const all = entries.sorted();
  let next = 0;
  return starts.map((start, index) => {
    const end = starts[index + 1] ?? whole.end;
    const own: Rva[] = [];
    for (let at = all[next] ?? end; at < end; at = all[next] ?? end) {
      own.push(rva(at));
      next++;
    }
    return {
      kind: index === 0 ? whole.kind : 'part',
      start: rva(start),
      end: rva(end),
      entries: own,
      fallsThrough: index === parts.length && whole.fallsThrough,
    };
  });
}
