/** Version 1 of the JSON inside a profile file: it knew nothing of functions. */
import * as v from 'valibot';
import { RUNS_KEPT } from './model.ts';
import { profileMembers, runMembers } from './wire.ts';
import type { WireProfile2 } from './wire-2.ts';

export const wireSchema1 = v.strictObject({
  ...profileMembers,
  runs: v.pipe(v.array(v.strictObject(runMembers)), v.maxLength(RUNS_KEPT)),
});

/** The same as version 2 says it. */
export const upgradeWire1 = (wire: v.InferOutput<typeof wireSchema1>): WireProfile2 => ({
  ...wire,
  runs: wire.runs.map((run) => ({
    ...run,
    method: { ...run.method, functions: 'unseen' },
    entered: [],
  })),
});
