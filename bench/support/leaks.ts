/**
 * Why a program with copies of all its functions came to original code all the same.
 *
 * Each place is one of: in a unit that the rewriting refuses, with its reason; in a copied unit of a program with fixed
 * addresses, where addresses of functions stay the originals' and others can know this one's; in a copied unit whose
 * jump table or landing pads stay; a copied unit that code which stays leads to. Whatever else there is, behind an indirect jump that is not seen to go through a
 * table too, is not explained, and counts as a fault. A place need not be an entry: a page is noticed when it is come to
 * first, perhaps in the middle of what began on another one.
 */
import type { ElfImage } from '../../src/elf/image.ts';
import { readElfFile } from '../../src/elf/read.ts';
import { ET_EXEC, STT_FUNC } from '../../src/elf/spec.ts';
import { analyseModule, findUnitParts, functionOf, rangeOf, unitAt } from '../../src/rewrite/analyse.ts';
import { findJumpTables } from '../../src/rewrite/jump-tables.ts';
import { type Kept, type ModuleAnalysis, REFERENCE_ADDRESS, type Unit } from '../../src/rewrite/model.ts';
import { rewriteModule } from '../../src/rewrite/rewrite.ts';
import type { UnitParts } from '../../src/rewrite/unit-parts.ts';
import { namedAddresses } from '../../src/select/fixed-addresses.ts';
import { decodeRange } from '../../src/x86/decode.ts';

export interface Leak {
  readonly module: string;
  readonly at: string;
  readonly name: string;
  /** The programs that came to it. */
  readonly programs: string[];
  readonly reason: string;
  readonly explained: boolean;
}

export interface Explanation {
  readonly reason: string;
  readonly explained: boolean;
}

export const FIXED_ADDRESS = 'its address is a plain number in a program with fixed addresses';

/** Fields in code that stays are changed only where that is certain to be code. */
export const LED_HERE = 'code leads here that stays';

/** Compilers may keep what they read from a table on the stack, far from the jump: then nobody sees a table. */
export const UNKNOWN_JUMP = 'its unit has an indirect jump that is not seen to go through a table';

/** Explains places of one module. */
export class LeakExplainer {
  readonly #image: ElfImage;
  readonly #analysis: ModuleAnalysis;
  readonly #isFixed: boolean;
  readonly #cloned: ReadonlySet<number>;
  readonly #kept: readonly Kept[];
  readonly #parts: UnitParts;
  /** Starts of functions with names, ascending. */
  readonly #functions: readonly { readonly name: string; readonly at: number }[];
  #known: ReadonlySet<number> | undefined;
  #ledTo: ReadonlyMap<number, string> | undefined;

  constructor(path: string) {
    const image = readElfFile(path);
    const analysis = analyseModule(image);
    if ('kind' in analysis) throw new Error(`${path}: ${analysis.reason}`);
    const hot = analysis.units.map(({ start }) => start);
    const result = rewriteModule(image, analysis, { hot, cold: 'deny' });
    if (result.kind === 'kept') throw new Error(`${path}: ${result.reason}`);
    this.#image = image;
    this.#analysis = analysis;
    this.#isFixed = image.header.type === ET_EXEC;
    this.#cloned = new Set(result.map.clones.map(({ unit }) => unit.start));
    this.#kept = result.kept;
    this.#parts = findUnitParts(image, analysis);
    this.#functions = [...image.symbols, ...image.staticSymbols]
      .flatMap(({ type, name, rva: start }) =>
        type === STT_FUNC && start !== undefined ? [{ name, at: start }] : [],
      )
      .toSorted((a, b) => a.at - b.at);
  }

