/**
 * `winnow record`, the story: start the program traced, follow its process tree, note what it looks up
 * and reads, look at its page tables before each memory goes, and put it all into one run.
 */

import { closeSync, statSync } from 'node:fs';
import { release } from 'node:os';
import { type Pid, pid as toPid } from '../base/brands.ts';
import { WinnowError } from '../base/errors.ts';
import type { Command, Ended, Note, Run } from '../profile/model.ts';
import type { Fd } from '../sys/fds.ts';
import { PtraceFailed } from '../sys/ptrace.ts';
import { askForHandOver } from '../sys/seccomp.ts';
import { startWaiting, startWithFd, type WaitingProgram } from '../sys/start.ts';
import { SIGCHLD, SIGINT, SIGTERM, Waker } from '../sys/wake.ts';
import { assembleRun } from './assemble.ts';
import type { Observer } from './events.ts';
import { FaultAround } from './fault-around.ts';
import { FileUse } from './file-use.ts';
import { recorderFilter } from './filter.ts';
import { notes } from './notes.ts';
import { PathReader } from './paths.ts';
import { Snapshots } from './snapshots.ts';
import { Tracer } from './tracer.ts';

/** After Ctrl-C the program gets this long to end by itself: the terminal has sent it the signal too. */
const GRACE_MS = 2000;
const PROGRESS_MS = 200;

export interface RecordRequest {
  /** `program` resolved, argv as typed. */
  readonly command: Command;
  readonly env: Readonly<Record<string, string>>;
  /** The caller's soft limit on open files; 0 leaves what this process has. */
  readonly openFiles: number;
  /** The caller's ignored signals: hexadecimal mask. */
  readonly ignoredSignals: string;
  /** Leave the program running after so many milliseconds. */
  readonly stopAfterMs: number | undefined;
  /** False: no seccomp filter, so no look-ups and read() files. */
  readonly filter: boolean;
  /** More observers, for techniques that need other events. */
  readonly observers?: readonly Observer[];
  /** Called about five times a second. */
  readonly onProgress?: (state: { readonly processes: number; readonly lookups: number }) => void;
}

export interface Recording {
  readonly run: Run;
  /** How the program itself ended; undefined where it was left running. */
  readonly ended: Ended | undefined;
  readonly leftRunning: readonly Pid[];
}

/**
 * Records one run of a command. Blocks; the program has the terminal meanwhile.
 *
 * @throws WinnowError E_PTRACE_REFUSED, E_PROGRAM_START.
 */
export function record(request: RecordRequest): Recording {
  const paths = new PathReader();
  const fileUse = new FileUse(paths);
  const snapshots = new Snapshots(paths);
  const faultAround = new FaultAround();
  const waker = new Waker([SIGCHLD, SIGINT, SIGTERM]);
  // Fault-around first: what was mapped must be registered before anything else is done about it.
  const tracer = new Tracer([faultAround, fileUse, snapshots, ...(request.observers ?? [])], waker);
  let listener: Fd | undefined;
  try {
    const program = startWaiting({
      program: request.command.program,
      argv: request.command.argv,
      env: request.env,
      openFiles: request.openFiles,
      ignoredSignals: request.ignoredSignals,
    });
    listener = prepare(program, tracer, request);
    const startedAt = Date.now();
    const begun = process.hrtime.bigint();
    program.release();
    // From here on the program runs; it ends, or it is left running.
    const finished = tracer.run(untilInterrupted(tracer, request, fileUse), () => PROGRESS_MS);
    const leftRunning = finished ? [] : leaveRunning(tracer, snapshots, listener);
    refuseIfNotStarted(tracer, request);
    const durationMs = Number(process.hrtime.bigint() - begun) / 1e6;
    const ended = tracer.rootEnded ?? { kind: 'left-running' as const };
    const run = assembleRun(
      {
        command: request.command,
        startedAt,
        durationMs,
        method: {
          pages: faultAround.refused ? 'fault-around' : 'exact',
          lookups: listener === undefined ? 'unseen' : 'seen',
          kernel: release(),
        },
        ended,
        notes: collectNotes(request, { listener, faultAround, fileUse, snapshots, leftRunning }),
      },
      { images: tracer.images, snapshots, fileUse },
    );
    return { run, ended: tracer.rootEnded, leftRunning };
  } finally {
    if (listener !== undefined) closeSync(listener);
    waker.close();
  }
}

