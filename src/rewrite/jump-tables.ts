/**
 * The jump tables of one unit: which of them a copy of the unit can have copies of.
 *
 * Problem: `switch` jumps through a table of distances, or of addresses in programs with fixed ones. A copy of the
 * unit that keeps using it leaves the copy at every switch.
 * Example: `cmp $6, %edi; ja default; lea T, %rdx; movslq (%rdx,%rdi,4), %rax; add %rdx, %rax; jmp *%rax`. The copy's
 * lea shall lead to a copy of T whose seven entries lead to the copy's labels.
 * Method: every instruction whose operand is an address where a table of this unit may stand (an early entry leads
 * to the unit) is a candidate. table-flow.ts follows what it makes through the code. It is a table's address if it
 * comes to a jump through an entry, and may be changed if it is used for nothing else. Each candidate stands for
 * itself: what leads to the original table goes on doing so, and the jump is right with either. table-entries.ts
 * says how long the copy must be; table-bounds.ts shortens it where the code proves how many entries are used.
 * Limits: tables whose address is made from another's, or comes from memory, stay, and so do those that begin
 * with many entries for code elsewhere. Where the jump's target is computed from a label's address (printf's
 * tables) nothing needs to be changed; tables in relocated data follow their relocations.
 */
import { type Rva, rva } from '../base/brands.ts';
import type { ElfImage } from '../elf/image.ts';
import { R_X86_64_RELATIVE } from '../elf/spec.ts';
import type { Kept } from './model.ts';
import { type Bound, boundOf } from './table-bounds.ts';
import { type Candidate, findCandidates, looksLikeTable } from './table-candidates.ts';
import { type CodeRange, findEndings, LandingPads, TableCode } from './table-code.ts';
import type { TableKind } from './table-entries.ts';
import { type Walk, type WalkedCode, walkFrom } from './table-flow.ts';

/** A table that a copy of the unit gets a copy of. */
export interface JumpTable {
  /**
   * `relative`: 4-byte entries, each a distance from the table's start. `absolute`: 8-byte addresses
   * (ET_EXEC).
   */
  readonly kind: TableKind;
  readonly at: Rva;
  /** The 4-byte fields in the unit that must lead to the table's copy. */
  readonly fields: readonly Rva[];
  /** Of each field: bytes from its start to the end of its instruction if it is pc-relative; 0: it is an address. */
  readonly tails: readonly number[];
  /**
   * Where the entries lead, in their order; inside the unit and its parts, or elsewhere in code. There may be
   * more than the true table has: those are never used.
   */
  readonly targets: readonly Rva[];
}

export interface JumpTables {
  readonly tables: readonly JumpTable[];
  /** Tables that stay as they are: the unit's copy then jumps to the original through them. */
  readonly kept: readonly Kept[];
  /** Indirect jumps that are no tables: tail calls and computed gotos through relocated data. */
  readonly otherJumps: number;
}

const NOTHING: JumpTables = { tables: [], kept: [], otherJumps: 0 };

/**
 * @param inside Whether an address lies in the unit or in a part that belongs to it (`.cold`).
 */
export function findJumpTables(
  image: ElfImage,
  unit: CodeRange,
  inside: (at: number) => boolean,
): JumpTables {
  const code = new TableCode(image, unit, inside);
  try {
    return code.jumps.length === 0 ? NOTHING : new Search(image, code).run();
  } finally {
    code.free();
  }
}

const NOT_FOUND = 'a jump table whose address is not found';
const PASSES_UNKNOWN = 'the address of a jump table comes to one that is not found';
const TOO_SHORT = 'a jump table is shorter than its bound';

class Search {
  readonly #code: TableCode;
  readonly #facts: ImageFacts;
  readonly #candidates: readonly Candidate[];
  /** Where the indirect jumps lead that a walk has reached. */
  readonly #resolved = new Map<number, Set<number>>();
  #labels: readonly number[] | undefined;
  /** Functions that do not return; looked for only where it may help. */
  #endings: ReadonlySet<number> = new Set();

  constructor(image: ElfImage, code: TableCode) {
    this.#code = code;
    this.#facts = factsOf(image);
    this.#candidates = findCandidates(code);
  }

