/**
 * An analysis as bytes: for the cache, and between threads.
 *
 * Numbers are little-endian, as the machine's: columns are read in place, as typed arrays over the bytes.
 *
 *     head   12 words: magic, version, shape (0: kept as a whole, 1: analysis), number of units, entries,
 *            references, breakpoints, kept; bytes of the reasons; textBytes (low, high); bytes of everything
 *     words  unit starts, unit ends, entries of each; entries; reference fields, targets; breakpoints; kept
 *            places
 *     bytes  unit kinds, flags, reasons; reference tails, kinds; kept reasons
 *     text   reasons, a JSON array of strings in which the others count from 1
 *
 * What the bytes say is not checked beyond their number: whoever keeps them keeps a checksum.
 */
import { rva } from '../base/brands.ts';
import { NumberList } from './links.ts';
import type { Kept, ModuleAnalysis, Unit } from './model.ts';

/** To be raised when analysis or `breakpointsOf` finds something else than before, or the layout changes. */
export const ANALYSIS_VERSION = 8;

const MAGIC = 0x61_6e_61_77;
const HEAD_WORDS = 12;
const NO_PLACE = 0xffff_ffff;
const FALLS_THROUGH = 1;
const KINDS = ['function', 'cluster', 'plt', 'fragment', 'part'] as const satisfies readonly Unit['kind'][];
const REASONS_TO_COUNT = 255;

export function encodeAnalysis(analysis: ModuleAnalysis | Kept): Uint8Array {
  const whole = 'kind' in analysis;
  const reasons = new Reasons();
  const units = whole ? [] : analysis.units;
  const kept = whole ? [analysis] : analysis.kept;
  const none = {
    field: new Uint32Array(),
    target: new Uint32Array(),
    tail: new Uint8Array(),
    kind: new Uint8Array(),
  };
  const references = whole ? none : analysis.references;
  const breakpoints = whole ? new Uint32Array() : analysis.breakpoints;
  const textBytes = whole ? 0 : analysis.textBytes;
  const columns = columnsOf(units, reasons);
  const words = [
    columns.starts,
    columns.ends,
    columns.entryCounts,
    columns.entries.values,
    references.field,
    references.target,
    breakpoints,
    Uint32Array.from(kept, ({ at }) => at ?? NO_PLACE),
  ];
  const bytes = [
    columns.kinds,
    columns.flags,
    columns.reasons,
    references.tail,
    references.kind,
    Uint8Array.from(kept, ({ reason }) => reasons.numberOf(reason)),
  ];
  const text = Buffer.from(JSON.stringify(reasons.texts));
  const parts = [...words.map(bytesOf), ...bytes, text];
  const size = parts.reduce((sum, part) => sum + part.length, HEAD_WORDS * 4);
  const entryCount = columns.entries.length;
  const head = [MAGIC, ANALYSIS_VERSION, whole ? 0 : 1, units.length, entryCount, references.field.length];
  head.push(
    breakpoints.length,
    kept.length,
    text.length,
    textBytes % 2 ** 32,
    Math.floor(textBytes / 2 ** 32),
    size,
  );
  const encoded = new Uint8Array(size);
  encoded.set(bytesOf(Uint32Array.from(head)), 0);
  let at = HEAD_WORDS * 4;
  for (const part of parts) {
    encoded.set(part, at);
    at += part.length;
  }
  return encoded;
}

