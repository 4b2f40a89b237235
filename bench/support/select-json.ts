/** What `winnow report --functions --json` says, as far as the tables use it. */
import * as v from 'valibot';

const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

const Module = v.object({
  path: v.string(),
  textPages: Count,
  neededPages: Count,
  addedPages: Count,
});

const Totals = v.object({
  modules: Count,
  rewrittenModules: Count,
  textPages: Count,
  /** Pages that used code lies on as the module is. */
  usedPages: Count,
  neededPages: Count,
  addedPages: Count,
  functions: Count,
  usedFunctions: Count,
});

const Report = v.object({ modules: v.array(Module), totals: Totals });

export type FunctionsReport = v.InferOutput<typeof Report>;

/** @throws Error where the report has another shape */
export const readFunctionsReport = (text: string): FunctionsReport => v.parse(Report, JSON.parse(text));

const Misses = v.object({ pages: Count, functions: Count });

/** What `winnow record --from-misses --json` counted. @throws Error where the report has another shape */
export const readMisses = (text: string): v.InferOutput<typeof Misses> => v.parse(Misses, JSON.parse(text));

const NamedMisses = v.object({
  misses: v.array(v.object({ module: v.string(), at: Count, name: v.optional(v.string()), times: Count })),
});

/** The places of the same. @throws Error where the report has another shape */
export const readNamedMisses = (text: string): v.InferOutput<typeof NamedMisses>['misses'] =>
  v.parse(NamedMisses, JSON.parse(text)).misses;
