/** Version 1 of the JSON inside a profile file: it knew nothing of functions. */
import * as v from 'valibot';
import { RUNS_KEPT } from './model.ts';
import { profileMembers, runMembers, type WireProfile } from './wire.ts';

export const wireSchema1 = v.strictObject({
  ...profileMembers,
  runs: v.pipe(v.array(v.strictObject(runMembers)), v.maxLength(RUNS_KEPT)),
});

/** The same as today's version says it. */
export const upgradeWire = (wire: v.InferOutput<typeof wireSchema1>): WireProfile => ({
  ...wire,
  runs: wire.runs.map((run) => ({
    ...run,
    method: { ...run.method, functions: 'unseen' },
    entered: [],
  })),
});
