/**
 * What differs between the runs, word by word, and why.
 *
 * Problem. chromium's loader writes 3,540 pages, 1.85 million words; 1.17 million differ from run to run. The image
 * needs to know of each what it becomes at another start.
 *
 * Example. A word is 0x76d88c1e4ca0, 0x6262ea9e4ca0 and 0x6c6b78be4ca0 in three runs: each lies 0x1e4ca0 bytes
 * behind the arena of its run. It is a pointer to 0x1e4ca0 in the arena.
 *
 * Method. Words that are equal in all runs stay. Where they differ, as much as one anchor differs, in every run, they
 * are pointers into it: anchors differ by amounts of their own (anchors.ts). All else must have a cause of the
 * catalogue (causes.ts). Relocations stand at any byte: where an aligned word has no explanation, the eight words
 * that hold its first differing byte are asked.
 *
 * Limits. Half a pointer, a pointer in disguise and the distance of two anchors have no cause: no image.
 */

import { ANCHORS, type Anchor, type Place } from '../model.ts';
import type { AnchorBases, Deltas } from './anchors.ts';
import { CAUSES, type Cause, type RunFacts, type Word } from './causes.ts';
import { Window } from './compare-window.ts';
import type { Span } from './own-memory.ts';

/** Where words stand that have their own causes. */
export interface Landmarks {
  readonly threadPointer: Place;
  readonly tidAt: Place;
  readonly rseq: { readonly at: Place; readonly size: number } | undefined;
}

export interface Explained {
  readonly anchor: Exclude<Anchor, 'vdso'>;
  readonly offset: number;
  readonly size: 4 | 8;
  readonly cause: Cause;
}

export interface Unexplained {
  readonly anchor: Exclude<Anchor, 'vdso'>;
  readonly offset: number;
  /** In each run. */
  readonly values: readonly bigint[];
}

export interface Comparison {
  /** By the anchor they stand in: ascending offsets, and the index of the anchor that each points into. */
  readonly pointers: ReadonlyMap<Anchor, { readonly at: number[]; readonly into: number[] }>;
  readonly explained: readonly Explained[];
  /** At most `MOST_UNEXPLAINED`. */
  readonly unexplained: readonly Unexplained[];
  /** As `spans`: the first run's bytes, with offsets in place of pointers. */
  readonly contents: readonly Buffer[];
}

const MOST_UNEXPLAINED = 100;
const WORD = 8;
const TWO_32 = 2 ** 32;

/** @param bases of the first run, whose values the image has. */
export function compareRuns(
  spans: readonly Span[],
  bases: AnchorBases,
  deltas: Deltas,
  facts: readonly RunFacts[],
  landmarks: Landmarks,
): Comparison {
  const comparer = new Comparer(bases, deltas, facts, landmarks);
  const contents = spans.map((span) => comparer.span(span));
  const { pointers, explained, unexplained } = comparer;
  return { pointers, explained, unexplained, contents };
}

class Comparer implements Omit<Comparison, 'contents'> {
  readonly pointers = new Map<Anchor, { at: number[]; into: number[] }>();
  readonly explained: Explained[] = [];
  readonly unexplained: Unexplained[] = [];
  readonly #bases: readonly number[];
  readonly #deltas: readonly (readonly number[])[];
  readonly #facts: readonly RunFacts[];
  readonly #landmarks: Landmarks;
  readonly #counts = new Map<Cause, number>();

  constructor(bases: AnchorBases, deltas: Deltas, facts: readonly RunFacts[], landmarks: Landmarks) {
    this.#bases = ANCHORS.map((anchor) => bases[anchor]);
    this.#deltas = ANCHORS.map((anchor) => deltas[anchor]);
    this.#facts = facts;
    this.#landmarks = landmarks;
  }

  /** @returns the bytes that the image has. */
  span(span: Span): Buffer {
    const window = new Window(span.bytes);
    const found: Found = { at: [], into: [] };
    let done = 0;
    for (let at = window.nextDifference(0); at >= 0; at = window.nextDifference(Math.max(done, at))) {
      const word = at - (at % WORD);
      const into = word >= done ? this.#pointerAt(window, word) : -1;
      if (into >= 0) {
        found.at.push(word);
        found.into.push(into);
        done = word + WORD;
      } else done = this.#explain(span, window, at, done, found);
    }
    return this.#keep(span, found);
  }

