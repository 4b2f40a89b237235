/**
 * Runs a program plainly and from its image side by side, and compares what each left behind.
 *
 * The order is plain, image, plain: what drifts with time differs between the plain runs too. When a
 * difference shows, the plain program runs once more, so that a place which changes rarely is not
 * taken for the image's doing.
 */
import { compareRuns, endOf } from './compare.ts';
import type { RunSummary, Subject, VerifyNote, VerifyReport } from './model.ts';
import { type Observed, observe, type RunConditions } from './observe.ts';
import { dropScratch, openScratch, putAside } from './scratch.ts';

export interface VerifyOptions extends RunConditions {
  readonly plain: Subject;
  readonly image: Subject;
  /** Leave the scratch folders of every run for inspection. */
  readonly keep: boolean;
  /** Called before each run. */
  readonly onRun?: (who: 'plain' | 'image', number: number) => void;
}

interface NumberedRun extends Observed {
  readonly who: 'plain' | 'image';
  readonly kept: string;
}

/** @throws WinnowError as `observe`. Scratch folders are gone afterwards unless `keep`. */
export async function verify(options: VerifyOptions): Promise<VerifyReport> {
  const scratch = openScratch();
  const runs: NumberedRun[] = [];
  const run = async (who: 'plain' | 'image'): Promise<void> => {
    const number = runs.filter((other) => other.who === who).length + 1;
    options.onRun?.(who, number);
    const observed = await observe(who === 'plain' ? options.plain : options.image, scratch, options);
    runs.push({ ...observed, who, kept: putAside(scratch, `${who}-${number}`) });
  };
  const compared = () => {
    const image = runs.find((other) => other.who === 'image');
    if (image === undefined) throw new Error('the image has not run');
    return compareRuns(
      runs.filter((other) => other.who === 'plain'),
      image,
    );
  };
  try {
    await run('plain');
    await run('image');
    await run('plain');
    let found = compared();
    if (found.differences.length > 0) {
      await run('plain');
      found = compared();
    }
    return {
      plain: options.plain,
      image: options.image,
      verdict: found.differences.length === 0 ? 'same' : 'different',
      runs: runs.map((one) => summary(one, options.keep)),
      differences: found.differences,
      notDeterministic: found.notDeterministic,
      notes: notesOf(runs, options.copyOf !== undefined),
    };
  } finally {
    if (!options.keep) dropScratch(scratch);
  }
}

function summary(run: NumberedRun, keep: boolean): RunSummary {
  return {
    who: run.who,
    status: run.status,
    timedOut: run.timedOut,
    wallNs: run.wallNs,
    stdoutBytes: run.stdout.length,
    stderrBytes: run.stderr.length,
    files: run.tree.size,
    ...(keep ? { kept: run.kept } : {}),
  };
}

function notesOf(runs: readonly NumberedRun[], hasFiles: boolean): VerifyNote[] {
  const notes: VerifyNote[] = [];
  if (runs.some((run) => run.timedOut)) {
    notes.push({
      code: 'timed-out',
      text: 'a run was killed at the time-out; what it wrote until then was compared',
    });
  }
  if (!hasFiles && runs.every((run) => run.status.kind === 'exited' && run.status.code !== 0)) {
    notes.push({
      code: 'all-failed',
      text: `the program failed in every run (${endOf(runs[0] ?? FAILED)}): does it need files of this folder (--in .), or stdin (--stdin FILE)?`,
    });
  }
  if (runs.some((run) => run.leftovers)) {
    notes.push({
      code: 'killed-leftovers',
      text: 'processes that the program left behind were killed before its files were compared',
    });
  }
  if (runs.length > 3) {
    notes.push({
      code: 'extra-plain-run',
      text: 'the plain program was run a third time to make sure that the difference is not its own',
    });
  }
  return notes;
}

const FAILED = { status: { kind: 'exited', code: 1 }, timedOut: false } as const;
