/**
 * Which code a run came to that its image does not let it execute.
 *
 * Problem: an image that was built with `--cold deny` shows where a recording fell short, and where a rewriting
 * left a way into the original: a jump through a table, a pointer in data, the loader's own calls. But the first
 * such place kills the program.
 *
 * Example: `sort -u` was recorded, `sort -r` is run. It comes to `reverse` at 0x4310 of the original's text, which is
 * mapped without the right to execute: SIGSEGV, the address at fault is the instruction's own.
 *
 * Method: the program runs traced. A fault of that kind, in a module of the image, is noted with module
 * and address; the page is made executable by an mprotect in the program's name, and the instruction is
 * tried again. Pages are the grain: what else lies on the page is not noticed any more in this process.
 *
 * Limits: a program that blocks or ignores SIGSEGV has its handler taken away by the kernel at the fault,
 * before a tracer is asked. Each run finds what lies on pages of its own: repeat until nothing is found.
 */
import { randomBytes } from 'node:crypto';
import { pid, type Rva, rva } from '../base/brands.ts';
import type { ElfImage } from '../elf/image.ts';
import { readElfFile } from '../elf/read.ts';
import { PT_LOAD, STT_FUNC, STT_GNU_IFUNC } from '../elf/spec.ts';
import { identifyFile } from '../profile/identity.ts';
import type { Command, Run } from '../profile/model.ts';
import type { Observer, TraceEvent } from '../record/events.ts';
import { findSyscall, withCalls } from '../record/inject.ts';
import { openMemory, type Thread } from '../record/tracees.ts';
import { unitAt } from '../rewrite/analyse.ts';
import type { ModuleAnalysis, Unit } from '../rewrite/model.ts';
import { type Mapping, readMaps } from '../sys/maps.ts';
import { type Fault, getRegisters, SEGV_ACCERR } from '../sys/ptrace.ts';

/** A rewritten module whose unused code cannot be executed. */
export interface DeniedModule {
  /** Of the original, as the program sees it. */
  readonly path: string;
  /** Of the rewritten file. */
  readonly file: string;
  /** Of the rewritten file: under whatever name it is mapped, this tells it. */
  readonly inode: bigint;
}

/** A place that was come to. */
export interface Miss {
  /** Path of the original. */
  readonly module: string;
  /** In the original, and in the rewritten file: it is the same. */
  readonly at: Rva;
  /** How often, over all processes. */
  readonly times: number;
}

/** A place with what lies there. */
export interface NamedMiss extends Miss {
  /** Start of the unit, where the analysis knows one. */
  readonly unit?: Rva;
  /** Why the unit must not move. */
  readonly kept?: string;
  /** `reverse` or `reverse+0x12`: the function symbol that it lies in. */
  readonly name?: string;
}

const SYS_mprotect = 10n;
const PROT_READ_EXEC = 5n;
const PAGE = 4096n;
const LONGEST_INSTRUCTION = 15n;

export class Misses implements Observer {
  readonly wantsFaults = true;
  readonly #modules: ReadonlyMap<bigint, DeniedModule>;
  readonly #images = new Map<string, ElfImage>();
  readonly #found = new Map<string, Miss>();

  constructor(modules: readonly DeniedModule[]) {
    this.#modules = new Map(modules.map((module) => [module.inode, module]));
  }

  /** In the order in which they were come to first. */
  get found(): readonly Miss[] {
    return [...this.#found.values()];
  }

  observe(event: TraceEvent): void {
    if (event.kind !== 'fault' || event.fault.code !== SEGV_ACCERR) return;
    const { fault, thread } = event;
    if (!isFetch(fault, thread)) return;
    const mappings = readMaps(pid(thread.process.pid));
    const mapping = mappings.find(({ start, end }) => start <= fault.at && fault.at < end);
    const module = mapping === undefined ? undefined : this.#modules.get(mapping.inode);
    // Code that nobody was to execute anyway is none of ours.
    if (mapping === undefined || module === undefined || mapping.executable) return;
    if (!allowPage(thread, mappings, fault.at)) return;
    event.handled = true;
    this.#note(module, mapping, fault.at);
  }

  #note(module: DeniedModule, mapping: Mapping, at: bigint): void {
    const offset = mapping.offset + Number(at - BigInt(mapping.start));
    const image = this.#images.get(module.file) ?? readElfFile(module.file);
    this.#images.set(module.file, image);
    const segment = image.segments.find(
      (one) => one.type === PT_LOAD && offset >= one.offset && offset < one.offset + one.fileSize,
    );
    if (segment === undefined) return;
    const place = rva(segment.rva + (offset - segment.offset));
    const key = `${module.path}\0${place}`;
    const known = this.#found.get(key);
    this.#found.set(key, { module: module.path, at: place, times: (known?.times ?? 0) + 1 });
  }
}

