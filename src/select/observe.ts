/**
 * Which functions a program enters, file by file, in the order of first use.
 *
 * Problem: page tables tell of pages, and a page holds code of many functions; sampling misses what
 * runs once; single steps cost a thousand times the program's own time.
 * Example: `ls` enters 1,100 of the 9,000 functions it maps, most of them in its first 3 ms.
 * Method: one-shot breakpoints. When code is mapped, before anything of it can run, an int3 is written to every
 * place where control comes in from outside (`code-file.ts`). The trap of each is met at most once in a memory: the
 * byte that belongs there is put back, and the thread goes on at it. So a function costs one stop, however
 * often it is called, nothing has to be stepped over, and threads need not be held: one that ran into the same
 * breakpoint meanwhile finds the byte put back and goes on as well. A part of a function may be entered at many
 * places: once it was, the others are put back with it.
 * Hazards met: a fork's child has the breakpoints of its parent, and perhaps some that its parent got rid of
 * before we heard of the child: what counts is the byte in memory. The kernel resets the handler of a blocked SIGTRAP
 * when an int3 is met (`trap-handler.ts`). Whatever a program does to its code later is left
 * alone: a byte is put back only where an int3 stands.
 * What a translator of machine code maps is left alone (`translators.ts`).
 * Limits: a program that reads its own code (checksums, self-tests) reads int3s. Shared mappings are left
 * alone: a write would reach the file. Code that becomes executable by mprotect is not seen.
 */
import { statSync } from 'node:fs';
import { PAGE_SIZE, type Rva, userAddress } from '../base/brands.ts';
import type { Note } from '../profile/model.ts';
import type { CodeObserver, Control, TraceEvent } from '../record/events.ts';
import { SYS } from '../record/filter.ts';
import { readFdLink } from '../record/proc.ts';
import { type Image, openMemory, type Process, type Thread } from '../record/tracees.ts';
import type { Fd } from '../sys/fds.ts';
import { shareMemory } from '../sys/kcmp.ts';
import { readMaps } from '../sys/maps.ts';
import type { AddressRange } from '../sys/pagemap.ts';
import { instructionPointer, SI_KERNEL, setInstructionPointer, signalCode } from '../sys/ptrace.ts';
import type { Notice } from '../sys/seccomp.ts';
import type { CodeFile } from './code-file.ts';
import { CodeFiles, type FindEntries } from './code-files.ts';
import { codeNotes } from './notes.ts';
import { holdsBreakpoint, plant, putAllBack, putBack } from './plant.ts';
import { MET, NOT_MET, type Region, Regions } from './regions.ts';
import { Translators } from './translators.ts';
import { TrapHandlers } from './trap-handler.ts';

const MAP_TYPE = 0x0fn;
const MAP_PRIVATE = 0x02n;
const MAP_FIXED = 0x10n;

type EventOf<Kind extends TraceEvent['kind']> = Extract<TraceEvent, { kind: Kind }>;

export class Functions implements CodeObserver {
  readonly wantsArrivals = true;
  readonly #files: CodeFiles;
  readonly #handlers = new TrapHandlers();
  readonly #translators = new Translators();
  readonly #memories = new Map<Image, Regions>();
  /** Memories that the kernel did not let us write. */
  #refused = 0;
  /** Programs whose mappings of code were left alone. */
  readonly #leftAlone = new Set<string>();

  constructor(findEntries: FindEntries) {
    this.#files = new CodeFiles(findEntries);
  }

  observe(event: TraceEvent, control: Control): void {
    switch (event.kind) {
      case 'trap':
        return this.#trapped(event);
      case 'module-mapped':
        return this.#arrived(event);
      case 'call':
        return this.#called(event, control);
      case 'image-started':
        return event.how === 'exec'
          ? this.#started(event)
          : void this.#regionsOf(event.image, event.thread.process);
      case 'letting-go':
        return this.#letGo(event);
      case 'image-ended':
        return this.#ended(event.image);
    }
  }

  entered(): ReadonlyMap<string, readonly Rva[]> {
    const files = this.#files.inPlace().filter(({ entered }) => entered.length > 0);
    return new Map(files.map(({ path, entered }) => [path, entered]));
  }

  writtenPages(image: Image, range?: AddressRange): readonly AddressRange[] {
    return this.#memories.get(image)?.writtenPages(range) ?? [];
  }

  notes(): readonly Note[] {
    return codeNotes({
      kept: this.#files.kept,
      refused: this.#refused,
      translators: [...this.#leftAlone],
    });
  }

  /** The state of a process's memory: its own, its parent's, or a copy of that from the time of the fork. */
  #regionsOf(image: Image, process: Process): Regions {
    const known = this.#memories.get(image);
    if (known !== undefined) return known;
    const { parent } = image;
    // After an exec memory is new; the parent is what ran in the process before.
    const before = parent === undefined || parent.pid === image.pid ? undefined : this.#memories.get(parent);
    const isShared = process.borrowsMemory || (parent !== undefined && shareMemory(parent.pid, image.pid));
    const regions = before === undefined ? new Regions() : isShared ? before : before.copy();
    regions.users++;
    this.#memories.set(image, regions);
    return regions;
  }

