/**
 * Where a recorder waits for units to be entered.
 *
 * Problem: unlikely code that the compiler moved away jumps back into the middle of its function, at many
 * places: in PETSc's library 26,000 times, a breakpoint each.
 * Example: foo jumps to foo.cold + 10, which jumps back to foo + 83. Whoever runs foo.cold has been in foo.
 * Method: a place in a unit's middle needs no breakpoint if only parts lead there: units that only this unit
 * jumps to, and that no table tells of. Where two units only jump to each other, the part is the one that no
 * table tells of. So is the first part of a function that is cut, if its other parts are come to from there
 * alone: then whoever runs the function begins there.
 * Limits: a part that is entered in another way too (by the unwinder) leads back unseen: its function then
 * counts as not entered, and the original runs.
 */
import type { AddressBits } from './address-bits.ts';
import type { CodeRoots } from './code-roots.ts';
import { isBranch, LINK_CALL, LINK_READ, LINK_SHORT, type Links, NumberList } from './links.ts';
import type { Unit } from './model.ts';
import { type Piece, RangeCursor, RangeIndex } from './pieces.ts';

export interface BreakpointSources {
  readonly units: readonly Unit[];
  /** The same with uncut functions. */
  readonly wholes: readonly Unit[];
  /** Where only branches of a function's own other parts lead to. */
  readonly inner: AddressBits;
  readonly pieces: RangeIndex<Piece>;
  readonly links: Links;
  readonly roots: CodeRoots;
}

/** Where nothing leads to yet, and where several units do, or calls. */
const NOBODY = -1;
const SEVERAL = -2;

/**
 * Entries of units, ascending. A PLT's stubs are left out: who uses them is known from the callers. So is code
 * without an FDE that stays: the program may copy it, breakpoints and all.
 */
export function findBreakpoints(sources: BreakpointSources): Uint32Array {
  const { units, inner } = sources;
  const unneeded = unneededMiddles(sources);
  const found = new NumberList();
  const isUnseen = (at: number): boolean => sources.pieces.find(at)?.kind === 'fragment';
  const isOuter = (at: number): boolean => !inner.has(at) && !unneeded.has(at);
  units.forEach(({ kind, kept, start, entries }, index) => {
    if (kind === 'plt') return;
    let isEnteredAside: boolean | undefined;
    for (const at of entries) {
      if (kind !== 'part' && at !== start) {
        if (unneeded.has(at)) continue;
        if (inner.has(at)) {
          isEnteredAside ??= partsBehind(units, index).some((part) => part.entries.some(isOuter));
          if (!isEnteredAside) continue;
        }
      }
      if (kept === undefined || !isUnseen(at)) found.push(at);
    }
  });
  return found.sorted();
}

/** The other parts of the function whose first part has this index. */
function partsBehind(units: readonly Unit[], index: number): readonly Unit[] {
  let end = index + 1;
  while (units[end]?.kind === 'part') end++;
  return units.slice(index + 1, end);
}

function unneededMiddles({ wholes: units, pieces, links, roots }: BreakpointSources): ReadonlySet<number> {
  const index = new RangeIndex(units);
  const told = new Set<number>();
  for (const list of [roots.loader, roots.exported, roots.pointers]) {
    for (const at of list) told.add(index.indexOf(at));
  }
  const jumps = jumpsBetween(index, pieces, links);
  const { owner, from, to, target } = jumps;
  const isPart = (part: number, whole: number): boolean =>
    owner[part] === whole && !told.has(part) && (owner[whole] !== part || told.has(whole));
  const unneeded = new Set<number>();
  const needed = new Set<number>();
  for (const row of from.values.keys()) {
    const isUnneeded = isPart(from.at(row), to.at(row));
    (isUnneeded ? unneeded : needed).add(target.at(row));
  }
  for (const list of [roots.certain, roots.pointers]) for (const at of list) unneeded.delete(at);
  for (const at of needed) unneeded.delete(at);
  return unneeded;
}

/** The unit that alone jumps to each unit; and jumps into middles: from which unit, to which, to what address. */
function jumpsBetween(index: RangeIndex<Unit>, pieces: RangeIndex<Piece>, links: Links) {
  const units = index.ranges;
  const owner = new Int32Array(units.length).fill(NOBODY);
  const [from, to, target] = [new NumberList(), new NumberList(), new NumberList()];
  // Fields ascend.
  const pieceOfField = new RangeCursor(pieces);
  let source = 0;
  for (let i = 0; i < links.length; i++) {
    const kind = links.kindAt(i);
    const at = links.target.at(i);
    const unit = kind === LINK_READ ? -1 : index.indexOf(at);
    if (unit < 0) continue;
    const field = links.field.at(i);
    while (source + 1 < units.length && (units[source + 1]?.start ?? 0) <= field) source++;
    if (source === unit || pieceOfField.find(field)?.trusted !== true) continue;
    const isJump = isBranch(kind) && (kind & ~LINK_SHORT) !== LINK_CALL;
    const who = isJump ? source : SEVERAL;
    owner[unit] = owner[unit] === NOBODY || owner[unit] === who ? who : SEVERAL;
    if (units[unit]?.start === at) continue;
    from.push(isJump ? source : units.length);
    to.push(unit);
    target.push(at);
  }
  return { owner, from, to, target };
}
