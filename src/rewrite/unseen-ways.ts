/** Ways within a function that no branch tells: to landing pads, and through jump tables. */
import { rva } from '../base/brands.ts';
import type { ElfImage } from '../elf/image.ts';
import { readPadData } from './part-pads.ts';
import type { Piece } from './pieces.ts';
import { guessTables } from './table-guess.ts';

/** From any place of a range of code to one place. */
export interface UnseenWay {
  readonly from: number;
  /** Exclusive. */
  readonly end: number;
  readonly target: number;
  readonly isPad: boolean;
}

export interface UnseenWays {
  readonly ways: readonly UnseenWay[];
  /** Ranges of code that must stay together. */
  readonly uncut: readonly { readonly from: number; readonly to: number }[];
}

/** All of them; undefined: not all are known, or a part could not have its landing pads. */
export function findUnseenWays(
  image: ElfImage,
  { start, end, padded }: Piece,
  mayUseTable: boolean,
): UnseenWays | undefined {
  const ways: UnseenWay[] = [];
  if (padded !== undefined) {
    const data = readPadData(image, padded);
    if (data === undefined) return undefined;
    for (const row of data.rows)
      if (row.pad !== undefined && row.end > row.start)
        ways.push({ from: row.start, end: row.end, target: row.pad, isPad: true });
  }
  if (!mayUseTable) return { ways, uncut: [] };
  const guessed = guessTables(image, { start: rva(start), end: rva(end), entries: [rva(start)] });
  if (guessed === undefined) return undefined;
  const { targets, jumps, names } = guessed;
  if (jumps !== undefined)
    for (const target of targets) ways.push({ from: jumps.first, end: jumps.last + 1, target, isPad: false });
  return { ways, uncut: names };
}
