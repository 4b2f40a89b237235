/** Version 2 of the JSON inside a profile file: it knew nothing of LD_LIBRARY_PATH. */
import * as v from 'valibot';
import { LIGHT_RUNS_KEPT, RUNS_KEPT } from './model.ts';
import { functionMembers, profileMembers, runMembers, type WireProfile } from './wire.ts';

export const wireSchema2 = v.strictObject({
  ...profileMembers,
  runs: v.pipe(
    v.array(v.strictObject({ ...runMembers, ...functionMembers })),
    v.maxLength(RUNS_KEPT + LIGHT_RUNS_KEPT),
  ),
});

export type WireProfile2 = v.InferOutput<typeof wireSchema2>;

/** The same as today's version says it. */
export const upgradeWire2 = (wire: WireProfile2): WireProfile => ({
  ...wire,
  runs: wire.runs.map((run) => ({
    ...run,
    processes: run.processes.map((process) => ({ ...process, libraryPath: null })),
  })),
});
