/** Text on a terminal: how wide it is, and how to show names that were not made for it. */
import { stripVTControlCharacters } from 'node:util';

const graphemes = new Intl.Segmenter('en', { granularity: 'grapheme' });

// The ranges of Unicode's EastAsianWidth W and F, joined where only unassigned code points lie between.
const WIDE =
  /[\u1100-\u115f\u231a\u231b\u2329\u232a\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\ufe10-\ufe19\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{16fe0}-\u{18dff}\u{1aff0}-\u{1b2fb}\u{1f200}-\u{1f265}\u{20000}-\u{3fffd}]/u;
const EMOJI = /\p{Emoji_Presentation}|\ufe0f/u;
const NO_WIDTH = /^[\p{Mark}\p{Control}\p{Format}]+$/u;
const ASCII = /^[\x20-\x7e]*$/;

/** Columns that `text` takes on a terminal. Colour sequences and combining marks take none. */
export function visibleWidth(text: string): number {
  if (ASCII.test(text)) return text.length;
  let width = 0;
  for (const { segment } of graphemes.segment(stripVTControlCharacters(text))) {
    if (NO_WIDTH.test(segment)) continue;
    width += EMOJI.test(segment) || WIDE.test(segment) ? 2 : 1;
  }
  return width;
}

/**
 * A name as it can be shown: control characters, line ends and direction marks become `\u{…}`, so that
 * a file name can neither move the cursor nor look like another line.
 */
export function printable(name: string): string {
  return name.replace(/[\p{Control}\p{Format}\u2028\u2029]/gu, (character) => {
    return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
  });
}

const PLAIN_WORD = /^[\p{Letter}\p{Number}_@%+=:,./-]+$/u;

/** A command as a person would type it: words with spaces and the like in quotes, so that it can be copied. */
export function commandLine(words: readonly string[]): string {
  const quoted = (word: string): string =>
    PLAIN_WORD.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
  return words.map((word) => printable(quoted(word))).join(' ');
}
