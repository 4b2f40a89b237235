/**
 * The light recording: page tables only, and no tracer.
 *
 * The program gets a filter that traps execve and exit_group, whose listener the watcher answers
 * (`src/sys/watcher.ts`); children inherit it. Nothing of ours runs in the program's way but the watcher's
 * look at a memory that is about to go. The program is our child, so waitpid says how it ended and when job
 * control has stopped it.
 *
 * What is not seen: look-ups, files that were read and not mapped, mappings that were gone by the end, and
 * the pages of processes that ended by a signal or by the plain exit of their last thread.
 */
import { closeSync, readdirSync } from 'node:fs';
import { release } from 'node:os';
import { type Pid, pid as toPid, tid as toTid, type UserAddress } from '../base/brands.ts';
import type { Ended, Note } from '../profile/model.ts';
import type { Fd } from '../sys/fds.ts';
import type { InsideLog } from '../sys/inside-log.ts';
import { type Mapping, readMaps } from '../sys/maps.ts';
import { backedPages, pagemapMethod } from '../sys/pagemap.ts';
import { askForHandOver } from '../sys/seccomp.ts';
import { startWithFds, type WaitingProgram } from '../sys/start.ts';
import { pollChild, type WaitEvent } from '../sys/wait.ts';
import { SIGCHLD, Waker } from '../sys/wake.ts';
import { Watcher } from '../sys/watcher.ts';
import { assembleRun, type Seen } from './assemble.ts';
import { FileUse } from './file-use.ts';
import { insideFilter, lightFilter } from './filter.ts';
import { viewFromInside } from './inside/inside-view.ts';
import { selfSightings } from './inside/self-sightings.ts';
import type { InsideSession } from './inside/session.ts';
import { LightFamily } from './light-family.ts';
import { notStarted } from './not-started.ts';
import { notes } from './notes.ts';
import { HANDLED, OwnSignals } from './own-signals.ts';
import { PathReader } from './paths.ts';
import { readExecuted, readFamily, readProgram } from './proc.ts';
import { PROGRESS_MS, type Recording, type RecordRequest } from './request.ts';
import { type Sighting, SightingReader } from './sightings.ts';
import { Snapshots } from './snapshots.ts';
import { statOrNothing } from './stat.ts';
import type { Image } from './tracees.ts';

/** While leaving: how often to look for the watcher's end. */
const LEAVING_MS = 20;

/**
 * Records a waiting program without a tracer, to its end.
 *
 * @returns undefined where the kernel or a container does not allow it: the program still waits then.
 * @throws WinnowError E_PROGRAM_START.
 */
export function recordLight(
  request: RecordRequest,
  program: WaitingProgram,
  inside?: InsideSession,
): Recording | undefined {
  if (!canScan()) return undefined;
  const filter = inside === undefined ? lightFilter() : insideFilter();
  const listener = program.installFilter(filter, process.getuid?.() !== 0);
  if (listener === undefined) return undefined;
  askForHandOver(listener);
  const waker = new Waker([SIGCHLD, ...HANDLED]);
  try {
    return new LightRecording(request, program, { listener, waker, inside }).run();
  } finally {
    waker.close();
    closeSync(listener);
  }
}

/** PAGEMAP_SCAN (Linux 6.7): the watcher knows no other way. */
export function canScan(): boolean {
  try {
    const own = readMaps(toPid(process.pid))[0];
    return (
      own !== undefined && backedPages(toPid(process.pid), [own]) !== undefined && pagemapMethod() === 'scan'
    );
  } catch {
    return false;
  }
}

interface Use {
  readonly fileUse: Seen['fileUse'];
  /** Exact pages and all look-ups, of all processes. */
  readonly wholly: boolean;
  readonly notes: readonly Note[];
}

class LightRecording {
  readonly #request: RecordRequest;
  readonly #program: WaitingProgram;
  readonly #listener: Fd;
  readonly #waker: Waker;
  readonly #watcher: Watcher;
  readonly #signals: OwnSignals;
  readonly #paths = new PathReader();
  readonly #snapshots: Snapshots;
  readonly #family: LightFamily;
  readonly #reader = new SightingReader((seen) => this.#take(seen));
  /** Until it is known what processes saw of themselves: a family is told in the order of time. */
  readonly #untold: Sighting[] = [];
  /** Who answers the listener. */
  #answering: Pid;
  #answered = true;
  #rootEnded: Ended | undefined;

  readonly #inside: InsideSession | undefined;
  #log: InsideLog = { entries: [], lost: 0 };
  /** Where each image's vDSO lies, which tells its entries in the log apart. */
  readonly #vdsos = new Map<Image, UserAddress>();
  readonly #borrowers = new Set<Image>();

