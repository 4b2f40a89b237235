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
 * another. A part is entered where branches of other parts come in: there the recorder waits. What has no such
 * place belongs to the part before it.
 * Limits: functions that take addresses of their own code, jump through tables (which lead to places that no
 * branch tells), have landing pads (their call sites count from the function's start), or in whose middle
 * the module's tables point, are not cut. Parts are at least LEAST_PART long: a breakpoint and an FDE
 * more should be worth it.
 */
import { type Rva, rva } from '../base/brands.ts';
import { AddressBits } from './address-bits.ts';
import type { Cluster } from './cluster-pieces.ts';
import type { CodeMap } from './code-map.ts';
import type { CodeRoots } from './code-roots.ts';
import { LINK_CALL, LINK_SHORT, type Links, NumberList } from './links.ts';
import type { Unit } from './model.ts';
import type { Piece } from './pieces.ts';

/** Bytes. */
const LEAST_PART = 32;

/**
 * Where the parts behind the first start, ascending; empty where the function is not to be cut.
 *
 * @param stops where instructions end that control does not run past, ascending.
 * @param inner branches within the function, ascending.
 */
export function findParts(
  { start, end }: Piece,
  code: CodeMap,
  stops: Uint32Array,
  inner: Links,
): readonly number[] {
  const isCrossed = crossedStops(stops, inner);
  const starts: number[] = [start];
  for (const [i, at] of stops.entries()) {
    const last = starts.at(-1) ?? start;
    if (isCrossed[i] === 0 && at - last >= LEAST_PART && end - at >= LEAST_PART) starts.push(at);
  }
  for (;;) {
    const entered = enteredParts(starts, code, inner);
    if (entered === undefined) return [];
    const known = starts.filter((_, index) => entered[index] === 1);
    if (known.length === starts.length) return starts.slice(1);
    starts.splice(0, starts.length, ...known);
  }
}

/** By stop: whether a short branch leads from one side of it to the other. */
function crossedStops(stops: Uint32Array, inner: Links): Int32Array {
  const depth = new Int32Array(stops.length + 1);
  for (let i = 0; i < inner.length; i++) {
    if ((inner.kindAt(i) & LINK_SHORT) === 0) continue;
    const [from, to] = [inner.field.at(i), inner.target.at(i)];
    const first = firstAbove(stops, Math.min(from, to));
    const last = firstAbove(stops, Math.max(from, to));
    depth[first] = (depth[first] ?? 0) + 1;
    depth[last] = (depth[last] ?? 0) - 1;
  }
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

/** By part: 1 if a branch of another part leads there; the first counts as entered. Undefined: not to be cut. */
function enteredParts(starts: readonly number[], code: CodeMap, inner: Links): Uint8Array | undefined {
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
  /** Where branches of other parts of the same function lead to, and nothing else does. */
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
    else units.push(...split(whole, parts, branches, inner));
  }
  return { units, inner };
}

function split(whole: Unit, parts: readonly number[], branches: Links, inner: AddressBits): Unit[] {
  const starts = [whole.start, ...parts];
  const entries = new NumberList();
  for (const at of whole.entries) entries.push(at);
  for (
    let i = branches.firstFrom(whole.start);
    i < branches.length && branches.field.at(i) < whole.end;
    i++
  ) {
    const target = branches.target.at(i);
    entries.push(target);
    inner.set(target);
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