/** Traces the waiting stub and gives it the filter; on failure the program is never started. */
function prepare(program: WaitingProgram, tracer: Tracer, request: RecordRequest): Fd | undefined {
  try {
    tracer.adopt(program.pid);
  } catch (error) {
    program.abandon();
    throw error instanceof PtraceFailed ? ptraceRefused(error) : error;
  }
  if (!request.filter || !mayFilter(request.command.program)) return undefined;
  const isRoot = process.getuid?.() === 0;
  const listener = program.installFilter(recorderFilter({ arrivals: false }), !isRoot);
  if (listener !== undefined) askForHandOver(listener);
  tracer.listenTo(listener);
  return listener;
}

/** Without root a filter needs no_new_privs, and that would take a set-uid program's rights. */
function mayFilter(program: string): boolean {
  return process.getuid?.() === 0 || (statSync(program).mode & 0o6000) === 0;
}

function untilInterrupted(tracer: Tracer, request: RecordRequest, fileUse: FileUse) {
  const deadline =
    request.stopAfterMs === undefined ? Number.POSITIVE_INFINITY : Date.now() + request.stopAfterMs;
  let graceEnds = Number.POSITIVE_INFINITY;
  return (signals: ReadonlySet<number>): boolean => {
    request.onProgress?.({ processes: tracer.liveProcesses.length, lookups: fileUse.lookups.size });
    // The terminal sends Ctrl-C to the program as well: it decides, for a while.
    if (signals.has(SIGINT) && graceEnds === Number.POSITIVE_INFINITY) graceEnds = Date.now() + GRACE_MS;
    else if (signals.has(SIGINT)) return true;
    const now = Date.now();
    return signals.has(SIGTERM) || now >= deadline || now >= graceEnds;
  };
}

function leaveRunning(tracer: Tracer, snapshots: Snapshots, listener: Fd | undefined): Pid[] {
  const processes = tracer.liveProcesses;
  for (const process of processes) if (!process.borrowsMemory) snapshots.take(process.image, process.pid);
  tracer.leave();
  // The filter outlives us: somebody must go on answering it.
  if (listener !== undefined) startWithFd('keeper', listener);
  return processes.map((process) => toPid(process.pid));
}

/** The stub exits with execve's errno when the program cannot be executed. */
function refuseIfNotStarted(tracer: Tracer, request: RecordRequest): void {
  const ended = tracer.rootEnded;
  if (tracer.images.length > 1 || ended?.kind !== 'exited') return;
  throw new WinnowError({
    code: 'E_PROGRAM_START',
    kind: 'input',
    exitCode: 126,
    what: `the kernel refused to execute the program (errno ${ended.code})`,
    where: request.command.program,
    next: 'start it without winnow to see whether it works there; is its interpreter or loader installed?',
  });
}

function collectNotes(
  request: RecordRequest,
  seen: {
    readonly listener: Fd | undefined;
    readonly faultAround: FaultAround;
    readonly fileUse: FileUse;
    readonly snapshots: Snapshots;
    readonly leftRunning: readonly Pid[];
  },
): Note[] {
  const isRoot = process.getuid?.() === 0;
  const found: Note[] = [];
  if (seen.listener === undefined) {
    found.push(mayFilter(request.command.program) ? notes.noFilter(request.filter) : notes.setUid());
  }
  if (!isRoot && seen.listener !== undefined && seen.fileUse.setUid.size > 0) {
    found.push(notes.setUidChild([...seen.fileUse.setUid]));
  }
  if (seen.faultAround.refused) found.push(notes.faultAround());
  if (seen.snapshots.lost > 0) found.push(notes.lost(seen.snapshots.lost));
  if (seen.leftRunning.length > 0) found.push(notes.leftRunning(seen.leftRunning));
  return found;
}

const ptraceRefused = (cause: PtraceFailed): WinnowError =>
  new WinnowError({
    code: 'E_PTRACE_REFUSED',
    kind: 'environment',
    what: 'the system does not let winnow trace the program, so it was not started',
    where: `ptrace: ${cause.errno}`,
    next: 'in a container allow ptrace (--cap-add=SYS_PTRACE or a seccomp profile with it); with yama set kernel.yama.ptrace_scope to 1 or less',
    cause,
  });
