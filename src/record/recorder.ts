/**
 * `winnow record`, the story: start the program traced, follow its process tree, note what it looks up
 * and reads, look at its page tables before each memory goes, and put it all into one run.
 */

import { closeSync } from 'node:fs';
import { release } from 'node:os';
import { type Pid, pid as toPid } from '../base/brands.ts';
import { WinnowError } from '../base/errors.ts';
import type { Note } from '../profile/model.ts';
import { hasFileCapabilities } from '../sys/capabilities.ts';
import type { Fd } from '../sys/fds.ts';
import { PtraceFailed } from '../sys/ptrace.ts';
import { runtimeFile } from '../sys/runtime.ts';
import { askForHandOver } from '../sys/seccomp.ts';
import { startWaiting, startWithFds, type WaitingProgram } from '../sys/start.ts';
import { SIGCHLD, Waker } from '../sys/wake.ts';
import { assembleRun } from './assemble.ts';
import type { CodeObserver } from './events.ts';
import { FaultAround } from './fault-around.ts';
import { FileUse } from './file-use.ts';
import { recorderFilter } from './filter.ts';
import { openInside } from './inside/session.ts';
import { canScan, recordLight } from './light.ts';
import { notStarted } from './not-started.ts';
import { notes } from './notes.ts';
import { HANDLED, OwnSignals } from './own-signals.ts';
import { PathReader } from './paths.ts';
import { PROGRESS_MS, type Recording, type RecordRequest } from './request.ts';
import { Snapshots } from './snapshots.ts';
import { statOrNothing } from './stat.ts';
import { Tracer } from './tracer.ts';

export type { Recording, RecordRequest } from './request.ts';

/**
 * Records one run of a command. Blocks; the program has the terminal meanwhile.
 *
 * @throws WinnowError E_PTRACE_REFUSED, E_PROGRAM_START.
 */
export function record(request: RecordRequest): Recording {
  if (request.light !== true) {
    if (request.traced === undefined) {
      const recording = recordInside(request);
      if (recording !== undefined) return recording;
    }
    const isRefused = !rehearse(request) && request.traced === 'preferred';
    return (isRefused ? recordInside(request) : undefined) ?? recordRun(request, start(request));
  }
  const program = start(request);
  const recording = mayFilter(request.command.program) ? recordLight(request, program) : undefined;
  return recording ?? recordRun({ ...request, filter: false }, program);
}

/** Whether everything that is asked for can be seen from inside, as far as is known before the program starts. */
const mayGoInside = ({ filter, exactPages, observers, code, command }: RecordRequest): boolean =>
  filter &&
  exactPages !== false &&
  code === undefined &&
  (observers ?? []).length === 0 &&
  canScan() &&
  mayFilter(command.program);

/** @returns undefined where that cannot be; nothing has been started then. */
function recordInside(request: RecordRequest): Recording | undefined {
  const inside = mayGoInside(request) ? openInside(request.command.program, request.env) : undefined;
  if (inside === undefined) return undefined;
  try {
    const program = start({ ...request, env: inside.env });
    const recording = recordLight(request, program, inside);
    if (recording !== undefined) return recording;
    inside.withdraw();
    return recordRun(request, program, { filterRefused: true });
  } finally {
    inside.close();
  }
}

const start = (request: RecordRequest): WaitingProgram =>
  startWaiting({
    program: request.command.program,
    argv: request.command.argv,
    env: request.env,
    openFiles: request.openFiles,
    ignoredSignals: request.ignoredSignals,
    blockedSignals: request.blockedSignals,
    descriptors: request.descriptors,
  });

/**
 * Records a program of our own first and throws the run away: Node compiles code when it first runs it, and
 * the program that is recorded would wait for that (docs/measurements.md).
 *
 * @returns whether it could be traced.
 */
function rehearse(request: RecordRequest): boolean {
  const stub = runtimeFile('stub');
  try {
    const practice = {
      ...request,
      command: { program: stub, argv: ['stub', 'rehearse'], cwd: request.command.cwd },
      env: {},
      descriptors: [],
      stopAfterMs: undefined,
      observers: [],
      code: undefined,
      onProgress: () => {},
    };
    recordRun(practice, start(practice));
    return true;
  } catch (error) {
    // What is wrong with the machine is told where it matters: when the program itself is started.
    if (!(error instanceof Error)) throw error;
    return false;
  }
}

interface Known {
  /** The filter has been tried, and the program has been told. */
  readonly filterRefused: boolean;
}

