/**
 * One run of a program's dynamic loader, up to where it would start the first constructor.
 *
 * The place. glibc's loader begins with `mov %rsp,%rdi; call _dl_start`, and `_dl_start` does everything: what
 * follows the call (`_dl_start_user`) runs constructors and enters the program. A breakpoint stands there. Other
 * bytes at its entry are a loader that we do not know.
 *
 * Each system call stops twice (call-stops.ts). What the loader writes to stderr is read and does not appear;
 * nothing else that it does is seen outside.
 */
import { readdirSync } from 'node:fs';
import { type Pid, type Tid, tid } from '../../base/brands.ts';
import { errnoOf } from '../../base/errors.ts';
import { readFdLink } from '../../record/proc.ts';
import { withRandomAddresses } from '../../sys/limits.ts';
import { type Mapping, readMaps } from '../../sys/maps.ts';
import * as pt from '../../sys/ptrace.ts';
import { startWaiting, type WaitingProgram } from '../../sys/start.ts';
import { type WaitEvent, waitFor } from '../../sys/wait.ts';
import { Arena, arenaBase } from './arena.ts';
import { AT, type Auxv, type InitialStack, readAuxv, readInitialStack } from './auxv.ts';
import { type AtExit, enterCall } from './call-stops.ts';
import { applyLimits, type Circumstances, prepare } from './circumstances.ts';
import { LoaderCalls } from './loader-calls.ts';
import { moveVdso } from './move-vdso.ts';
import { Refusal } from './refusal.ts';
import { TraceeMemory } from './tracee-memory.ts';

const OPTIONS = pt.PTRACE_O_TRACESYSGOOD | pt.PTRACE_O_TRACEEXEC | pt.PTRACE_O_EXITKILL;
const SIGTRAP = 5;
const SIGXCPU = 24;
/** SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGXCPU, SIGSYS: what a process brings upon itself. */
const OWN_FAULTS = new Set([4, SIGTRAP, 6, 7, 8, 11, SIGXCPU, 31]);

/** A process that stands before its first constructor. `end` must be called. */
export interface StoppedLoader {
  readonly pid: Pid;
  readonly memory: TraceeMemory;
  readonly auxv: Auxv;
  readonly stack: InitialStack;
  readonly calls: LoaderCalls;
  readonly arena: Arena;
  /** Load bias of the loader, and the address of `_dl_start_user`. */
  readonly loaderBase: number;
  readonly startUser: number;
  readonly maps: readonly Mapping[];
  readonly circumstances: Circumstances;
  /** Soft RLIMIT_STACK that the loader saw. */
  readonly stackLimit: bigint;
  /** Nanoseconds of the monotonic clock: when exec was done, and when the breakpoint was reached. */
  readonly execAt: bigint;
  readonly stoppedAt: bigint;
  end(): void;
}

/**
 * @param align of the arena's base, bytes.
 * @throws Refusal where the loader cannot be followed, or says that it cannot link the program.
 */
