/**
 * Which units of a module are copied, and in which order.
 *
 * Problem: a recording tells at which addresses code was entered. Some code runs that no breakpoint saw:
 * a PLT stub is passed through, `.init` is called by the loader before anything can be planted.
 *
 * Example: `main` was entered and calls `puts`. Copied are `main`, the PLT stub of `puts` that its call leads to,
 * where calls are bound lazily also the stub's second half and the PLT's first entry, and `.init`, `.fini` and what these
 * reach of the compiler's start-up code.
 *
 * Method: the units that hold entered addresses, in the order of first use; in front of them what runs
 * whatever the program does (the entry point, DT_INIT, DT_FINI, constructors, destructors, and what of
 * the compiler's start-up code these branch to), and the PLT stubs that any copied unit leads to. Stubs are 16 bytes each and
 * used from everywhere, so they stand together.
 *
 * Limits: a unit that must not move stays, and what it does runs the original.
 */
import { type Rva, rva } from '../base/brands.ts';
import type { ElfImage } from '../elf/image.ts';
import * as spec from '../elf/spec.ts';
import { unitAt } from '../rewrite/analyse.ts';
import type { ModuleAnalysis, Unit } from '../rewrite/model.ts';

export interface HotUnits {
  /** In the order in which their copies should lie. Each once. */
  readonly units: readonly Unit[];
  /** Entered addresses that stay where they are, by reason. */
  readonly stayed: ReadonlyMap<string, number>;
  /** Units that hold entered addresses and must not move: their pages go on being used. */
  readonly cold: readonly Unit[];
}

const NO_UNIT = 'an address in code that belongs to no unit';
const DF_BIND_NOW = 8;
const DF_1_NOW = 1;

/** @param entered in the order of first use. */
export function chooseHotUnits(image: ElfImage, analysis: ModuleAnalysis, entered: readonly Rva[]): HotUnits {
  const code = new Code(analysis);
  const stayed = new Map<string, number>();
  const used = new Set<Unit>();
  const cold = new Set<Unit>();
  for (const at of entered) {
    const unit = code.unitAt(at);
    if (unit !== undefined && unit.kept === undefined) {
      used.add(unit);
      continue;
    }
    if (unit !== undefined) cold.add(unit);
    const reason = unit?.kept ?? NO_UNIT;
    stayed.set(reason, (stayed.get(reason) ?? 0) + 1);
  }
  const always = startUnits(image, code);
  const stubs = stubUnits(image, code, [...always, ...used]);
  const units = new Set([...always, ...stubs, ...used].filter(({ kept }) => kept === undefined));
  return { units: [...units], stayed, cold: [...cold] };
}

/** The analysis, asked by address. */
class Code {
  readonly #analysis: ModuleAnalysis;

  constructor(analysis: ModuleAnalysis) {
    this.#analysis = analysis;
  }

