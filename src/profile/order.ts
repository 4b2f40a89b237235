/** The order of runs in a profile: newest first, ties by id. */
import type { Run } from './model.ts';

/**
 * Whether a run says no more than page tables, rounded up. Such runs are kept apart from those that say
 * more, and never in their place.
 */
export const isLight = ({ method }: Pick<Run, 'method'>): boolean =>
  method.lookups === 'unseen' && method.functions === 'unseen' && method.pages === 'fault-around';

/** What tells runs apart: a forged light run with another's id is another run. */
export const runKey = (run: Pick<Run, 'id' | 'method'>): string => `${run.id} ${isLight(run)}`;

type Ranked = Pick<Run, 'startedAt' | 'id' | 'method'>;

/** Negative where `a` stands before `b`, 0 only where time and key are the same. */
export function compareRuns(a: Ranked, b: Ranked): number {
  if (a.startedAt !== b.startedAt) return b.startedAt - a.startedAt;
  if (a.id === b.id) return Number(isLight(a)) - Number(isLight(b));
  return a.id < b.id ? -1 : 1;
}