export function runLoader(program: string, circumstances: Circumstances, align: number): StoppedLoader {
  const stub = withRandomAddresses(() =>
    startWaiting({
      program,
      argv: circumstances.argv,
      env: circumstances.env,
      openFiles: 0,
      ignoredSignals: '0',
      blockedSignals: '0',
      descriptors: [],
      cwd: circumstances.cwd,
    }),
  );
  const tracee = tid(stub.pid);
  adopt(stub, tracee);
  let memory: TraceeMemory | undefined;
  const end = (): void => {
    memory?.close();
    endTracee(tracee);
  };
  try {
    prepare(stub.pid, circumstances);
    stub.release();
    waitForExec(tracee);
    // The result of execve is written when it ends, over what we would set here.
    stepToExit(tracee);
    const execAt = process.hrtime.bigint();
    const inherited = openFiles(stub.pid);
    memory = new TraceeMemory(stub.pid);
    const stackLimit = applyLimits(stub.pid, circumstances);
    const stack = readInitialStack(memory, Number(pt.getRegisters(tracee).get('rsp')));
    const told = readAuxv(stub.pid);
    const loaderBase = Number(told.get(AT.base) ?? 0n);
    const startUser = startUserOf(memory, loaderBase);
    const atExec = readMaps(stub.pid);
    const auxv = moveVdso(tracee, memory, atExec, told, stack);
    const arena = arenaOf(readMaps(stub.pid), loaderBase, align);
    const calls = new LoaderCalls(memory, circumstances.cwd);
    follow(tracee, { memory, calls, arena, startUser });
    const stoppedAt = process.hrtime.bigint();
    checkRegisters(tracee, auxv, stack);
    const maps = readMaps(stub.pid);
    if (hasExecutableStack(maps) !== hasExecutableStack(atExec)) {
      throw new Refusal('a library that needs an executable stack', 'the loader makes it so at each start');
    }
    const left = openFiles(stub.pid).find((fd) => !inherited.includes(fd));
    if (left !== undefined) throw new Refusal('a file left open', readFdLink(stub.pid, Number(left)));
    const when = { execAt, stoppedAt };
    const placed = { arena, loaderBase, startUser, maps };
    return { pid: stub.pid, memory, auxv, stack, calls, ...placed, circumstances, stackLimit, ...when, end };
  } catch (error) {
    end();
    if (error instanceof pt.TraceeGone) throw new Refusal('killed while it was linked');
    throw error;
  }
}

function adopt(stub: WaitingProgram, tracee: Tid): void {
  try {
    stub.withoutFilter();
    pt.seize(tracee, OPTIONS);
  } catch (error) {
    stub.abandon();
    endTracee(tracee);
    if (error instanceof pt.TraceeGone) throw new Refusal('killed while it was linked');
    if (!(error instanceof pt.PtraceFailed)) throw error;
    throw new Refusal('tracing is not permitted here', `ptrace: ${error.errno}`);
  }
}

function nextEvent(tracee: Tid): WaitEvent {
  for (;;) {
    const event = waitFor(tracee);
    if (event === 'no-children') throw new pt.TraceeGone(tracee, 'wait');
    if (typeof event !== 'string') return event;
  }
}

function waitForExec(tracee: Tid): void {
  for (;;) {
    const event = nextEvent(tracee);
    if (event.kind === 'event' && event.event === pt.PTRACE_EVENT_EXEC) return;
    // The stub's exit code is the errno of execve.
    if (event.kind === 'exited') throw new Refusal('the kernel does not start it', `errno ${event.code}`);
    if (event.kind === 'killed') throw new Refusal('killed while it was linked', `signal ${event.signal}`);
    pt.resume(tracee);
  }
}

function stepToExit(tracee: Tid): void {
  for (;;) {
    pt.resumeToSyscall(tracee);
    const { kind } = nextEvent(tracee);
    if (kind === 'syscall') return;
    if (kind === 'exited' || kind === 'killed') throw new Refusal('killed while it was linked');
  }
}

/** `endbr64`, which loaders built for control-flow enforcement may begin with. */
const ENDBR64 = [0xf3, 0x0f, 0x1e, 0xfa];
/** `mov %rsp,%rdi; call …`, less the distance. */
const ENTRY = [0x48, 0x89, 0xe7, 0xe8];
const CALL_SIZE = 5;

/** The return address of the call at the loader's entry. @throws Refusal where something else stands there. */
function startUserOf(memory: TraceeMemory, loaderBase: number): number {
  const E_ENTRY = 24;
  const entry = loaderBase + Number(memory.word(loaderBase + E_ENTRY));
  const bytes = [...memory.read(entry, ENDBR64.length + ENTRY.length)];
  const skip = ENDBR64.every((byte, i) => bytes[i] === byte) ? ENDBR64.length : 0;
  if (!ENTRY.every((byte, i) => bytes[skip + i] === byte)) {
    const found = bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
    throw new Refusal('an unknown dynamic loader', `its first instructions are ${found}`);
  }
  return entry + skip + ENTRY.length - 1 + CALL_SIZE;
}