  /** For a place without a symbol of its own: how far in which function, and behind which one with a name. */
  nameOf(at: number): string {
    const start = unitAt(this.#analysis, at)?.start;
    if (start === undefined) return '';
    const into = at === start ? '' : `+0x${(at - start).toString(16)}`;
    const before = this.#functions.findLast((one) => one.at <= start);
    return `0x${start.toString(16)}${into}${before === undefined ? '' : `, behind ${before.name}`}`;
  }

  explain(at: number): Explanation {
    const unit = unitAt(this.#analysis, at);
    if (unit === undefined) return { reason: 'code that is in no unit', explained: false };
    const whole = [unit, ...this.#parts.partsOf(unit)];
    const [own] = this.#keptIn(unit);
    if (!this.#cloned.has(unit.start)) {
      const reason = own?.reason ?? unit.kept;
      return { reason: reason ?? 'not copied, nobody knows why', explained: reason !== undefined };
    }
    // A kept table of `f` leads to `f.cold` too.
    const [stayed] = whole.flatMap((part) => [...this.#keptIn(part), ...this.#keptTables(part)]);
    if (stayed !== undefined) return { reason: stayed.reason, explained: true };
    // Called by its number, a function runs in its old place; so do the parts that its jump table leads to there.
    const called = [...whole, ...functionOf(this.#analysis, unit).slice(0, 1)];
    if (this.#isFixed && called.some(({ entries }) => entries.some((entry) => this.#isKnown(entry))))
      return { reason: FIXED_ADDRESS, explained: true };
    const [leading] = whole.flatMap(({ entries }) =>
      entries.flatMap((entry) => this.#leadingHere(entry) ?? []),
    );
    if (leading !== undefined) return { reason: `${LED_HERE}: ${leading}`, explained: true };
    const jumps = at === unit.start ? 0 : indirectJumps(this.#image, unit);
    if (jumps > 0) return { reason: UNKNOWN_JUMP, explained: false };
    return { reason: 'copied, and nobody knows the way here', explained: false };
  }

  #keptIn({ start, end }: Unit): readonly Kept[] {
    return this.#kept.filter(({ at }) => at !== undefined && at >= start && at < end);
  }

  /** Those that stay are told by where they stand themselves, not by their unit. */
  #keptTables(unit: Unit): readonly Kept[] {
    const whole = functionOf(this.#analysis, unit);
    const isAlone = (): boolean => this.#parts.areAlone(whole);
    return findJumpTables(this.#image, rangeOf(whole), this.#parts.insideAll(whole), isAlone).kept;
  }

  /** Of code that stays and leads to a place: why it stays. */
  #leadingHere(entry: number): string | undefined {
    this.#ledTo ??= targetsOf(
      this.#image,
      this.#analysis.units.filter(({ start }) => !this.#cloned.has(start)),
      ({ kept, start }) => kept ?? this.#kept.find(({ at }) => at === start)?.reason ?? '',
    );
    return this.#ledTo.get(entry);
  }

  /** Whether the address stands somewhere as a number, is made by an instruction, or is told to other modules. */
  #isKnown(entry: number): boolean {
    if (this.#known === undefined) {
      const all = new Set<number>(this.#analysis.units.flatMap(({ entries }) => entries));
      const exported = this.#image.symbols.flatMap(({ rva: start }) => start ?? []);
      const { kind, target } = this.#analysis.references;
      const made = target.filter((_, row) => kind[row] === REFERENCE_ADDRESS);
      this.#known = new Set<number>([...namedAddresses(this.#image, all), ...exported, ...made]);
    }
    return this.#known.has(entry);
  }
}

function indirectJumps(image: ElfImage, { start, end }: Unit): number {
  const offset = image.offsetOf(start);
  if (offset === undefined) return 0;
  let count = 0;
  decodeRange(image.bytes.subarray(offset, offset + (end - start)), start, ({ flow }) => {
    if (flow === 'indirect-jump') count++;
  });
  return count;
}

/** Where direct branches of some units lead, each with what `reasonOf` says of one of the units. */
function targetsOf(
  image: ElfImage,
  units: readonly Unit[],
  reasonOf: (unit: Unit) => string,
): ReadonlyMap<number, string> {
  const found = new Map<number, string>();
  for (const unit of units) {
    const offset = image.offsetOf(unit.start);
    if (offset === undefined) continue;
    decodeRange(image.bytes.subarray(offset, offset + (unit.end - unit.start)), unit.start, ({ target }) => {
      if (target >= 0) found.set(target, reasonOf(unit));
    });
  }
  return found;
}

/** The places of all programs, each once. */
export class Leaks {
  readonly #found = new Map<string, Leak>();
  readonly #explainers = new Map<string, LeakExplainer>();

  get all(): readonly Leak[] {
    return [...this.#found.values()].toSorted((a, b) =>
      `${a.module} ${a.at}` < `${b.module} ${b.at}` ? -1 : 1,
    );
  }

  /** @param folder of the program's own modules, left out of their names. */
  add(
    program: string,
    folder: string,
    { module, at, name }: { module: string; at: number; name?: string | undefined },
  ): void {
    const shown = module.replace(`${folder}/`, '');
    const key = `${shown} ${at}`;
    const known = this.#found.get(key);
    if (known !== undefined) {
      if (!known.programs.includes(program)) known.programs.push(program);
      return;
    }
    const explainer = this.#explainers.get(module) ?? new LeakExplainer(module);
    this.#explainers.set(module, explainer);
    const place = `0x${at.toString(16)}`;
    this.#found.set(key, {
      module: shown,
      at: place,
      name: name ?? explainer.nameOf(at),
      programs: [program],
      ...explainer.explain(at),
    });
  }
}
