/**
 * Reads a rewritten library as if it came from elsewhere, and compares it with the original: what should be a
 * copy is one, what leads to copied code leads to its copy, and nothing else has changed.
 *
 * Problem: the writer and its tests share beliefs. Example: a branch patched to the wrong copy may run for hours.
 * Method: header, segments, symbols, relocations and unwind tables are read by src/elf; each copy is decoded side by
 * side with its original, instruction by instruction: equal bytes outside of the pc-relative fields, and each field
 * leads to what the original's leads to, or to its copy. Copies of jump tables are found by the fields that lead to
 * them, and compared entry by entry.
 * Limits: where units went is taken from the rewriting's own map. Position-independent modules only.
 * Over 300 lines: one judge, whose questions share what was decoded.
 */
import { rva } from '../../src/base/brands.ts';
import { viewOf } from '../../src/elf/bytes.ts';
import { cfiOf, type Fde, isLeftover, readEhFrame } from '../../src/elf/eh-frame.ts';
import type { ElfImage } from '../../src/elf/image.ts';
import * as spec from '../../src/elf/spec.ts';
import type { ElfSymbol } from '../../src/elf/symbols.ts';
import type { Clone, CloneMap, Unit } from '../../src/rewrite/model.ts';
import { decodeRange, type Insn } from '../../src/x86/decode.ts';
import { differingPads } from './pads-compare.ts';

const MOST_COMPLAINTS = 20;
const TABLES_SECTION = '.rodata.winnow';
const MARKERS =
  /^(_end|end|_?_?etext|_?edata|__bss_start|__executable_start|__ehdr_start|__(start|stop)_.*)$/;

/** What is wrong with the new file, in words; the first ones of many. */
export function readBack(original: ElfImage, copy: ElfImage, map: CloneMap): readonly string[] {
  const judge = new Judge(original, copy, map);
  judge.header();
  judge.symbols();
  judge.relocations();
  judge.frames();
  judge.pads();
  judge.code();
  judge.tables();
  return judge.complaints;
}

class Judge {
  readonly complaints: string[] = [];
  readonly #old: ElfImage;
  readonly #new: ElfImage;
  readonly #map: CloneMap;
  /** Those that were copied, ascending. */
  readonly #units: readonly Unit[];
  readonly #byAddress: readonly { readonly start: number; readonly unit: Unit }[];
  /** Copies of jump tables: where, and the original that they were read from. */
  readonly #tables = new Map<number, number>();

  constructor(original: ElfImage, copy: ElfImage, map: CloneMap) {
    this.#old = original;
    this.#new = copy;
    this.#map = map;
    this.#byAddress = map.clones
      .map(({ at, unit }) => ({ start: at, unit }))
      .toSorted((a, b) => a.start - b.start);
    this.#units = map.clones.map(({ unit }) => unit).toSorted((a, b) => a.start - b.start);
  }

