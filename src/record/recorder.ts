/**
 * `winnow record`, the story: start the program traced, follow its process tree, note what it looks up
 * and reads, look at its page tables before each memory goes, and put it all into one run.
 */

import { closeSync } from 'node:fs';
import { release } from 'node:os';
import { type Pid, pid as toPid } from '../base/brands.ts';
import { WinnowError } from '../base/errors.ts';
import { probeProgram } from '../elf/probe.ts';
import type { Command, Ended, Note, Run } from '../profile/model.ts';
import { hasFileCapabilities } from '../sys/capabilities.ts';
import type { Fd } from '../sys/fds.ts';
import { errnoName } from '../sys/libc.ts';
import { PtraceFailed } from '../sys/ptrace.ts';
import { runtimeFile } from '../sys/runtime.ts';
import { askForHandOver } from '../sys/seccomp.ts';
import { startWaiting, startWithFd, type WaitingProgram } from '../sys/start.ts';
import { SIGCHLD, Waker } from '../sys/wake.ts';
import { assembleRun } from './assemble.ts';
import type { Observer } from './events.ts';
import { FaultAround } from './fault-around.ts';
import { FileUse } from './file-use.ts';
import { recorderFilter } from './filter.ts';
import { notes } from './notes.ts';
import { HANDLED, OwnSignals } from './own-signals.ts';
import { PathReader } from './paths.ts';
import { Snapshots } from './snapshots.ts';
import { statOrNothing } from './stat.ts';
import { Tracer } from './tracer.ts';

const PROGRESS_MS = 200;

export interface RecordRequest {
  /** `program` resolved, argv as typed. */
  readonly command: Command;
  readonly env: Readonly<Record<string, string>>;
  /** The caller's soft limit on open files; 0 leaves what this process has. */
  readonly openFiles: number;
  /** The caller's ignored signals: hexadecimal mask. */
  readonly ignoredSignals: string;
  /** The caller's blocked signals: hexadecimal mask. */
  readonly blockedSignals: string;
  /** The caller's descriptors beyond the first three. They go to the program and are closed here. */
  readonly descriptors: readonly Fd[];
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
  rehearse(request);
  return recordRun(request);
}

/**
 * Records a program of our own first and throws the run away: Node compiles code when it first runs it, and
 * the program that is recorded would wait for that (docs/measurements.md).
 */
function rehearse(request: RecordRequest): void {
  const stub = runtimeFile('stub');
  try {
    recordRun({
      ...request,
      command: { program: stub, argv: ['stub', 'rehearse'], cwd: request.command.cwd },
      env: {},
      descriptors: [],
      stopAfterMs: undefined,
      observers: [],
      onProgress: () => {},
    });
  } catch (error) {
    // What is wrong with the machine is told where it matters: when the program itself is started.
    if (!(error instanceof Error)) throw error;
  }
}

function recordRun(request: RecordRequest): Recording {
  const paths = new PathReader();
  const fileUse = new FileUse(paths);
  const snapshots = new Snapshots(paths);
  const faultAround = new FaultAround(request.filter);
  const waker = new Waker([SIGCHLD, ...HANDLED]);
  const signals = new OwnSignals(request);
  // Fault-around first: what was mapped must be registered before anything else is done about it.
  const observers = [faultAround, fileUse, snapshots, ...(request.observers ?? [])];
  const tracer = new Tracer(observers, waker, (signal) => signals.programStopped(signal));
  let listener: Fd | undefined;
  try {
    const program = startWaiting({
      program: request.command.program,
      argv: request.command.argv,
      env: request.env,
      openFiles: request.openFiles,
      ignoredSignals: request.ignoredSignals,
      blockedSignals: request.blockedSignals,
      descriptors: request.descriptors,
    });
    listener = prepare(program, tracer, request);
    const startedAt = Date.now();
    const begun = process.hrtime.bigint();
    program.release();
    // From here on the program runs; it ends, or it is left running.
    const finished = tracer.run(
      (woken) => {
        request.onProgress?.({ processes: tracer.liveThreads.length, lookups: fileUse.lookups.size });
        return signals.askToLeave(woken, tracer.rootPid);
      },
      () => PROGRESS_MS,
    );
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
          // Without the filter nobody tells of new mappings.
          pages: faultAround.refused || listener === undefined ? 'fault-around' : 'exact',
          lookups: listener === undefined ? 'unseen' : 'seen',
          functions: 'unseen',
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
  const listener = program.installFilter(recorderFilter({ arrivals: tracer.wantsArrivals }), !isRoot);
  if (listener !== undefined) askForHandOver(listener);
  tracer.listenTo(listener);
  return listener;
}

/** Without root a filter needs no_new_privs, and that would take a set-uid program's rights. */
function mayFilter(program: string): boolean {
  if (process.getuid?.() === 0) return true;
  return ((statOrNothing(program)?.mode ?? 0) & 0o6000) === 0 && !hasFileCapabilities(program);
}

function leaveRunning(tracer: Tracer, snapshots: Snapshots, listener: Fd | undefined): Pid[] {
  const threads = tracer.liveThreads;
  for (const { process, tid } of threads) if (!process.borrowsMemory) snapshots.take(process.image, tid);
  // The filter outlives us: somebody must go on answering it. Two listeners would wait for each other's notices.
  if (listener !== undefined) startWithFd('keeper', listener);
  tracer.listenTo(undefined);
  tracer.leave();
  return threads.map(({ process }) => toPid(process.pid));
}

/** The stub exits with execve's errno when the program cannot be executed. */
function refuseIfNotStarted(tracer: Tracer, request: RecordRequest): void {
  const ended = tracer.rootEnded;
  if (tracer.images.length > 1 || ended?.kind !== 'exited') return;
  const { program } = request.command;
  const missing = errnoName(ended.code) === 'ENOENT';
  throw new WinnowError({
    code: 'E_PROGRAM_START',
    kind: 'input',
    exitCode: 126,
    what: missing
      ? 'the interpreter or loader that the program names is not there'
      : `the kernel refused to execute the program (${errnoName(ended.code)})`,
    where: missing ? `${program}, which needs ${interpreterOf(program) ?? 'it'}` : program,
    next: missing
      ? 'install it, or correct the first line of the script'
      : 'start it without winnow to see whether it works there',
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
  if (seen.faultAround.sandboxed > 0) found.push(notes.sandboxed(seen.faultAround.sandboxed));
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

function interpreterOf(program: string): string | undefined {
  const found = probeProgram(program);
  if (found.kind === 'script') return found.interpreter;
  return found.kind === 'elf' ? found.interp : undefined;
}