function recordRun(
  request: RecordRequest,
  program: WaitingProgram,
  known: Known = { filterRefused: false },
): Recording {
  const waker = new Waker([SIGCHLD, ...HANDLED]);
  const paths = new PathReader();
  const fileUse = new FileUse(paths, (followed) => waker.followSeeks(followed));
  const snapshots = new Snapshots(paths, request.code);
  const exactPages = request.filter && request.exactPages !== false;
  const faultAround = new FaultAround(exactPages);
  const signals = new OwnSignals(request);
  // Fault-around first: what was mapped must be registered before anything else is done about it.
  const wanted = [...(request.code === undefined ? [] : [request.code]), ...(request.observers ?? [])];
  const observers = [faultAround, fileUse, snapshots, ...wanted];
  const tracer = new Tracer(observers, waker, (signal) => signals.programStopped(signal));
  let listener: Fd | undefined;
  try {
    listener = prepare(program, tracer, known.filterRefused ? { ...request, filter: false } : request);
    const code = listener === undefined ? undefined : request.code;
    if (request.code !== code) tracer.dismiss(request.code);
    const startedAt = Date.now();
    const begun = process.hrtime.bigint();
    waker.awaitEnd(program.pid);
    program.release();
    // From here on the program runs; it ends, or it is left running.
    let lookedUp = startedAt;
    const finished = tracer.run(
      (woken) => {
        // Not after each of the many notices and stops: look-ups are put in order when somebody asks for them.
        const now = Date.now();
        const isDue = now - lookedUp >= PROGRESS_MS;
        if (isDue) {
          lookedUp = now;
          request.onProgress?.({ processes: tracer.liveThreads.length, lookups: fileUse.lookups.size });
        }
        return (isDue || woken.size > 0) && signals.askToLeave(woken, tracer.rootPid);
      },
      () => PROGRESS_MS,
    );
    const leftRunning = finished ? [] : leaveRunning(tracer, snapshots, listener);
    const { rootEnded } = tracer;
    if (tracer.images.length === 1 && rootEnded?.kind === 'exited') {
      throw notStarted(request.command.program, rootEnded.code);
    }
    const durationMs = Number((waker.endedAt ?? process.hrtime.bigint()) - begun) / 1e6;
    const ended = rootEnded ?? { kind: 'left-running' as const };
    const run = assembleRun(
      {
        command: request.command,
        startedAt,
        durationMs,
        method: {
          // Without the filter nobody tells of new mappings.
          pages: faultAround.refused || listener === undefined || !exactPages ? 'fault-around' : 'exact',
          lookups: listener === undefined ? 'unseen' : 'seen',
          functions: code === undefined ? 'unseen' : 'seen',
          kernel: release(),
        },
        ended,
        notes: collectNotes(request, { listener, faultAround, fileUse, snapshots, leftRunning }),
      },
      { images: tracer.images, snapshots, fileUse, code },
    );
    return { run, ended: rootEnded, leftRunning };
  } finally {
    if (listener !== undefined) closeSync(listener);
    waker.close();
  }
}

/** Gives the waiting stub the filter and traces it; on failure the program is never started. */
function prepare(program: WaitingProgram, tracer: Tracer, request: RecordRequest): Fd | undefined {
  // In this order: a tracee stops for a signal (a terminal that is resized sends one) and would not answer.
  const listener = installFilter(program, tracer, request);
  try {
    tracer.adopt(program.pid);
  } catch (error) {
    if (listener !== undefined) closeSync(listener);
    program.abandon();
    throw error instanceof PtraceFailed ? ptraceRefused(error) : error;
  }
  tracer.listenTo(listener);
  return listener;
}

function installFilter(program: WaitingProgram, tracer: Tracer, request: RecordRequest): Fd | undefined {
  const wanted = request.filter && mayFilter(request.command.program);
  const isRoot = process.getuid?.() === 0;
  const filter = wanted ? recorderFilter({ arrivals: tracer.wantsArrivals }) : undefined;
  const listener = filter === undefined ? undefined : program.installFilter(filter, !isRoot);
  if (listener === undefined) program.withoutFilter();
  else askForHandOver(listener);
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
  if (listener !== undefined) startWithFds('keeper', [listener]);
  tracer.listenTo(undefined);
  tracer.leave();
  return threads.map(({ process }) => toPid(process.pid));
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
    const why = request.filter ? 'refused' : request.light === true ? 'no-light' : 'asked';
    found.push(mayFilter(request.command.program) ? notes.noFilter(why) : notes.setUid());
  }
  if (!isRoot && seen.listener !== undefined && seen.fileUse.setUid.size > 0) {
    found.push(notes.setUidChild([...seen.fileUse.setUid]));
  }
  if (seen.faultAround.refused) found.push(notes.faultAround());
  if (seen.faultAround.sandboxed > 0) found.push(notes.sandboxed(seen.faultAround.sandboxed));
  if (request.code !== undefined) found.push(...codeNotes(request.code, seen.listener));
  if (seen.snapshots.lost > 0) found.push(notes.lost(seen.snapshots.lost));
  if (seen.leftRunning.length > 0) found.push(notes.leftRunning(seen.leftRunning));
  return found;
}

const codeNotes = (code: CodeObserver, listener: Fd | undefined): readonly Note[] =>
  listener === undefined ? [notes.noFunctions()] : code.notes();

const ptraceRefused = (cause: PtraceFailed): WinnowError =>
  new WinnowError({
    code: 'E_PTRACE_REFUSED',
    kind: 'environment',
    what: 'the system does not let winnow trace the program, so it was not started',
    where: `ptrace: ${cause.errno}`,
    next: 'in a container allow ptrace (--cap-add=SYS_PTRACE or a seccomp profile with it); with yama set kernel.yama.ptrace_scope to 1 or less',
    cause,
  });