/** Whether the instruction itself could not be read, at its start or where it goes on on the next page. */
function isFetch({ at }: Fault, thread: Thread): boolean {
  const rip = getRegisters(thread.tid).get('rip');
  return at === rip || (at % PAGE === 0n && at > rip && at - rip < LONGEST_INSTRUCTION);
}

function allowPage(thread: Thread, mappings: readonly Mapping[], at: bigint): boolean {
  const memory = openMemory(thread);
  const syscallAt = memory === undefined ? 0n : findSyscall(memory, mappings);
  if (syscallAt === 0n) return false;
  const page = at - (at % PAGE);
  const result = withCalls(thread.tid, syscallAt, (call) => call(SYS_mprotect, page, PAGE, PROT_READ_EXEC));
  return result === 0n;
}

/** The misses with names; distinct by module and unit, in their order. */
export function nameMisses(
  misses: readonly Miss[],
  analysisOf: (image: ElfImage) => ModuleAnalysis | undefined,
): NamedMiss[] {
  const known = new Map<
    string,
    { readonly name: (at: Rva) => string | undefined; readonly unit: (at: Rva) => Unit | undefined }
  >();
  return misses.map((miss) => {
    const module = known.get(miss.module) ?? describer(readElfFile(miss.module), analysisOf);
    known.set(miss.module, module);
    const unit = module.unit(miss.at);
    const name = module.name(miss.at);
    return {
      ...miss,
      ...(unit === undefined ? {} : { unit: unit.start }),
      ...(unit?.kept === undefined ? {} : { kept: unit.kept }),
      ...(name === undefined ? {} : { name }),
    };
  });
}

function describer(image: ElfImage, analysisOf: (image: ElfImage) => ModuleAnalysis | undefined) {
  const functions = [...image.staticSymbols, ...image.symbols].flatMap(({ type, name, size, rva: start }) =>
    (type === STT_FUNC || type === STT_GNU_IFUNC) && start !== undefined ? [{ name, start, size }] : [],
  );
  functions.sort((a, b) => a.start - b.start);
  const analysis = analysisOf(image);
  return {
    unit: (at: Rva) => (analysis === undefined ? undefined : unitAt(analysis, at)),
    name: (at: Rva) => {
      const symbol = functions.findLast(({ start, size }) => start <= at && at < start + Math.max(size, 1));
      if (symbol === undefined) return undefined;
      const into = at - symbol.start;
      return into === 0 ? symbol.name : `${symbol.name}+0x${into.toString(16)}`;
    },
  };
}

/**
 * A run that entered what was missed and saw nothing else, so that a profile takes the functions from it and
 * nothing more.
 */
export function runOfMisses(
  misses: readonly NamedMiss[],
  frame: Pick<Run, 'startedAt' | 'durationMs' | 'ended'> & {
    readonly command: Command;
    readonly kernel: string;
  },
): Run {
  const { kernel, ...rest } = frame;
  const paths = [...new Set(misses.map(({ module }) => module))];
  return {
    id: randomBytes(16).toString('hex'),
    ...rest,
    method: { pages: 'fault-around', lookups: 'unseen', functions: 'seen', kernel },
    files: paths.map((path) => ({ path, identity: identifyFile(path) })),
    processes: [],
    lookups: [],
    entered: paths.map((path, file) => ({
      file,
      entries: [...new Set(misses.filter(({ module }) => module === path).map(({ at, unit }) => unit ?? at))],
    })),
    notes: [],
  };
}