/** One pass, as large libraries have hundreds of thousands of units. */
function columnsOf(units: readonly Unit[], reasons: Reasons) {
  const starts = new Uint32Array(units.length);
  const ends = new Uint32Array(units.length);
  const entryCounts = new Uint32Array(units.length);
  const entries = new NumberList();
  const kinds = new Uint8Array(units.length);
  const flags = new Uint8Array(units.length);
  const numbers = new Uint8Array(units.length);
  for (const [i, unit] of units.entries()) {
    starts[i] = unit.start;
    ends[i] = unit.end;
    entryCounts[i] = unit.entries.length;
    for (const at of unit.entries) entries.push(at);
    kinds[i] = KINDS.indexOf(unit.kind);
    flags[i] = unit.fallsThrough ? FALLS_THROUGH : 0;
    numbers[i] = reasons.numberOf(unit.kept);
  }
  return { starts, ends, entryCounts, entries, kinds, flags, reasons: numbers };
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Uint32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

class Reasons {
  readonly texts: string[] = [];
  readonly #numbers = new Map<string, number>();

  numberOf(reason: string | undefined): number {
    if (reason === undefined) return 0;
    const known = this.#numbers.get(reason);
    if (known !== undefined) return known;
    this.texts.push(reason);
    if (this.texts.length > REASONS_TO_COUNT) throw new RangeError('more reasons than a byte counts');
    this.#numbers.set(reason, this.texts.length);
    return this.texts.length;
  }
}

/** Undefined where the bytes are no analysis of this version. They must not change afterwards. */
export function decodeAnalysis(encoded: Uint8Array): ModuleAnalysis | Kept | undefined {
  // Words are read in place, which only works from an address that 4 divides.
  const bytes = encoded.byteOffset % 4 === 0 ? encoded : Uint8Array.from(encoded);
  if (bytes.length < HEAD_WORDS * 4) return undefined;
  const [
    magic,
    version,
    shape,
    units = 0,
    entries = 0,
    references = 0,
    breakpoints = 0,
    kept = 0,
    text = 0,
    low = 0,
    high = 0,
    size,
  ] = new Uint32Array(bytes.buffer, bytes.byteOffset, HEAD_WORDS);
  const words = units * 3 + entries + references * 2 + breakpoints + kept;
  const expected = (HEAD_WORDS + words) * 4 + units * 3 + references * 2 + kept + text;
  if (magic !== MAGIC || version !== ANALYSIS_VERSION || size !== bytes.length || expected !== size)
    return undefined;
  const columns = new Columns(bytes, HEAD_WORDS * 4);
  const starts = columns.words(units);
  const ends = columns.words(units);
  const entryCounts = columns.words(units);
  const allEntries = columns.words(entries);
  const field = columns.words(references);
  const target = columns.words(references);
  const allBreakpoints = columns.words(breakpoints);
  const places = columns.words(kept);
  const kinds = columns.bytes(units);
  const flags = columns.bytes(units);
  const unitReasons = columns.bytes(units);
  const tail = columns.bytes(references);
  const kind = columns.bytes(references);
  const keptReasons = columns.bytes(kept);
  const reasons = reasonsIn(columns.bytes(text));
  if (reasons === undefined) return undefined;
  const allKept = Array.from(places, (place, index): Kept => {
    const reason = reasons[(keptReasons[index] ?? 0) - 1] ?? '';
    return place === NO_PLACE ? { kind: 'kept', reason } : { kind: 'kept', reason, at: rva(place) };
  });
  if (shape === 0) return allKept[0];
  let next = 0;
  const allUnits = Array.from(starts, (start, index): Unit => {
    const last = next + (entryCounts[index] ?? 0);
    const own = Array.from(allEntries.subarray(next, last), rva);
    next = last;
    const reason = reasons[(unitReasons[index] ?? 0) - 1];
    return {
      kind: KINDS[kinds[index] ?? 0] ?? 'function',
      start: rva(start),
      end: rva(ends[index] ?? 0),
      entries: own,
      fallsThrough: ((flags[index] ?? 0) & FALLS_THROUGH) !== 0,
      ...(reason === undefined ? {} : { kept: reason }),
    };
  });
  return {
    units: allUnits,
    references: { field, target, tail, kind },
    breakpoints: allBreakpoints,
    kept: allKept,
    textBytes: high * 2 ** 32 + low,
  };
}

/** Takes one column after the other. */
class Columns {
  readonly #bytes: Uint8Array;
  #at: number;

  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes;
    this.#at = at;
  }

  words(count: number): Uint32Array {
    const column = new Uint32Array(this.#bytes.buffer, this.#bytes.byteOffset + this.#at, count);
    this.#at += count * 4;
    return column;
  }

  bytes(count: number): Uint8Array {
    const column = new Uint8Array(this.#bytes.buffer, this.#bytes.byteOffset + this.#at, count);
    this.#at += count;
    return column;
  }
}

function reasonsIn(text: Uint8Array): readonly string[] | undefined {
  try {
    const parsed: unknown = JSON.parse(Buffer.from(text).toString());
    if (!Array.isArray(parsed)) return undefined;
    const strings = parsed.filter((reason): reason is string => typeof reason === 'string');
    return strings.length === parsed.length ? strings : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
