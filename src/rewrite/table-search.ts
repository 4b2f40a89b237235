/**
 * Which candidates are addresses of tables that may be changed.
 *
 * Each is tried alone. Where some instructions that make the same address do not come to a jump on their own, they are
 * tried together: code that was not optimised makes the address once to read an entry and once to add to it, so either
 * all of them are changed or none. So are those of which one reads an entry for the stack, and another is added to it later.
 */
import { rva } from '../base/brands.ts';
import type { Kept } from './model.ts';
import { findStackSlot } from './stack-slots.ts';
import { type Attempt, attempt, joined } from './table-attempts.ts';
import { type Bound, boundOf } from './table-bounds.ts';
import { type Candidate, findCandidates, looksLikeTable } from './table-candidates.ts';
import type { TableCode } from './table-code.ts';
import { factsOf, type ImageFacts } from './table-facts.ts';
import { walkFrom } from './table-flow.ts';
import { reasonOf, spilledEntryOf } from './table-spills.ts';
import { MOST_MAKERS } from './table-values.ts';
import type { Walk, WalkedCode } from './table-walk.ts';

export interface FoundTable {
  /** All that lead to the table's copy. */
  readonly candidates: readonly [Candidate, ...Candidate[]];
  /** Those of them that were tried together. */
  readonly together: readonly (readonly Candidate[])[];
  readonly targets: readonly number[];
}

export interface Found {
  readonly found: readonly FoundTable[];
  readonly kept: readonly Kept[];
  readonly otherJumps: number;
}

const PASSES_UNKNOWN = 'the address of a jump table comes to one that is not found';
const TOO_SHORT = 'a jump table is shorter than its bound';

export class TableSearch {
  readonly #code: TableCode;
  readonly #facts: ImageFacts;
  /** Where the indirect jumps lead that a walk has reached. */
  readonly #resolved = new Map<number, Set<number>>();
  /** Jumps that walks have reached by what could not be proved. */
  readonly #unproven = new Set<number>();
  #labels: readonly number[] | undefined;
  /** Functions that do not return; looked for only where it may help. */
  #endings: ReadonlySet<number> | undefined;

  readonly #walked: WalkedCode;