  unitAt(at: number): Unit | undefined {
    return unitAt(this.#analysis, at);
  }

  /** The units that fields inside `unit` lead to. */
  *targetsOf(unit: Unit): Generator<Unit> {
    const { field, target } = this.#analysis.references;
    const first = lowerBound(field.length, (index) => (field[index] ?? 0) >= unit.start);
    for (let index = first; (field[index] ?? unit.end) < unit.end; index += 1) {
      const to = this.unitAt(target[index] ?? 0);
      if (to !== undefined) yield to;
    }
  }
}

/** The first index for which `isAbove` holds, or `length`; it must go on holding from there. */
function lowerBound(length: number, isAbove: (index: number) => boolean): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isAbove(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** What runs at every start and end, and the compiler's start-up code (crtstuff) that it branches to. */
function startUnits(image: ElfImage, code: Code): Unit[] {
  const roots = [
    image.header.entry,
    image.dynamic.value(spec.DT_INIT) ?? 0,
    image.dynamic.value(spec.DT_FINI) ?? 0,
    ...arrayEntries(image, spec.DT_PREINIT_ARRAY, spec.DT_PREINIT_ARRAYSZ),
    ...arrayEntries(image, spec.DT_INIT_ARRAY, spec.DT_INIT_ARRAYSZ),
    ...arrayEntries(image, spec.DT_FINI_ARRAY, spec.DT_FINI_ARRAYSZ),
  ];
  const found = new Set<Unit>();
  for (const at of roots) {
    const unit = at === 0 ? undefined : code.unitAt(at);
    if (unit !== undefined) found.add(unit);
  }
  // A set is walked to its end while it grows.
  for (const unit of found) {
    if (!isStartUpCode(unit)) continue;
    for (const to of code.targetsOf(unit)) if (isStartUpCode(to)) found.add(to);
  }
  return [...found];
}

/** Code without an FDE, where short branches do not hide it in a cluster. */
const isStartUpCode = ({ kind }: Unit): boolean => kind === 'fragment' || kind === 'cluster';

/** Where the functions of an array of the dynamic section start: from its relocations, or its words. */
function arrayEntries(image: ElfImage, tag: number, sizeTag: number): number[] {
  const start = image.dynamic.value(tag);
  const size = image.dynamic.value(sizeTag) ?? 0;
  if (start === undefined || size === 0) return [];
  const words = image.header.type === spec.ET_EXEC ? wordsAt(image, start, size) : [];
  const relocated = image.relocations
    .filter((one) => one.type === spec.R_X86_64_RELATIVE && one.rva >= start && one.rva < start + size)
    .map(({ addend }) => Number(addend));
  return [...words, ...relocated];
}

function wordsAt(image: ElfImage, start: number, size: number): number[] {
  return Array.from({ length: Math.floor(size / 8) }, (_, index) => wordAt(image, start + index * 8) ?? 0);
}

function wordAt(image: ElfImage, at: number): number | undefined {
  const offset = image.offsetOf(rva(at));
  if (offset === undefined || offset + 8 > image.bytes.length) return undefined;
  const value = viewOf(image.bytes).getBigUint64(offset, true);
  return value < 2n ** 53n ? Number(value) : undefined;
}

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/**
 * The PLT stubs that `units` lead to. Where calls are bound at their first use the slot of a stub first leads
 * back into the PLT, to a pair of instructions that goes on to the first entry and the loader.
 */
function stubUnits(image: ElfImage, code: Code, units: readonly Unit[]): Unit[] {
  const found = new Set<Unit>();
  for (const unit of units) {
    for (const to of code.targetsOf(unit)) if (to.kind === 'plt') found.add(to);
  }
  if (bindsNow(image)) return [...found];
  for (const stub of found) {
    const slot = slotOf(image, stub);
    const back = slot === undefined ? undefined : code.unitAt(wordAt(image, slot) ?? 0);
    if (back?.kind === 'plt') found.add(back);
    for (const to of code.targetsOf(stub)) if (to.kind === 'plt') found.add(to);
  }
  return [...found].sort((a, b) => a.start - b.start);
}

function bindsNow(image: ElfImage): boolean {
  const { dynamic } = image;
  return (
    dynamic.value(spec.DT_BIND_NOW) !== undefined ||
    ((dynamic.value(spec.DT_FLAGS) ?? 0) & DF_BIND_NOW) !== 0 ||
    ((dynamic.value(spec.DT_FLAGS_1) ?? 0) & DF_1_NOW) !== 0
  );
}

/** Where the stub's `jmp *slot(%rip)` (ff 25 disp32) finds its address; undefined where it has none. */
function slotOf(image: ElfImage, stub: Unit): number | undefined {
  const from = image.offsetOf(stub.start);
  if (from === undefined) return undefined;
  const bytes = image.bytes.subarray(from, from + (stub.end - stub.start));
  const at = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).indexOf(Buffer.of(0xff, 0x25));
  if (at < 0 || at + 6 > bytes.length) return undefined;
  return stub.start + at + 6 + viewOf(bytes).getInt32(at + 2, true);
}
