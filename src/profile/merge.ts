/**
 * Merging profiles: the union of their runs, cut to the newest.
 *
 * Problem: recordings finish in any order, on several machines, and are merged again and again; the
 * result must not depend on that. Method: every version of a run has a place in one total order (newest
 * start first, then id, then the hash of its canonical encoding). A run id is stood for by its first
 * version in that order, and the first RUNS_KEPT ids stay. Choosing the version by the same order that
 * cuts is what keeps merging associative: a version that loses its place to the cut could only have been
 * replaced by one further behind. Light runs are merged and cut by themselves (LIGHT_RUNS_KEPT), or a
 * dozen of them would push out what a thorough one has seen. Limits: two different recordings under one id
 * do not both survive; ids are 128 random bits, so that is a forged or edited profile.
 */
import { createHash } from 'node:crypto';
import { LIGHT_RUNS_KEPT, RUNS_KEPT, type Run } from './model.ts';
import { compareRuns, isLight, runKey } from './order.ts';
import { toWire } from './wire.ts';

function canonicalHash(run: Run): string {
  const wire = toWire({ name: 'run', runs: [run] });
  return createHash('sha256').update(JSON.stringify(wire)).digest('hex');
}

function firstOf(a: Run, b: Run): Run {
  if (a === b) return a;
  const order = compareRuns(a, b);
  if (order !== 0) return order < 0 ? a : b;
  return canonicalHash(a) <= canonicalHash(b) ? a : b;
}

/** Runs in their order, one for each key, at most RUNS_KEPT and LIGHT_RUNS_KEPT. */
export function mergeRuns(runs: Iterable<Run>): Run[] {
  const byKey = new Map<string, Run>();
  for (const run of runs) {
    const known = byKey.get(runKey(run));
    byKey.set(runKey(run), known === undefined ? run : firstOf(known, run));
  }
  const sorted = [...byKey.values()].sort(compareRuns);
  const light = new Set(sorted.filter(isLight).slice(0, LIGHT_RUNS_KEPT));
  const others = new Set(sorted.filter((run) => !isLight(run)).slice(0, RUNS_KEPT));
  return sorted.filter((run) => light.has(run) || others.has(run));
}
