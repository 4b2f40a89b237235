/**
 * Makes present bits exact: keeps the kernel's fault-around off in every file mapping of a tracee, by
 * registering it with a userfaultfd (`src/sys/uffd.ts` says why that works).
 *
 * When: the mappings that exec or fork made, before the first instruction. Of a library, what lies
 * before its writable segment when that segment is about to be mapped (ld.so maps it last), and the
 * writable segment itself at the next notice of the process. Other file mappings right after the call.
 *
 * Limits: shared mappings of files that are not writable cannot be registered (EPERM), and the pages
 * that ld.so touches in a writable segment before the next notice come with their neighbours; nearly
 * all of them are relocated anyway.
 */
import { closeSync, openSync } from 'node:fs';
import { type Address, address, PAGE_SIZE, userAddress } from '../base/brands.ts';
import { prefixSegments, readBytes } from '../elf/prefix.ts';
import { borrowFd } from '../sys/fds.ts';
import { type Mapping, readMaps } from '../sys/maps.ts';
import type { AddressRange } from '../sys/pagemap.ts';
import { registerRange, SYS_userfaultfd, startUffd, UFFD_FLAGS } from '../sys/uffd.ts';
import type { Control, Observer, TraceEvent } from './events.ts';
import { SYS } from './filter.ts';
import { findSyscall, withCalls } from './inject.ts';
import { countFilters, readFdLink } from './proc.ts';
import { type Image, openMemory, pidfdOf, type Thread } from './tracees.ts';

const SYS_close = 3n;
const MAP_FIXED = 0x10n;
const MAP_DENYWRITE = 0x800n;
const ELF_PREFIX = 64;
const PT_LOAD = 1;
const LOADER_NAME = /\/(ld-linux[^/]*|ld-musl[^/]*|ld-[0-9.]+)\.so(\.\d+)*$/;

interface LoadSegment {
  readonly offset: number;
  readonly virtualAddress: number;
}

export class FaultAround implements Observer {
  /** The kernel or a container refused once: present bits are rounded up from then on. */
  refused = false;
  /** Images that have filters of their own, in which our call could be deadly: theirs are rounded up. */
  sandboxed = 0;
  /** Seccomp filters of the stub: the caller's and ours. */
  #filters: number | undefined;
  readonly #segments = new Map<string, readonly LoadSegment[]>();
  readonly #wanted: boolean;
  /** Images with mappings that the next call will find made, and to be registered. */
  readonly #pending = new Set<Image>();

  /** @param wanted false where nobody would tell of new mappings: then it is not worth its page faults. */
  constructor(wanted: boolean) {
    this.#wanted = wanted;
  }

  get wantsNextCall(): boolean {
    return this.#pending.size > 0;
  }

  observe(event: TraceEvent, control: Control): void {
    if (event.kind === 'image-started') this.#start(event.thread);
    if (event.kind === 'call' || event.kind === 'image-replacing') this.#flush(event.image);
    if (event.kind === 'image-ended') this.#pending.delete(event.image);
    if (event.kind === 'call' && event.notice.nr === SYS.mmap) {
      this.#follow(event.image, event.thread, event.notice.args, control);
    }
  }

  #start(thread: Thread): void {
    const { process } = thread;
    const { image } = process;
    // Told once more, for another observer's sake.
    if (image.uffd !== undefined && image.uffdInside === undefined) return;
    const memory = openMemory(thread);
    if (memory === undefined) return;
    const mappings = readMaps(process.pid);
    image.startFiles = [...new Set(mappings.filter(({ inode }) => inode !== 0n).map(({ path }) => path))];
    image.loader = mappings.filter(({ path }) => LOADER_NAME.test(path));
    image.syscallAt = findSyscall(memory, mappings);
    if (!this.#wanted || this.refused || image.syscallAt === 0n || this.#isSandboxed(thread)) return;
    withCalls(thread.tid, image.syscallAt, (call) => {
      // In steps that can be taken up again: a signal may come between them.
      if (image.uffd === undefined) {
        image.uffdInside ??= call(SYS_userfaultfd, UFFD_FLAGS);
        const pidfd = pidfdOf(process);
        if (image.uffdInside >= 0n && pidfd !== undefined)
          image.uffd = borrowFd(pidfd, Number(image.uffdInside));
      }
      if (image.uffdInside !== undefined && image.uffdInside >= 0n) call(SYS_close, image.uffdInside);
      image.uffdInside = undefined;
    });
    if (image.uffd === undefined || !startUffd(image.uffd)) {
      this.refused = true;
      return;
    }
    for (const range of fileRanges(mappings)) registerRange(image.uffd, range);
  }