  constructor(
    request: RecordRequest,
    program: WaitingProgram,
    {
      listener,
      waker,
      inside,
    }: { readonly listener: Fd; readonly waker: Waker; readonly inside: InsideSession | undefined },
  ) {
    this.#inside = inside;
    this.#snapshots = new Snapshots(this.#paths, undefined, inside?.ownFiles);
    this.#request = request;
    this.#program = program;
    this.#listener = listener;
    this.#waker = waker;
    this.#signals = new OwnSignals(request);
    this.#family = new LightFamily(program.pid);
    this.#watcher = new Watcher(listener, program.pid, waker.nudge, inside?.socket);
    this.#answering = this.#watcher.pid;
    inside?.noteWatcher(this.#watcher.pid);
  }

  run(): Recording {
    const startedAt = Date.now();
    const begun = process.hrtime.bigint();
    this.#waker.awaitEnd(this.#program.pid);
    this.#program.release();
    // From here on the program runs; it ends, or it is left running.
    const finished = this.#wait();
    const durationMs = Number((this.#waker.endedAt ?? process.hrtime.bigint()) - begun) / 1e6;
    this.#read();
    if (finished) this.#tell();
    const leftRunning = finished ? [] : this.#leave();
    this.#watcher.close();
    const { command } = this.#request;
    if (this.#family.notStarted && this.#rootEnded?.kind === 'exited') {
      throw notStarted(command.program, this.#rootEnded.code);
    }
    const unseenEnds = finished ? this.#family.living.size : 0;
    const ended = this.#rootEnded ?? { kind: 'left-running' as const };
    if (this.#rootEnded !== undefined) this.#family.noteRootEnd(ended, command.program, command.argv);
    const use = this.#viewUse(unseenEnds);
    const run = assembleRun(
      {
        command,
        startedAt,
        durationMs,
        method: {
          pages: use.wholly ? 'exact' : 'fault-around',
          lookups: use.wholly ? 'seen' : 'unseen',
          functions: 'unseen',
          kernel: release(),
        },
        ended,
        notes: this.#notes(leftRunning, unseenEnds, [...use.notes]),
      },
      { images: this.#family.images, snapshots: this.#snapshots, fileUse: use.fileUse },
    );
    return { run, ended: this.#rootEnded, leftRunning };
  }

  /** @returns whether the tree has ended. */
  #wait(): boolean {
    while (this.#rootEnded === undefined || this.#answered) {
      const woken = this.#waker.wait(undefined, PROGRESS_MS);
      // Before the stop that a key may have led to.
      const leaving = this.#signals.askToLeave(woken.signals, this.#program.pid);
      // After a time-out too: no lost wake-up may leave anybody waiting.
      if (woken.signals.size === 0 || woken.signals.has(SIGCHLD)) {
        this.#reap();
        if (this.#rootEnded !== undefined && !this.#answered) return true;
        this.#read();
      }
      this.#request.onProgress?.({ processes: this.#family.living.size, lookups: 0 });
      if (leaving) return false;
    }
    return true;
  }

  #reap(): void {
    for (;;) {
      const event = pollChild();
      if (typeof event === 'string') return;
      const id = toPid(event.tid);
      if (id === this.#program.pid) this.#noteRoot(event);
      else if (id === this.#answering) this.#noteEndOfWatch(event);
    }
  }

  #noteRoot(event: WaitEvent): void {
    if (event.kind === 'exited') this.#rootEnded = { kind: 'exited', code: event.code };
    if (event.kind === 'killed') this.#rootEnded = { kind: 'killed', signal: event.signal };
    if (event.kind === 'signal') this.#signals.programStopped(event.signal);
  }

  #noteEndOfWatch(event: WaitEvent): void {
    if (event.kind === 'signal') return;
    if (event.kind === 'exited') {
      this.#answered = false;
      return;
    }
    // Somebody killed it. The program must not feel that.
    this.#snapshots.lost++;
    this.#answering = startWithFds('keeper', [this.#listener]);
  }

  #read(): void {
    this.#watcher.read((bytes) => this.#reader.add(bytes));
  }

  #take(seen: Sighting): void {
    if (this.#inside === undefined) this.#note(seen);
    else this.#untold.push(seen);
  }

  /** Everything that was seen so far, by the watcher and by the processes themselves. */
  #tell(): void {
    if (this.#inside === undefined) return;
    this.#log = this.#inside.read();
    const seen = [...this.#untold, ...selfSightings(this.#log.entries)].sort((a, b) => a.time - b.time);
    this.#untold.length = 0;
    for (const one of seen) this.#note(one);
  }

  #note(seen: Sighting): void {
    const image = this.#family.note(seen);
    if (seen.borrowed) this.#borrowers.add(image);
    else this.#borrowers.delete(image);
    if (seen.borrowed || image.serial === 0) return;
    image.startFiles = inOrder(image.program, seen.mappings);
    this.#noteVdso(image, seen.mappings);
    if (seen.mappings.length === 0) this.#snapshots.lost++;
    else this.#snapshots.add(image, seen.mappings, seen.backed);
  }

  /** Hands the listener to a keeper, and looks at what still runs. */
  #leave(): Pid[] {
    this.#watcher.stop();
    while (this.#answered && this.#answering === this.#watcher.pid) {
      // It may wait for room in the pipe.
      this.#read();
      this.#waker.wait(undefined, LEAVING_MS);
      this.#reap();
    }
    this.#read();
    if (this.#answering === this.#watcher.pid) startWithFds('keeper', [this.#listener]);
    this.#tell();
    const left: Pid[] = [];
    for (const [process, parent] of this.#findLiving()) {
      const thread = liveThread(process);
      if (thread === undefined) continue;
      const image = this.#family.noteLiving(process, parent, readExecuted(thread));
      this.#snapshots.take(image, thread);
      this.#noteVdso(image, readMaps(thread));
      left.push(process);
    }
    return left;
  }

  /** The processes of the book that are there, and their descendants, with their parents; parents first. */
  #findLiving(): Map<Pid, Pid> {
    const parents = new Map<Pid, Pid>();
    for (const name of readdirSync('/proc')) {
      if (!/^\d+$/.test(name)) continue;
      const { group, parent } = readFamily(toTid(Number(name)));
      if (group !== 0) parents.set(toPid(group), toPid(parent));
    }
    const found = new Map<Pid, Pid>();
    for (const known of this.#family.living.keys()) {
      const parent = parents.get(known);
      if (parent !== undefined) found.set(known, parent);
    }
    for (let before = -1; before !== found.size; ) {
      before = found.size;
      for (const [process, parent] of parents) if (found.has(parent)) found.set(process, parent);
    }
    return found;
  }

  #noteVdso(image: Image, mappings: readonly Mapping[]): void {
    const vdso = mappings.find(({ path }) => path === '[vdso]');
    if (vdso !== undefined) this.#vdsos.set(image, vdso.start);
  }

  /** What was used beyond what is mapped. */
  #viewUse(unseenEnds: number): Use {
    const { images } = this.#family;
    if (this.#inside === undefined) {
      const fileUse = new FileUse(this.#paths);
      for (const { startFiles } of images) fileUse.noteMapped(startFiles);
      return { fileUse, wholly: false, notes: [notes.light()] };
    }
    const { givenUp } = this.#reader;
    const seen = { images, vdsos: this.#vdsos, borrowers: this.#borrowers, givenUp };
    const { use, unseen, unmet, lost } = viewFromInside(this.#log, seen, this.#paths);
    use.noteStarted(this.#request.command.program);
    const programs = [...new Set(unseen.map(({ program }) => program))];
    const wholly = unseen.length === 0 && lost === 0;
    const ends = unseenEnds + unmet;
    // Pages of a process that was killed young are few, and the tracer adds them.
    const isAll = wholly && ends === 0;
    return { fileUse: use, wholly, notes: isAll ? [] : [notes.partlyInside(programs, lost, ends)] };
  }

  #notes(leftRunning: readonly Pid[], unseenEnds: number, found: Note[]): Note[] {
    const { images } = this.#family;
    const setUid = images.map(({ program }) => program).filter(isSetUid);
    if (process.getuid?.() !== 0 && setUid.length > 0) found.push(notes.setUidChild([...new Set(setUid)]));
    if (unseenEnds > 0 && this.#inside === undefined) found.push(notes.unseenEnds(unseenEnds));
    if (this.#snapshots.lost > 0) found.push(notes.lost(this.#snapshots.lost));
    if (leftRunning.length > 0) found.push(notes.leftRunning(leftRunning));
    return found;
  }
}

const isSetUid = (program: string): boolean => ((statOrNothing(program)?.mode ?? 0) & 0o6000) !== 0;

/** A thread with a memory to look at: a leader that has ended has none. As a process id: /proc takes both. */
function liveThread(process: Pid): Pid | undefined {
  try {
    return readdirSync(`/proc/${process}/task`)
      .map((name) => toPid(Number(name)))
      .find((thread) => readProgram(thread) !== '');
  } catch {
    return undefined;
  }
}

/** Files in about the order of first use: after the program and its loader libraries are mapped downwards. */
function inOrder(program: string, mappings: readonly Mapping[]): string[] {
  const downwards = mappings.filter(({ inode }) => inode !== 0n).map(({ path }) => path);
  return [...new Set([program, ...downwards.reverse()])];
}