/** Between the program and the loader: glibc sorts modules by address (`_dl_find_object`). */
function arenaOf(maps: readonly Mapping[], loaderBase: number, align: number): Arena {
  const below = maps.filter(({ start }) => start < loaderBase);
  const base = arenaBase(below.at(-1)?.end ?? 0, loaderBase, align);
  if (base === undefined) {
    throw new Refusal('no room for the modules', 'between the program and the loader, where they must be');
  }
  return new Arena(base);
}

interface Followed {
  readonly memory: TraceeMemory;
  readonly calls: LoaderCalls;
  readonly arena: Arena;
  readonly startUser: number;
}

/** Lets the loader run to the breakpoint. @throws Refusal where it does not come there. */
function follow(tracee: Tid, { memory, calls, arena, startUser }: Followed): void {
  const first = memory.read(startUser, 1);
  plantBreakpoint(memory, startUser);
  let onExit: AtExit | undefined;
  for (;;) {
    pt.resumeToSyscall(tracee);
    const event = nextEvent(tracee);
    if (event.kind === 'syscall') {
      const registers = pt.getRegisters(tracee);
      if (onExit === undefined) onExit = enterCall(tracee, registers, calls, arena);
      else {
        onExit(registers);
        onExit = undefined;
      }
    } else if (event.kind === 'signal') {
      if (isBreakpoint(tracee, event.signal, startUser)) break;
      // Of others (a terminal that is resized tells all its programs) the loader does not hear.
      if (OWN_FAULTS.has(event.signal)) throw signalled(event.signal);
    } else if (event.kind === 'exited') throw gaveUp(calls, `it ended with exit code ${event.code}`);
    else if (event.kind === 'killed') throw gaveUp(calls, `it was killed by signal ${event.signal}`);
  }
  memory.write(startUser, first);
  // A library that cannot be preloaded, a version that is missing: the image would not say it again.
  if (calls.complaint !== '') throw gaveUp(calls, '');
}

function plantBreakpoint(memory: TraceeMemory, at: number): void {
  try {
    memory.write(at, Buffer.from([0xcc]));
  } catch (error) {
    // proc_mem.force_override=never: code cannot be written by /proc/PID/mem.
    throw new Refusal('tracing is not permitted here', `/proc/PID/mem: ${errnoOf(error) ?? 'not written'}`);
  }
}

function gaveUp(calls: LoaderCalls, how: string): Refusal {
  const said = calls.complaint.trim();
  return new Refusal('the loader complains', said === '' ? how : said);
}

const signalled = (signal: number): Refusal =>
  signal === SIGXCPU
    ? new Refusal('linking does not end')
    : new Refusal('a signal before the first constructor', `signal ${signal}: an IFUNC resolver?`);

function isBreakpoint(tracee: Tid, signal: number, at: number): boolean {
  if (signal !== SIGTRAP || pt.signalCode(tracee) !== pt.SI_KERNEL) return false;
  return pt.instructionPointer(tracee) === at + 1;
}

const openFiles = (process: Pid): string[] => readdirSync(`/proc/${process}/fd`);

const hasExecutableStack = (maps: readonly Mapping[]): boolean =>
  maps.some(({ path, executable }) => path === '[stack]' && executable);

/** At `_dl_start_user` the program's entry is in rax, and the stack is as the kernel made it. */
function checkRegisters(tracee: Tid, auxv: Auxv, stack: InitialStack): void {
  const registers = pt.getRegisters(tracee);
  if (registers.get('rax') !== auxv.get(AT.entry) || Number(registers.get('rsp')) !== stack.start) {
    throw new Refusal('an unknown dynamic loader', 'it comes back with other registers');
  }
}

/** Kills a tracee and waits until it is gone. */
function endTracee(tracee: Tid): void {
  try {
    process.kill(tracee, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
  for (;;) {
    const event = waitFor(tracee);
    if (event === 'no-children') return;
    if (typeof event === 'object' && (event.kind === 'exited' || event.kind === 'killed')) return;
  }
}