  run(): JumpTables {
    this.#walkAll();
    if (this.#candidates.some(({ walk }) => walk?.misuse !== undefined && walk.dispatches.size > 0)) {
      this.#endings = this.#facts.endings();
      // Jumps that only such ways came to lead elsewhere.
      this.#resolved.clear();
      this.#walkAll();
    }
    const kept: Kept[] = [];
    const tables = new Map<string, Candidate[]>();
    for (const candidate of this.#candidates) {
      if ((candidate.walk?.dispatches.size ?? 0) === 0) continue;
      const reason = this.#reasonAgainst(candidate);
      if (reason !== undefined) kept.push({ kind: 'kept', reason, at: rva(candidate.address) });
      else addTo(tables, `${candidate.kind} ${candidate.address}`, candidate);
    }
    let otherJumps = 0;
    for (const jump of this.#code.jumps) {
      if (this.#resolved.has(jump)) continue;
      if (looksLikeTable(this.#code, jump)) kept.push({ kind: 'kept', reason: NOT_FOUND, at: rva(jump) });
      else otherJumps++;
    }
    return { tables: [...tables.values()].map((group) => this.#tableOf(group)), kept, otherJumps };
  }

  /** Each walk needs to know where the other jumps lead that it meets: until nothing more is learnt. */
  #walkAll(): void {
    const walked = this.#walkedCode();
    for (let work = this.#candidates; work.length > 0; ) {
      const changed = new Set<number>();
      const again = new Set<Candidate>();
      for (const candidate of work) {
        candidate.walk = walkFrom(walked, candidate);
        const count = this.#likelyEntries(candidate);
        if (count > candidate.targets.length) {
          candidate.targets = candidate.all.slice(0, count);
          again.add(candidate);
        }
        for (const jump of candidate.walk.dispatches)
          if (this.#resolve(jump, candidate.targets)) changed.add(jump);
      }
      work = this.#candidates.filter(
        (candidate) =>
          again.has(candidate) || [...(candidate.walk?.passed ?? [])].some((at) => changed.has(at)),
      );
    }
  }

  /** How many entries the jumps through them use, as far as bounds or another table behind it tell. */
  #likelyEntries({ walk, address, all, kind }: Candidate): number {
    if (walk === undefined || walk.dispatches.size === 0) return 0;
    const bounds = this.#boundsOf(walk).map((bound) => bound?.entries ?? Number.POSITIVE_INFINITY);
    const most = Math.max(...bounds);
    if (Number.isFinite(most)) return Math.min(most, all.length);
    const next = this.#code.addressOperands.reduce(
      (nearest, operand) => (operand.address > address ? Math.min(nearest, operand.address) : nearest),
      Number.POSITIVE_INFINITY,
    );
    return Math.min(all.length, Math.ceil((next - address) / (kind === 'relative' ? 4 : 8)));
  }

  #boundsOf(walk: Walk): (Bound | undefined)[] {
    return [...walk.loads].map((at) => {
      const load = this.#code.at(at);
      return load === undefined ? undefined : boundOf(this.#code, load);
    });
  }

  /** True where it is new that the jump leads there. */
  #resolve(jump: number, targets: readonly number[]): boolean {
    const known = this.#resolved.get(jump) ?? new Set();
    const before = known.size;
    for (const target of targets) known.add(target);
    this.#resolved.set(jump, known);
    return known.size > before;
  }

  #walkedCode(): WalkedCode {
    const code = this.#code;
    return {
      at: (address) => code.at(address),
      inside: (address) => code.inside(address),
      isLocal: (address) => address !== code.start && code.inside(address),
      padOf: (address) => this.#facts.pads.padOf(address),
      isForeign: (target) => code.isStub(target),
      returns: ({ at, length, target }) =>
        !this.#endings.has(target) || !this.#isReached(code.skipPadding(at + length)),
      targetsOf: (jump) => this.#resolved.get(jump) ?? this.#labelsInside(),
    };
  }

  /** Control comes there otherwise than from above. */
  #isReached(at: number): boolean {
    if (this.#code.joins.includes(at) || this.#labelsInside().includes(at) || this.#facts.pads.has(at))
      return true;
    return [...this.#resolved.values()].some((targets) => targets.has(at));
  }

  #labelsInside(): readonly number[] {
    this.#labels ??= this.#facts.labels().filter(this.#code.inside);
    return this.#labels;
  }

  #reasonAgainst({ walk, all }: Candidate): string | undefined {
    if (walk === undefined) return undefined;
    if (walk.misuse !== undefined) return walk.misuse.reason;
    if (walk.stored !== undefined && !walk.isSure) return walk.stored.reason;
    for (const jump of walk.passed)
      if (!this.#resolved.has(jump) && looksLikeTable(this.#code, jump)) return PASSES_UNKNOWN;
    if (this.#boundsOf(walk).some((bound) => bound !== undefined && bound.entries > all.length))
      return TOO_SHORT;
    return undefined;
  }

  #tableOf(group: readonly Candidate[]): JumpTable {
    const [first] = group;
    const all = first?.all ?? [];
    const bounds = group.flatMap(({ walk }) =>
      walk === undefined ? [undefined] : [...walk.loads].map((load) => this.#provenBound(load)),
    );
    const most = Math.max(...bounds.map((bound) => bound ?? all.length));
    return {
      kind: first?.kind ?? 'relative',
      at: rva(first?.address ?? 0),
      fields: group.map(({ field }) => rva(field)),
      tails: group.map(({ tail }) => tail),
      targets: all.slice(0, most).map((target) => rva(target)),
    };
  }

  /** The bound of an instruction that reads an entry, if nothing can come in between. */
  #provenBound(load: number): number | undefined {
    const operation = this.#code.at(load);
    const bound = operation === undefined ? undefined : boundOf(this.#code, operation);
    if (bound === undefined || !bound.isWhole) return undefined;
    const isBetween = (at: number): boolean => at > bound.from && at <= load;
    if (this.#code.joins.some(isBetween) || this.#labelsInside().some(isBetween)) return undefined;
    if (this.#candidates.some(({ walk, all }) => (walk?.dispatches.size ?? 0) > 0 && all.some(isBetween)))
      return undefined;
    return bound.entries;
  }
}

/** What is the same for all units of an image, made when it is needed. */
interface ImageFacts {
  readonly pads: LandingPads;
  /** Functions that are known not to return. */
  readonly endings: () => ReadonlySet<number>;
  /** Code addresses that relocations put into data. */
  readonly labels: () => readonly number[];
}

const facts = new WeakMap<ElfImage, ImageFacts>();

function factsOf(image: ElfImage): ImageFacts {
  const known = facts.get(image);
  if (known !== undefined) return known;
  let labels: readonly number[] | undefined;
  let endings: ReadonlySet<number> | undefined;
  const made: ImageFacts = {
    pads: new LandingPads(image),
    endings: () => (endings ??= findEndings(image)),
    labels: () =>
      (labels ??= image.relocations
        .filter(({ type }) => type === R_X86_64_RELATIVE)
        .map(({ addend }) => Number(addend))),
  };
  facts.set(image, made);
  return made;
}

function addTo(tables: Map<string, Candidate[]>, key: string, candidate: Candidate): void {
  const there = tables.get(key);
  if (there === undefined) tables.set(key, [candidate]);
  else there.push(candidate);
}
