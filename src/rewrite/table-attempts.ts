/** What the search for jump tables tries: candidates for one table, alone or together. */
import type { StackSlot } from './stack-slots.ts';
import type { Candidate } from './table-candidates.ts';
import type { Walk } from './table-walk.ts';

/** Candidates for the same table that are tried together. */
export interface Attempt {
  readonly candidates: readonly [Candidate, ...Candidate[]];
  /** Where an entry of the table is kept on the stack. */
  readonly slot: StackSlot | undefined;
  /** Where the entries lead that most likely are true ones: what walks follow. */
  targets: readonly number[];
  walk: Walk;
}

const NO_WALK: Walk = {
  dispatches: new Set(),
  passed: new Set(),
  loads: new Set(),
  misuse: undefined,
  stored: undefined,
  isSure: false,
  kept: new Set(),
  used: new Set(),
};

export const attempt = (candidate: Candidate): Attempt => make([candidate], undefined);

/** One attempt for several candidates; none for fewer. */
export function joined(candidates: readonly Candidate[], slot?: StackSlot): Attempt[] {
  const [first, ...more] = candidates;
  return first === undefined || more.length === 0 ? [] : [make([first, ...more], slot)];
}

const make = (candidates: Attempt['candidates'], slot: StackSlot | undefined): Attempt => ({
  candidates,
  slot,
  targets: [],
  walk: NO_WALK,
});