  #expect(isRight: boolean, what: () => string): void {
    if (!isRight && this.complaints.length < MOST_COMPLAINTS) this.complaints.push(what());
  }

  /** Where an address of the original leads to now. */
  #moved(at: number): number {
    // Data that decodes as code leads anywhere.
    return at < 0 ? at : (this.#map.copyOf(rva(at)) ?? at);
  }

  header(): void {
    const [before, after] = [this.#old.header, this.#new.header];
    this.#expect(after.type === before.type, () => 'another e_type');
    this.#expect(after.entry === this.#moved(before.entry), () => `e_entry leads to ${hex(after.entry)}`);
    const loads = (image: ElfImage) => image.segments.filter(({ type }) => type === spec.PT_LOAD);
    const added = loads(this.#new);
    for (const [i, old] of loads(this.#old).entries()) {
      const now = added[i];
      const same =
        now?.rva === old.rva &&
        now.offset === old.offset &&
        now.memSize === old.memSize &&
        now.fileSize === old.fileSize &&
        now.flags === old.flags;
      this.#expect(same, () => `PT_LOAD ${i} has changed`);
    }
    for (const tag of [spec.DT_INIT, spec.DT_FINI]) {
      const old = this.#old.dynamic.value(tag);
      const now = this.#new.dynamic.value(tag);
      this.#expect(now === (old === undefined ? undefined : this.#moved(old)), () => `tag ${tag} is wrong`);
    }
  }

  symbols(): void {
    const before = this.#old.symbols;
    const after = this.#new.symbols;
    this.#expect(after.length === before.length, () => `${after.length} dynamic symbols of ${before.length}`);
    for (const [i, old] of before.entries()) {
      const now = after[i];
      const same =
        now?.name === old.name &&
        now.type === old.type &&
        now.size === this.#sizeNow(old) &&
        now.binding === old.binding;
      this.#expect(same, () => `dynamic symbol ${i} ${old.name} is another`);
      if (old.rva === undefined) continue;
      const isCode =
        old.type === spec.STT_FUNC ||
        old.type === spec.STT_GNU_IFUNC ||
        (old.type === spec.STT_NOTYPE && !MARKERS.test(old.name));
      const wanted = isCode ? this.#moved(old.rva) : old.rva;
      this.#expect(
        now?.rva === wanted,
        () => `symbol ${old.name} is at ${hex(now?.rva)}, not ${hex(wanted)}`,
      );
    }
  }

  /** Of a function that was cut: from the copy of its first part to the end of the copies that stand behind it. */
  #sizeNow({ rva: at, size, type }: ElfSymbol): number {
    const isCode = type === spec.STT_FUNC || type === spec.STT_GNU_IFUNC;
    const unit = at === undefined || !isCode ? undefined : this.#units[lastAtOrBefore(this.#units, at)];
    if (at === undefined || unit === undefined || at >= unit.end) return size;
    const isMore = ({ kind, start }: Unit): boolean => kind === 'part' && start > at && start < at + size;
    let i = lastAtOrBefore(this.#byAddress, this.#moved(at));
    while (isMore(this.#byAddress[i + 1]?.unit ?? unit)) i++;
    const last = this.#byAddress[i];
    if (last === undefined) return size;
    return last.start + Math.min(last.unit.end, at + size) - last.unit.start - this.#moved(at);
  }

  relocations(): void {
    const before = this.#old.relocations;
    const after = this.#new.relocations;
    this.#expect(after.length === before.length, () => `${after.length} relocations of ${before.length}`);
    for (const [i, old] of before.entries()) {
      const now = after[i];
      const same = now?.rva === old.rva && now.type === old.type && now.symbol === old.symbol;
      this.#expect(same, () => `relocation ${i} is another`);
      if (now === undefined) continue;
      const leads = old.type === spec.R_X86_64_RELATIVE || old.type === spec.R_X86_64_IRELATIVE;
      if (leads) {
        const wanted = this.#moved(Number(old.addend));
        this.#expect(
          Number(now.addend) === wanted,
          () => `relocation at ${hex(old.rva)} leads to ${hex(Number(now.addend))}, not ${hex(wanted)}`,
        );
      } else if (this.#old.symbols[old.symbol]?.type !== spec.STT_SECTION) {
        this.#expect(now.addend === old.addend, () => `relocation at ${hex(old.rva)} has another addend`);
      }
    }
  }

  frames(): void {
    const before = readEhFrame(this.#old);
    const after = readEhFrame(this.#new);
    this.#expect(
      after.headerProblem === undefined || after.headerProblem === before.headerProblem,
      () => `.eh_frame_hdr: ${after.headerProblem}`,
    );
    const describing = after.fdes.filter((fde) => !isLeftover(fde)).toSorted((a, b) => a.start - b.start);
    const expectFde = (start: number, end: number, old: Fde, hasSameCfi: boolean): void => {
      const now = describing[lastAtOrBefore(describing, start)];
      const same =
        now !== undefined &&
        now.end >= end &&
        (now.lsda === undefined) === (old.lsda === undefined) &&
        (!hasSameCfi || Buffer.compare(trimmed(cfiOf(after, now)), trimmed(cfiOf(before, old))) === 0);
      this.#expect(same, () => `the FDE at ${hex(start)} is not that of ${hex(old.start)}`);
    };
    const fdes = before.fdes.filter((fde) => !isLeftover(fde) && this.#old.offsetOf(fde.start) !== undefined);
    const clones = this.#map.clones.toSorted((a, b) => a.unit.start - b.unit.start);
    let next = 0;
    for (const old of fdes.toSorted((a, b) => a.start - b.start)) {
      expectFde(old.start, old.end, old, true);
      while (next < clones.length && (clones[next]?.unit.end ?? 0) <= old.start) next++;
      for (let i = next; i < clones.length; i++) {
        const clone = clones[i];
        if (clone === undefined || clone.unit.start >= old.end) break;
        const { unit, at, size } = clone;
        const from = Math.max(old.start, unit.start);
        const to = Math.min(old.end, unit.end);
        // The jump behind the unit has the frame of its last instruction.
        const behind = to === unit.end ? size - (unit.end - unit.start) : 0;
        // Instructions of a part of a unit are encoded anew.
        const isWhole = unit.kind === 'function' && unit.start === old.start && unit.end === old.end;
        expectFde(at + (from - unit.start), at + (to - unit.start) + behind, old, isWhole);
      }
    }
  }

  pads(): void {
    for (const what of differingPads(this.#old, this.#new, this.#map).differing)
      this.#expect(false, () => `landing pad of ${what}`);
  }

  code(): void {
    const tables = this.#new.sections.find(({ name }) => name === TABLES_SECTION);
    const inTables = (at: number): boolean =>
      tables !== undefined && at >= tables.rva && at < tables.rva + tables.size;
    for (const clone of this.#map.clones) this.#compareCode(clone, inTables);
  }

  #compareCode({ unit, at, size }: Clone, inTables: (at: number) => boolean): void {
    const length = unit.end - unit.start;
    const from = bytesAt(this.#old, unit.start, length);
    const to = bytesAt(this.#new, at, size);
    const expected = Uint8Array.prototype.slice.call(from);
    const fields = fieldsOf(from, unit.start);
    const written = viewOf(expected);
    const given = viewOf(to);
    for (const { fieldAt, end, target, isBranch } of fields) {
      const field = fieldAt - unit.start;
      const newEnd = end - unit.start + at;
      const leadsTo = newEnd + given.getInt32(field, true);
      if (!isBranch && inTables(leadsTo)) {
        this.#tables.set(leadsTo, target);
        written.setInt32(field, leadsTo - newEnd, true);
      } else written.setInt32(field, this.#moved(target) - newEnd, true);
    }
    const differs = Buffer.compare(expected, to.subarray(0, length)) !== 0;
    this.#expect(!differs, () => `the copy of ${hex(unit.start)} at ${hex(at)} is no copy`);
    if (!unit.fallsThrough) return;
    const next = at + size;
    const jump = size === length + 5 && given.getUint8(length) === 0xe9;
    const leadsTo = jump ? next + given.getInt32(length + 1, true) : -1;
    this.#expect(leadsTo === this.#moved(unit.end), () => `behind the copy of ${hex(unit.start)} no way on`);
  }

  tables(): void {
    const section = this.#new.sections.find(({ name }) => name === TABLES_SECTION);
    if (section === undefined) return;
    const starts = [...this.#tables.keys()].toSorted((a, b) => a - b);
    this.#expect(starts.length > 0, () => 'jump tables were copied that nothing leads to');
    for (const [i, at] of starts.entries()) {
      const size = (starts[i + 1] ?? section.rva + section.size) - at;
      const from = this.#tables.get(at) ?? 0;
      const entries = viewOf(bytesAt(this.#new, at, size));
      const originals = viewOf(bytesAt(this.#old, from, size));
      for (let entry = 0; entry + 4 <= size; entry += 4) {
        const wanted = this.#moved(from + originals.getInt32(entry, true));
        const leadsTo = at + entries.getInt32(entry, true);
        this.#expect(
          leadsTo === wanted,
          () =>
            `entry ${entry / 4} of the table of ${hex(from)} leads to ${hex(leadsTo)}, not ${hex(wanted)}`,
        );
      }
    }
  }
}

interface Field {
  readonly fieldAt: number;
  readonly end: number;
  readonly target: number;
  readonly isBranch: boolean;
}

function fieldsOf(code: Uint8Array, at: number): readonly Field[] {
  const fields: Field[] = [];
  const view = viewOf(code);
  decodeRange(code, at, ({ fieldAt, at: start, length, branchSize }: Insn) => {
    if (fieldAt < 0) return;
    const end = start + length;
    fields.push({
      fieldAt,
      end,
      target: end + view.getInt32(fieldAt - at, true),
      isBranch: branchSize === 4,
    });
  });
  return fields;
}

function bytesAt(image: ElfImage, at: number, size: number): Uint8Array {
  const offset = image.offsetOf(rva(at));
  return offset === undefined ? new Uint8Array() : image.bytes.subarray(offset, offset + size);
}

function lastAtOrBefore(ascending: readonly { readonly start: number }[], at: number): number {
  let low = 0;
  let high = ascending.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((ascending[middle]?.start ?? 0) <= at) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

const DW_CFA_nop = 0;

/** Call frame instructions without the padding at their end. */
function trimmed(cfi: Uint8Array): Uint8Array {
  let end = cfi.length;
  while (end > 0 && cfi[end - 1] === DW_CFA_nop) end--;
  return cfi.subarray(0, end);
}

const hex = (at: number | undefined): string => (at === undefined ? 'nowhere' : `0x${at.toString(16)}`);