  constructor(code: TableCode) {
    this.#code = code;
    this.#facts = factsOf(code.image);
    this.#walked = {
      at: (address) => code.at(address),
      inside: (address) => code.inside(address),
      isLocal: (address) => address !== code.start && code.inside(address),
      padOf: (address) => this.#facts.pads.padOf(address),
      isForeign: (target) => code.isStub(target),
      returns: ({ at, length, target }) =>
        this.#endings?.has(target) !== true || !this.#isReached(code.skipPadding(at + length)),
      isStraight: (from, to) => this.#isStraight(from, to),
      targetsOf: (jump) => this.#resolved.get(jump) ?? this.#labelsInside(),
    };
  }

  run(): Found {
    const attempts = findCandidates(this.#code).map((candidate) => attempt(candidate));
    this.#walkAll(attempts);
    const all = this.#joinSpilled(this.#joinAttempts(attempts));
    const kept: Kept[] = [];
    const tables = new Map<number, Attempt[]>();
    for (const tried of all) {
      if (tried.walk.dispatches.size === 0) continue;
      const { address } = tried.candidates[0];
      const reason = this.#reasonAgainst(tried);
      if (reason !== undefined) kept.push({ kind: 'kept', reason, at: rva(address) });
      else tables.set(address, [...(tables.get(address) ?? []), tried]);
    }
    let otherJumps = 0;
    const unknown: Kept[] = [];
    for (const jump of this.#code.jumps) {
      if (this.#resolved.has(jump) && !this.#unproven.has(jump)) continue;
      const reason = reasonOf(this.#code, jump);
      if (reason !== undefined) unknown.push({ kind: 'kept', reason, at: rva(jump) });
      else otherJumps++;
    }
    // Of a jump that is not found nobody knows where it leads.
    const known = unknown.length > 0 ? undefined : all;
    kept.push(...unknown);
    return { found: [...tables.values()].flatMap((group) => this.#tableOf(group, known)), kept, otherJumps };
  }

  /** The same attempts, and joined ones in place of those that they succeed for. */
  #joinAttempts(attempts: readonly Attempt[]): readonly Attempt[] {
    const byTable = new Map<string, Attempt[]>();
    for (const tried of attempts) {
      const { kind, address } = tried.candidates[0];
      const key = `${kind} ${address}`;
      byTable.set(key, [...(byTable.get(key) ?? []), tried]);
    }
    const groups = [...byTable.values()].filter(
      (group) =>
        group.length > 1 &&
        group.length < MOST_MAKERS &&
        group.some(({ walk }) => walk.dispatches.size === 0),
    );
    const together = groups.flatMap((group) => joined(group.flatMap(({ candidates }) => candidates)));
    if (together.length === 0) return attempts;
    this.#walkAll(together);
    const used = together.flatMap(({ candidates, walk }) =>
      joined(candidates.filter((_, i) => walk.used.has(i + 1))),
    );
    const rest = new Set(attempts);
    this.#walkAll([...used, ...rest]);
    // Where jumps lead is known from here on, so what is straight is too.
    for (const tried of used) this.#walk(tried);
    const good = used.filter((tried) => this.#isGood(tried));
    for (const tried of attempts)
      if (good.some(({ candidates }) => candidates.includes(tried.candidates[0]))) rest.delete(tried);
    return [...good, ...rest];
  }

  /** The same attempts, and joined ones in place of those whose entries are kept on the stack. */
  #joinSpilled(attempts: readonly Attempt[]): readonly Attempt[] {
    let all = attempts;
    for (const jump of this.#code.jumps) {
      const spilled = this.#resolved.has(jump) ? undefined : spilledEntryOf(this.#code, jump);
      if (spilled?.displacement === undefined) continue;
      const slot = findStackSlot(this.#code, spilled.displacement);
      if (slot === undefined) continue;
      const isAlone = ({ candidates: [first, ...more] }: Attempt): boolean =>
        more.length === 0 && first.address === spilled.address && first.kind === 'relative';
      const single = all.filter(isAlone).flatMap(({ candidates }) => candidates);
      const [whole] = joined(single, slot);
      if (whole === undefined) continue;
      this.#unproven.add(jump);
      this.#walkAll([whole]);
      const [used] = joined(
        single.filter((_, i) => whole.walk.used.has(i + 1)),
        slot,
      );
      if (used === undefined) continue;
      const rest = all.filter(({ candidates: [first] }) => !used.candidates.includes(first));
      this.#walkAll([used, ...rest]);
      // Where jumps lead is known from here on, so what is straight is too.
      this.#walk(used);
      if (!used.walk.dispatches.has(jump) || !this.#isGood(used)) continue;
      this.#unproven.delete(jump);
      all = [used, ...rest];
    }
    return all;
  }

  /** Whether candidates that were tried together can be changed together. */
  #isGood(tried: Attempt): boolean {
    const { candidates, slot, walk } = tried;
    return (
      candidates.every((_, i) => walk.used.has(i + 1)) &&
      (slot?.stores ?? []).every((store) => walk.kept.has(store)) &&
      walk.stored === undefined &&
      walk.dispatches.size > 0 &&
      this.#reasonAgainst(tried) === undefined
    );
  }

  /** Each walk needs to know where the other jumps lead that it meets: until nothing more is learnt. */
  #walkAll(attempts: readonly Attempt[]): void {
    this.#walkUntilSettled(attempts);
    if (this.#endings !== undefined) return;
    if (!attempts.some(({ walk }) => walk.misuse !== undefined && walk.dispatches.size > 0)) return;
    this.#endings = this.#facts.endings();
    // Ways behind calls that do not return may have brought other tables to jumps.
    this.#resolved.clear();
    this.#walkUntilSettled(attempts);
  }

  #walkUntilSettled(attempts: readonly Attempt[]): void {
    for (let work = attempts; work.length > 0; ) {
      const changed = new Set<number>();
      const again = new Set<Attempt>();
      for (const tried of work) {
        const [{ all }] = tried.candidates;
        this.#walk(tried);
        const count = this.#likelyEntries(tried);
        if (count > tried.targets.length) {
          tried.targets = all.slice(0, count);
          again.add(tried);
        }
        for (const jump of tried.walk.dispatches) if (this.#resolve(jump, tried.targets)) changed.add(jump);
      }
      work = attempts.filter(
        (tried) => again.has(tried) || [...tried.walk.passed].some((at) => changed.has(at)),
      );
    }
  }

  #walk(tried: Attempt): void {
    const { candidates, slot, targets } = tried;
    const makers = candidates.map(({ maker }) => maker);
    tried.walk = walkFrom(this.#walked, { makers, slot, kind: candidates[0].kind, targets });
  }

  /** How many entries the jumps through them use, as far as bounds or another table behind it tell. */
  #likelyEntries({ walk, candidates: [{ address, all, kind }] }: Attempt): number {
    if (walk.dispatches.size === 0) return 0;
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

  /** Control comes there otherwise than from above. */
  #isReached(at: number): boolean {
    if (this.#code.joins.includes(at) || this.#labelsInside().includes(at) || this.#facts.pads.has(at))
      return true;
    return [...this.#resolved.values()].some((targets) => targets.has(at));
  }

  #isStraight(from: number, to: number): boolean {
    const { starts } = this.#code;
    const first = this.#code.indexOf(from);
    const last = this.#code.indexOf(to);
    if (first < 0 || last < first) return false;
    const between = starts.slice(first, last);
    return (
      between.every((at) => this.#code.at(at)?.insn.flow === 'next') &&
      ![...between.slice(1), to].some((at) => this.#isReached(at))
    );
  }

  #labelsInside(): readonly number[] {
    this.#labels ??= this.#facts.labels().filter(this.#code.inside);
    return this.#labels;
  }

  #reasonAgainst({ walk, candidates: [{ all }] }: Attempt): string | undefined {
    if (walk.misuse !== undefined) return walk.misuse.reason;
    if (walk.stored !== undefined && !walk.isSure) return walk.stored.reason;
    for (const jump of walk.passed)
      if (!this.#resolved.has(jump) && looksLikeTable(this.#code, jump)) return PASSES_UNKNOWN;
    if (this.#boundsOf(walk).some((bound) => bound?.isComparison === true && bound.entries > all.length))
      return TOO_SHORT;
    return undefined;
  }

  /** @param all what comes to jumps of the unit, if that is known of all of them. */
  #tableOf(group: readonly Attempt[], all: readonly Attempt[] | undefined): FoundTable[] {
    const [first, ...more] = group.flatMap(({ candidates }) => candidates);
    if (first === undefined) return [];
    const loads = group.flatMap(({ walk }) => [...walk.loads]);
    const bounds = loads.map((load) => (all && this.#provenBound(load, all)) ?? first.all.length);
    return [
      {
        candidates: [first, ...more],
        together: group.flatMap(({ candidates }) => (candidates.length > 1 ? [candidates] : [])),
        targets: first.all.slice(0, Math.max(...bounds)),
      },
    ];
  }

  /** The bound of an instruction that reads an entry, if nothing can come in between. */
  #provenBound(load: number, tables: readonly Attempt[]): number | undefined {
    const operation = this.#code.at(load);
    const bound = operation === undefined ? undefined : boundOf(this.#code, operation);
    if (bound === undefined || !bound.isWhole) return undefined;
    const isBetween = (at: number): boolean => at > bound.from && at <= load;
    const comesIn =
      this.#code.joins.some(isBetween) ||
      this.#labelsInside().some(isBetween) ||
      tables.some(({ walk, candidates: [{ all }] }) => walk.dispatches.size > 0 && all.some(isBetween));
    return comesIn ? undefined : bound.entries;
  }
}
