/** ELF program headers as they are mapped: what a stopped process has, whatever became of the files. */
import { PT_DYNAMIC, PT_LOAD } from '../../elf/spec.ts';
import { AT, type Auxv } from './auxv.ts';
import type { TraceeMemory } from './tracee-memory.ts';

export interface LoadedSegment {
  readonly type: number;
  /** `p_vaddr`: an RVA. */
  readonly at: number;
  readonly memSize: number;
  readonly align: number;
}

const PHDR_SIZE = 56;
const DYN_SIZE = 16;
const EHDR = { entry: 24, phoff: 32, phnum: 56, size: 64 } as const;
const MAGIC = 0x464c457f;
const DT_DEBUG = 21;

function readSegments(memory: TraceeMemory, at: number, count: number): readonly LoadedSegment[] {
  const bytes = memory.read(at, count * PHDR_SIZE);
  return Array.from({ length: count }, (_, index) => {
    const header = bytes.subarray(index * PHDR_SIZE, (index + 1) * PHDR_SIZE);
    return {
      type: header.readUInt32LE(0),
      at: Number(header.readBigUInt64LE(16)),
      memSize: Number(header.readBigUInt64LE(40)),
      align: Number(header.readBigUInt64LE(48)),
    };
  });
}

/** The segments of the program, by AT_PHDR. */
export const programSegments = (memory: TraceeMemory, auxv: Auxv): readonly LoadedSegment[] =>
  readSegments(memory, Number(auxv.get(AT.phdr) ?? 0n), Number(auxv.get(AT.phnum) ?? 0n));

/** The segments of a module whose ELF header stands at `at`; none where none stands there. */
export function segmentsAt(memory: TraceeMemory, at: number): readonly LoadedSegment[] {
  const header = memory.read(at, EHDR.size);
  if (header.readUInt32LE(0) !== MAGIC) return [];
  return readSegments(
    memory,
    at + Number(header.readBigUInt64LE(EHDR.phoff)),
    header.readUInt16LE(EHDR.phnum),
  );
}

/** From the first to the last page of PT_LOAD segments: RVAs, and the largest p_align. */
export function extentOf(segments: readonly LoadedSegment[]): {
  readonly first: number;
  readonly end: number;
  readonly align: number;
} {
  const PAGE = 4096;
  const loads = segments.filter(({ type, memSize }) => type === PT_LOAD && memSize > 0);
  const first = Math.min(...loads.map(({ at }) => at));
  const end = Math.max(...loads.map(({ at, memSize }) => at + memSize));
  const align = Math.max(PAGE, ...loads.map((load) => load.align));
  return { first: Math.floor(first / PAGE) * PAGE, end: Math.ceil(end / PAGE) * PAGE, align };
}

export interface LinkMap {
  /** `l_name` */
  readonly name: string;
  /** Address of its dynamic section. */
  readonly dynamicAt: number;
}

const MOST_MODULES = 100_000;

/** The loader's list of modules, by the program's DT_DEBUG; undefined where it has none. */
export function linkMaps(memory: TraceeMemory, auxv: Auxv, bias: number): readonly LinkMap[] | undefined {
  const dynamic = programSegments(memory, auxv).find(({ type }) => type === PT_DYNAMIC);
  if (dynamic === undefined) return undefined;
  const entries = memory.read(bias + dynamic.at, dynamic.memSize);
  let debug = 0;
  for (let at = 0; at + DYN_SIZE <= entries.length; at += DYN_SIZE) {
    if (Number(entries.readBigUInt64LE(at)) === DT_DEBUG) debug = Number(entries.readBigUInt64LE(at + 8));
  }
  if (debug === 0) return undefined;
  const found: LinkMap[] = [];
  let map = Number(memory.word(debug + 8));
  while (map !== 0 && found.length < MOST_MODULES) {
    const bytes = memory.read(map, 32);
    const name = memory.text(Number(bytes.readBigUInt64LE(8))) ?? '';
    found.push({ name, dynamicAt: Number(bytes.readBigUInt64LE(16)) });
    map = Number(bytes.readBigUInt64LE(24));
  }
  return found;
}