  #isSandboxed(thread: Thread): boolean {
    const filters = countFilters(thread.tid);
    this.#filters ??= filters;
    if (filters <= this.#filters) return false;
    this.sandboxed++;
    return true;
  }

  #follow(image: Image, thread: Thread, args: readonly bigint[], control: Control): void {
    const [at = 0n, length = 0n, , flags = 0n, fd = 0n, offset = 0n] = args;
    const pages = BigInt(Math.ceil(Number(length) / PAGE_SIZE) * PAGE_SIZE);
    if ((flags & MAP_FIXED) === 0n) {
      control.afterCall(thread, (result) => {
        if (result <= 0n) return;
        this.#noteMapped(image, rangeOf(result, result + pages));
        this.#flush(image);
      });
      return;
    }
    this.#noteMapped(image, rangeOf(at, at + pages));
    if ((flags & MAP_DENYWRITE) === 0n) return;
    const start = this.#moduleStart(
      readFdLink(thread.tid, Number(BigInt.asIntN(32, fd))),
      address(at),
      Number(offset),
    );
    if (start === undefined || start >= at) return;
    image.mapped = [...image.mapped, rangeOf(start, at)];
    if (image.uffd !== undefined) registerRange(image.uffd, rangeOf(start, at));
  }

  #noteMapped(image: Image, range: AddressRange): void {
    image.mapped = [...image.mapped, range];
    if (image.uffd === undefined) return;
    image.unregistered.push(range);
    this.#pending.add(image);
  }

  /** Registers what was mapped since the last notice. */
  #flush(image: Image): void {
    this.#pending.delete(image);
    if (image.unregistered.length === 0 || image.uffd === undefined) return;
    for (const range of image.unregistered) registerRange(image.uffd, range);
    image.unregistered = [];
  }

  /** Where the module begins whose file offset `offset` is being mapped at `at`. */
  #moduleStart(path: string, at: Address, offset: number): bigint | undefined {
    const segments = this.#loadSegments(path);
    const first = segments[0];
    const mapped = segments.find((segment) => pageFloor(segment.offset) === offset);
    if (first === undefined || mapped === undefined) return undefined;
    return at - BigInt(pageFloor(mapped.virtualAddress) - pageFloor(first.virtualAddress));
  }

  #loadSegments(path: string): readonly LoadSegment[] {
    const known = this.#segments.get(path);
    if (known !== undefined) return known;
    const segments = readLoadSegments(path);
    this.#segments.set(path, segments);
    return segments;
  }
}

function readLoadSegments(path: string): readonly LoadSegment[] {
  try {
    const fd = openSync(path, 'r');
    try {
      const start = readBytes(fd, 0, ELF_PREFIX);
      return prefixSegments(fd, Number.MAX_SAFE_INTEGER, start).filter(({ type }) => type === PT_LOAD);
    } finally {
      closeSync(fd);
    }
  } catch {
    return [];
  }
}

const pageFloor = (value: number): number => value - (value % PAGE_SIZE);

const rangeOf = (start: bigint, end: bigint): AddressRange => ({
  start: userAddress(start),
  end: userAddress(end),
});

/** The file mappings, neighbours joined: one registration covers them. */
function fileRanges(mappings: readonly Mapping[]): AddressRange[] {
  const ranges: AddressRange[] = [];
  for (const { start, end, inode } of mappings) {
    if (inode === 0n) continue;
    const previous = ranges.at(-1);
    if (previous !== undefined && previous.end === start)
      ranges[ranges.length - 1] = { start: previous.start, end };
    else ranges.push({ start, end });
  }
  return ranges;
}
