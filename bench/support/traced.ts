/** What processes have mapped in their last moment: a program runs traced, without filter and userfaultfd, so its faults are as ever. */
import { readFileSync } from 'node:fs';
import { type Recording, record } from '../../src/record/recorder.ts';

export interface TracedRun {
  readonly file: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
}

/** `texts`: /proc/PID/`table` of each memory that ended and could still be read. @throws what `record` throws */
export function memoryAtEnds(
  run: TracedRun,
  table: 'maps' | 'smaps',
): { readonly texts: readonly string[]; readonly ended: Recording['ended'] } {
  const texts: string[] = [];
  const { ended } = inFolder(run.cwd, () =>
    record({
      command: { program: run.file, argv: run.argv, cwd: run.cwd },
      env: run.env,
      openFiles: 0,
      ignoredSignals: '0',
      blockedSignals: '0',
      descriptors: [],
      stopAfterMs: undefined,
      filter: false,
      observers: [
        {
          observe(event) {
            if (event.kind !== 'memory-ending') return;
            try {
              texts.push(readFileSync(`/proc/${event.tid}/${table}`, 'utf8'));
            } catch {
              // Killed meanwhile.
            }
          },
        },
      ],
    }),
  );
  return { texts, ended };
}

/** A recorded program inherits the current folder. */
function inFolder<T>(folder: string, body: () => T): T {
  const before = process.cwd();
  process.chdir(folder);
  try {
    return body();
  } finally {
    process.chdir(before);
  }
}
