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
 * the compiler's start-up code these branch to), and the PLT stubs that any used unit leads to, copied or not: branches of originals lead to copies too. Stubs are 16 bytes each and
 * used from everywhere, so they stand together.
 *
 * Limits: a unit that must not move stays, and what it does runs the original.
 */
import { type Rva, rva } from '../base/brands.ts';
import { viewOf } from '../elf/bytes.ts';
import type { ElfImage } from '../elf/image.ts';
import * as spec from '../elf/spec.ts';
import { rowsOf, unitAt } from '../rewrite/analyse.ts';
import { functionArrays, wordsOfArrays } from '../rewrite/function-arrays.ts';
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
  const stayed = new Map<string, number>();
  const used = new Set<Unit>();
  const cold = new Set<Unit>();
  for (const at of entered) {
    const unit = unitAt(analysis, at);
    if (unit !== undefined && unit.kept === undefined) {
      used.add(unit);
      continue;
    }
    if (unit !== undefined) cold.add(unit);
    const reason = unit?.kept ?? NO_UNIT;
    stayed.set(reason, (stayed.get(reason) ?? 0) + 1);
  }
  const always = startUnits(image, analysis);
  const stubs = stubUnits(image, analysis, [...always, ...used, ...cold]);
  const units = new Set([...always, ...stubs, ...used].filter(({ kept }) => kept === undefined));
  return { units: [...units], stayed, cold: [...cold] };
}

/** The units that fields inside `unit` lead to. */
function* targetsOf(analysis: ModuleAnalysis, unit: Unit): Generator<Unit> {
  const { references } = analysis;
  for (const row of rowsOf(references, unit)) {
    const to = unitAt(analysis, references.target[row] ?? 0);
    if (to !== undefined) yield to;
  }
}

/** What runs at every start and end, and the compiler's start-up code (crtstuff) that it branches to. */
function startUnits(image: ElfImage, analysis: ModuleAnalysis): Unit[] {
  const roots = [
    image.header.entry,
    image.dynamic.value(spec.DT_INIT) ?? 0,
    image.dynamic.value(spec.DT_FINI) ?? 0,
    ...arrayEntries(image),
  ];
  const found = new Set<Unit>();
  for (const at of roots) {
    const unit = at === 0 ? undefined : unitAt(analysis, at);
    if (unit !== undefined) found.add(unit);
  }
  // A set is walked to its end while it grows.
  for (const unit of found) {
    if (!isStartUpCode(unit)) continue;
    for (const to of targetsOf(analysis, unit)) if (isStartUpCode(to)) found.add(to);
  }
  return [...found];
}

/** Code without an FDE, where short branches do not hide it in a cluster. */
const isStartUpCode = ({ kind }: Unit): boolean => kind === 'fragment' || kind === 'cluster';

/** Where the functions start that the loader calls: from relocations of its arrays, or their words. */
function arrayEntries(image: ElfImage): readonly number[] {
  if (image.header.type === spec.ET_EXEC) return wordsOfArrays(image);
  return functionArrays(image).flatMap(({ start, end }) =>
    image.relocations
      .filter((one) => one.type === spec.R_X86_64_RELATIVE && one.rva >= start && one.rva < end)
      .map(({ addend }) => Number(addend)),
  );
}

function wordAt(image: ElfImage, at: number): number | undefined {
  const offset = image.offsetOf(rva(at));
  if (offset === undefined || offset + 8 > image.bytes.length) return undefined;
  const value = viewOf(image.bytes).getBigUint64(offset, true);
  return value < 2n ** 53n ? Number(value) : undefined;
}

/**
 * The PLT stubs that `units` lead to. Where calls are bound at their first use the slot of a stub first leads
 * back into the PLT, to a pair of instructions that goes on to the first entry and the loader.
 */
function stubUnits(image: ElfImage, analysis: ModuleAnalysis, units: readonly Unit[]): Unit[] {
  const found = new Set<Unit>();
  for (const unit of units) {
    for (const to of targetsOf(analysis, unit)) if (to.kind === 'plt') found.add(to);
  }
  if (bindsNow(image)) return [...found];
  for (const stub of found) {
    const slot = slotOf(image, stub);
    const back = slot === undefined ? undefined : unitAt(analysis, wordAt(image, slot) ?? 0);
    if (back?.kind === 'plt') found.add(back);
    for (const to of targetsOf(analysis, stub)) if (to.kind === 'plt') found.add(to);
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
