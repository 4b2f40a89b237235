/** The order of runs in a profile: newest first, ties by id. */
import type { Run } from './model.ts';

/** Negative where `a` stands before `b`, 0 only where time and id are the same. */
export function compareRuns(a: Pick<Run, 'startedAt' | 'id'>, b: Pick<Run, 'startedAt' | 'id'>): number {
  if (a.startedAt !== b.startedAt) return b.startedAt - a.startedAt;
  if (a.id === b.id) return 0;
  return a.id < b.id ? -1 : 1;
}
