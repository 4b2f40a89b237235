/** Words, tables and JSON for `winnow profile list` and `show`. */
import { WinnowError } from '../base/errors.ts';
import { pageCount } from '../profile/extents.ts';
import type { Ended, Profile, Run } from '../profile/model.ts';
import { workingSet } from '../profile/stats.ts';
import type { Listed } from '../profile/store.ts';
import { formatCount, formatMs } from '../term/format.ts';
import { type Column, renderTable } from '../term/table.ts';
import { commandLine, printable } from '../term/text.ts';
import { formatTime } from './usage-text.ts';

const right = (title: string): Column => ({ title, align: 'right' });

export interface ProfileLine {
  readonly name: string;
  readonly path: string;
  /** In root's store: read-only. */
  readonly system: boolean;
  readonly runs?: number;
  readonly pages?: number;
  readonly newestRun?: number;
  readonly argv?: readonly string[];
  /** Code of the error where the profile cannot be read. */
  readonly problem?: string;
}

/** One line a profile; of one that cannot be read, the error's code. */
export function profileLines(listed: readonly Listed[]): ProfileLine[] {
  return listed.map(({ name, path, system, profile }) => {
    if (profile instanceof WinnowError) return { name, path, system, problem: profile.code };
    const [newest] = profile.runs;
    const pages = workingSet(profile).files.reduce((sum, file) => sum + pageCount(file.extents), 0);
    const last = newest === undefined ? {} : { newestRun: newest.startedAt, argv: newest.command.argv };
    return { name, path, system, runs: profile.runs.length, pages, ...last };
  });
}

/** The list as text; a word of advice where it is empty. */
export function renderProfiles(lines: readonly ProfileLine[]): string {
  const columns = [
    { title: 'name' },
    right('runs'),
    right('pages'),
    { title: 'last run' },
    { title: 'command' },
  ];
  const rows = lines.map((line) => [
    line.system ? `${line.name} (system)` : line.name,
    line.runs === undefined ? '' : formatCount(line.runs),
    line.pages === undefined ? '' : formatCount(line.pages),
    line.newestRun === undefined ? '' : formatTime(line.newestRun),
    line.problem ?? commandLine(line.argv ?? []),
  ]);
  return renderTable(columns, rows);
}

function ending(ended: Ended): string {
  if (ended.kind === 'exited') return `exit code ${ended.code}`;
  if (ended.kind === 'killed') return `signal ${ended.signal}`;
  return ended.kind === 'execed' ? 'execve' : 'left running';
}

export interface RunLine {
  readonly id: string;
  readonly startedAt: number;
  readonly durationMs: number;
  readonly ended: Ended;
  readonly processes: number;
  readonly files: number;
  readonly pages: number;
  readonly lookups: number;
  /** How many were entered; undefined where they were not seen. */
  readonly functions: number | undefined;
  readonly kernel: string;
}

function runLine(run: Run): RunLine {
  const pages = workingSet({ name: 'run', runs: [run] }).files.reduce(
    (sum, file) => sum + pageCount(file.extents),
    0,
  );
  return {
    id: run.id,
    startedAt: run.startedAt,
    durationMs: run.durationMs,
    ended: run.ended,
    processes: run.processes.length,
    files: run.files.length,
    pages,
    lookups: run.lookups.length,
    functions:
      run.method.functions === 'seen'
        ? run.entered.reduce((sum, { entries }) => sum + entries.length, 0)
        : undefined,
    kernel: run.method.kernel,
  };
}

/** The runs of a profile, newest first. */
export const runLines = (profile: Profile): RunLine[] => profile.runs.map(runLine);

/** The runs of a profile as text: one line each. */
export function renderRuns(profile: Profile): string {
  const [newest] = profile.runs;
  const command = newest === undefined ? 'no runs' : commandLine(newest.command.argv);
  const columns = [
    { title: 'run' },
    { title: 'started' },
    right('took'),
    { title: 'ended' },
    right('processes'),
    right('files'),
    right('pages'),
    right('look-ups'),
    right('functions'),
    { title: 'kernel' },
  ];
  const rows = runLines(profile).map((run) => [
    run.id.slice(0, 8),
    formatTime(run.startedAt),
    formatMs(run.durationMs),
    ending(run.ended),
    formatCount(run.processes),
    formatCount(run.files),
    formatCount(run.pages),
    formatCount(run.lookups),
    run.functions === undefined ? '-' : formatCount(run.functions),
    printable(run.kernel),
  ]);
  return `${profile.name}: ${command}\n\n${renderTable(columns, rows)}`;
}
