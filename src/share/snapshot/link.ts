/** From a program's path to what its dynamic loader makes of it: the door of the differential snapshot. */

import type { LinkedState, NotLinked } from '../model.ts';
import { deltasOf } from './anchors.ts';
import { assembleLinked, type ToldPlaces, toldPlaces } from './assemble-linked.ts';
import { DEFAULT_RUNS, MOST_RUNS } from './circumstances.ts';
import { compareRuns, type Unexplained } from './compare.ts';
import { requireEligible } from './eligible.ts';
import { ownSpans } from './own-memory.ts';
import { Refusal } from './refusal.ts';
import { filesOf, requireUnchanged } from './regions.ts';
import { factsOf, readApicIds } from './run-facts.ts';
import { type Snapshot, withSnapshot } from './snapshot.ts';
import { modulesOf, Whereabouts } from './where.ts';

export interface LinkOptions {
  /** How often the loader is run, each time in other circumstances: 3 to 6. */
  readonly runs?: number;
  /** LD_LIBRARY_PATH in all runs; undefined: not set. */
  readonly libraryPath?: string | undefined;
}

/** Whether a program was linked; else the result says why not. */
export const isLinked = (result: LinkedState | NotLinked): result is LinkedState => !('kind' in result);

/**
 * Runs the program's dynamic loader up to the first constructor, several times, and explains what differs.
 * No code of the program runs but its IFUNC resolvers. Blocks; 0.3 to 4 seconds.
 *
 * @param path of the program, links followed.
 * @throws WinnowError E_PROGRAM_NOT_FOUND, E_PROGRAM_NOT_EXECUTABLE, E_PROGRAM_FORMAT.
 */
export function linkProgram(path: string, options: LinkOptions = {}): LinkedState | NotLinked {
  const runs = Math.min(Math.max(options.runs ?? DEFAULT_RUNS, DEFAULT_RUNS), MOST_RUNS);
  try {
    return withSnapshot({ ...requireEligible(path), libraryPath: options.libraryPath }, runs, linkedFrom);
  } catch (error) {
    if (error instanceof Refusal) return error.result;
    throw error;
  }
}

function linkedFrom(snapshot: Snapshot): LinkedState {
  const { runs, reference, regions } = snapshot;
  const { stopped, bases } = reference;
  const files = filesOf(stopped, bases, regions);
  const told = sameInAll(snapshot);
  const where = new Whereabouts(modulesOf(stopped, bases, regions));
  const spans = ownSpans(runs, regions);
  const apicIds = readApicIds();
  const facts = runs.map((run) => factsOf(run.stopped, apicIds));
  const deltas = deltasOf(runs.map((run) => run.bases));
  const comparison = compareRuns(spans, bases, deltas, facts, told);
  refuseUnexplained(comparison.unexplained, where);
  requireUnchanged(files);
  return assembleLinked(snapshot, files, told, spans, comparison, where);
}

/** What the loader told the kernel must be the same places in all runs. */
function sameInAll({ runs, reference, extents }: Snapshot): ToldPlaces {
  const told = toldPlaces(reference.stopped, reference.bases, extents);
  const text = JSON.stringify(told);
  for (const { stopped, bases } of runs) {
    if (JSON.stringify(toldPlaces(stopped, bases, extents)) !== text) {
      throw new Refusal('the loader maps other things in other circumstances', 'the thread’s descriptor');
    }
  }
  return told;
}

function refuseUnexplained(words: readonly Unexplained[], where: Whereabouts): void {
  const [first] = words;
  if (first === undefined) return;
  const place = where.describe(first.anchor, first.offset);
  const values = first.values.map((value) => `0x${value.toString(16)}`).join(', ');
  const more = words.length === 1 ? '' : `; ${words.length - 1} more words`;
  throw new Refusal('a word without a cause', `${place}: ${values} in ${first.values.length} runs${more}`);
}