  /** Index of the anchor that the word at `at` points into in all runs, or -1. */
  #pointerAt(window: Window, at: number): number {
    const slid = window.slid(at, 1);
    for (let anchor = 0; anchor < this.#deltas.length; anchor++) {
      const deltas = this.#deltas[anchor];
      if (deltas === undefined || deltas[0] !== slid || slid === 0) continue;
      let run = 2;
      while (run < window.runs && window.slid(at, run) === deltas[run - 1]) run++;
      if (run >= window.runs) return anchor;
    }
    return -1;
  }

  /** @returns up to where bytes are explained: behind `at`. */
  #explain(span: Span, window: Window, at: number, done: number, found: Found): number {
    for (const cause of CAUSES) {
      const { size } = cause;
      const from = at - (at % size);
      if (from < done || !this.#isCause(cause, span, window, from)) continue;
      this.#counts.set(cause, (this.#counts.get(cause) ?? 0) + 1);
      this.explained.push({ anchor: span.anchor, offset: span.offset + from, size, cause });
      return from + size;
    }
    const last = Math.min(at, window.size - WORD);
    for (let from = Math.max(done, at - WORD + 1); from <= last; from++) {
      const into = this.#pointerAt(window, from);
      if (into < 0) continue;
      found.at.push(from);
      found.into.push(into);
      return from + WORD;
    }
    const word = at - (at % WORD);
    if (this.unexplained.length < MOST_UNEXPLAINED) {
      const values = window.values(word);
      this.unexplained.push({ anchor: span.anchor, offset: span.offset + word, values });
    }
    return word + WORD;
  }

  #isCause(cause: Cause, span: Span, window: Window, from: number): boolean {
    if ((this.#counts.get(cause) ?? 0) >= (cause.most ?? Number.POSITIVE_INFINITY)) return false;
    const { threadPointer, tidAt, rseq } = this.#landmarks;
    const offset = span.offset + from;
    const after = (place: Place): number | undefined =>
      place.anchor === span.anchor ? offset - place.offset : undefined;
    const inRseq = rseq === undefined ? undefined : after(rseq.at);
    const word: Word = {
      u32: (run, ahead = 0) => window.u32(run, from + ahead),
      u64: (run) => window.u64(run, from),
      inLoader: span.anchor === 'loader',
      fromThreadPointer: after(threadPointer),
      isTid: after(tidAt) === 0,
      inRseq: inRseq !== undefined && inRseq >= 0 && inRseq + cause.size <= (rseq?.size ?? 0),
    };
    return cause.matches(word, this.#facts);
  }

  /** Notes the pointers; the bytes get their offsets. */
  #keep(span: Span, found: Found): Buffer {
    const table = this.pointers.get(span.anchor) ?? { at: [], into: [] };
    this.pointers.set(span.anchor, table);
    const content = Buffer.from(span.bytes[0] ?? []);
    const view = new DataView(content.buffer, content.byteOffset, content.length);
    for (let i = 0; i < found.at.length; i++) {
      const at = found.at[i] ?? 0;
      const into = found.into[i] ?? 0;
      subtract(view, at, this.#bases[into] ?? 0);
      table.at.push(span.offset + at);
      table.into.push(into);
    }
    return content;
  }
}

interface Found {
  readonly at: number[];
  readonly into: number[];
}

/** Subtracts an address from the word at `at`, in halves: there are a million of them. */
function subtract(view: DataView, at: number, base: number): void {
  const low = view.getUint32(at, true) - (base % TWO_32);
  const high = view.getUint32(at + 4, true) - Math.floor(base / TWO_32) - (low < 0 ? 1 : 0);
  // setUint32 keeps the lower 32 bits: an offset below the base stays two's complement.
  view.setUint32(at, low, true);
  view.setUint32(at + 4, high, true);
}