  /** Of a program that has just been executed, the kernel has mapped its file and its loader's. */
  #started({ image, thread }: EventOf<'image-started'>): void {
    if (this.#memories.has(image)) return;
    const regions = this.#regionsOf(image, thread.process);
    for (const { start, end, offset, inode, path, executable, shared, deleted } of readMaps(image.pid)) {
      if (!executable || shared || deleted || inode === 0n) continue;
      // Of the mappings only the program's has a link to open; the loader is recognised by its inode.
      const isProgram = path === image.program;
      if (!isProgram && statSync(path, { bigint: true, throwIfNoEntry: false })?.ino !== inode) continue;
      this.#files.use(isProgram ? `/proc/${image.pid}/exe` : path, path, (code, fd) =>
        this.#plant(regions, thread, code, fd, { start, end }, offset),
      );
    }
  }

  #arrived({ image, thread, at, notice }: EventOf<'module-mapped'>): void {
    const [, length, , flags, fd, offset] = notice.args;
    const range = rangeOf(at, length);
    const regions = this.#regionsOf(image, thread.process);
    regions.remove(regions.within(range), range);
    if ((flags & MAP_TYPE) !== MAP_PRIVATE) return;
    if (this.#translators.has(image.program)) {
      this.#leftAlone.add(image.program);
      // Code of its own may be a part of what it translates.
      return takeBack(regions, thread);
    }
    const number = Number(BigInt.asIntN(32, fd));
    this.#files.use(`/proc/${thread.tid}/fd/${number}`, readFdLink(thread.tid, number), (code, file) =>
      this.#plant(regions, thread, code, file, range, Number(offset)),
    );
  }

  #plant(
    regions: Regions,
    thread: Thread,
    code: CodeFile,
    fd: Fd,
    range: AddressRange,
    offset: number,
  ): void {
    const bias = code.biasOf(range.start, offset);
    const memory = openMemory(thread);
    if (bias === undefined || memory === undefined || code.count === 0) return;
    const end = plant(memory, code, fd, bias, range);
    if (end < range.end) this.#refused++;
    if (end > range.start) {
      regions.add({ start: range.start, end: userAddress(end), code, bias, hit: new Uint8Array(code.count) });
    }
  }

  /** What is unmapped, or mapped over, has lost its breakpoints once the call has happened. */
  #called({ image, thread, notice }: EventOf<'call'>, control: Control): void {
    if (notice.nr === SYS.rt_sigaction) return this.#handlers.called(image, thread, notice, control);
    if (!replacesMappings(notice)) return;
    const range = rangeOf(notice.args[0], notice.args[1]);
    const regions = this.#regionsOf(image, thread.process);
    const gone = regions.within(range);
    if (gone.length === 0) return;
    control.afterCall(thread, (result) => {
      if (result >= 0n) regions.remove(gone, range);
    });
  }

  #trapped(event: EventOf<'trap'>): void {
    const { image, thread } = event;
    const at = instructionPointer(thread.tid) - 1;
    const regions = this.#regionsOf(image, thread.process);
    const region = regions.find(at);
    const index = region?.code.indexOf(at - region.bias) ?? -1;
    if (region === undefined || index < 0 || signalCode(thread.tid) !== SI_KERNEL) return;
    const memory = openMemory(thread);
    if (memory === undefined) return;
    const met = region.hit[index] ?? NOT_MET;
    // Met before, the byte is back, another thread just came to it in time; or the program has put an int3 there itself.
    const isThere = met === NOT_MET || holdsBreakpoint(memory, at);
    if (met === MET && isThere) return;
    if (isThere) putBack(memory, region, index);
    region.hit[index] = MET;
    for (const other of region.code.besides(index)) this.#spare(memory, region, other);
    region.code.noteEntered(index);
    setInstructionPointer(thread.tid, userAddress(at));
    event.handled = true;
    this.#handlers.mend(image, thread);
  }

  /** What a breakpoint would tell is known: it is taken back without being met. */
  #spare(memory: Fd, region: Region, index: number): void {
    if (region.hit[index] !== NOT_MET) return;
    const at = region.bias + region.code.placeOf(index);
    if (at < region.start || at >= region.end) return;
    if (holdsBreakpoint(memory, at)) putBack(memory, region, index);
    region.hit[index] = MET;
  }

  #letGo({ image, thread }: EventOf<'letting-go'>): void {
    takeBack(this.#regionsOf(image, thread.process), thread);
  }

  #ended(image: Image): void {
    const regions = this.#memories.get(image);
    if (regions !== undefined && --regions.users === 0) regions.forgetHits();
  }
}

/** Takes all breakpoints out of a memory. */
function takeBack(regions: Regions, thread: Thread): void {
  const memory = openMemory(thread);
  if (memory === undefined || regions.isClean) return;
  for (const region of regions) putAllBack(memory, region);
  // Other threads may just have met one: what lay where stays known for their traps.
  regions.isClean = true;
}

const rangeOf = (start: bigint, length: bigint): AddressRange => ({
  start: userAddress(start),
  end: userAddress(Number(start) + Math.ceil(Number(length) / PAGE_SIZE) * PAGE_SIZE),
});

const replacesMappings = ({ nr, args }: Notice): boolean =>
  nr === SYS.munmap || (nr === SYS.mmap && (args[3] & MAP_FIXED) !== 0n);
