/**
 * Compares an output stream of the image's run with those of the plain runs.
 *
 * Problem: many programs print a time or a process id. Such a place differs between two plain runs too
 * and says nothing about the image; every other place must be the same.
 * Example: plain runs print `pid 41 ok` and `pid 57 ok`: the second word is noise, the other two are
 * not, so `pid 63 OK` from the image is a difference.
 * Method: where all plain runs agree byte for byte, so must the image. Else line by line, where they
 * have the same number of lines; in a line that changes, word by word, where they have the same number
 * of words.
 * Limits: where the plain runs have different numbers of lines, the whole stream is noise. A place that
 * changes rarely can look stable: the caller runs the plain program once more before it believes a
 * difference.
 */
import type { Difference, Place } from './model.ts';

export interface StreamFindings {
  readonly differences: readonly Difference[];
  readonly notDeterministic: readonly Place[];
}

type StreamName = 'stdout' | 'stderr';

/** Characters of a line that a report shows. */
const SHOWN = 80;

/** Compares one stream; `plain` holds that of each plain run, at least one. */
export function compareStreams(name: StreamName, plain: readonly Buffer[], image: Buffer): StreamFindings {
  const first = plain[0];
  if (first === undefined) throw new RangeError('a comparison needs a plain run');
  if (plain.every((other) => other.equals(first))) {
    return {
      differences: first.equals(image) ? [] : [byteDifference(name, first, image)],
      notDeterministic: [],
    };
  }
  const plainLines = plain.map(linesOf);
  const count = sameLength(plainLines);
  if (count === undefined) return { differences: [], notDeterministic: [{ kind: name }] };
  const imageLines = linesOf(image);
  if (imageLines.length !== count) {
    const difference = {
      place: { kind: name },
      plain: `${count - 1} lines`,
      image: `${imageLines.length - 1} lines`,
    };
    return { differences: [difference], notDeterministic: [] };
  }
  return compareLines(name, plainLines, imageLines);
}

function compareLines(
  name: StreamName,
  plain: readonly (readonly string[])[],
  image: readonly string[],
): StreamFindings {
  const differences: Difference[] = [];
  const notDeterministic: Place[] = [];
  image.forEach((line, index) => {
    const lines = plain.map((all) => all[index] ?? '');
    const place: Place = { kind: name, line: index + 1 };
    const stable = lines.every((other) => other === lines[0]);
    if (!stable) notDeterministic.push(place);
    if (stable ? line !== lines[0] : stableWordsDiffer(lines, line)) {
      differences.push({ place, plain: excerpt(lines[0] ?? '', 0), image: excerpt(line, 0) });
    }
  });
  return { differences, notDeterministic };
}

function stableWordsDiffer(plain: readonly string[], image: string): boolean {
  const plainWords = plain.map(wordsOf);
  const imageWords = wordsOf(image);
  const count = sameLength(plainWords);
  if (count === undefined || imageWords.length !== count) return false;
  return imageWords.some((word, index) => {
    const words = plainWords.map((all) => all[index]);
    return words.every((other) => other === words[0]) && word !== words[0];
  });
}

function byteDifference(name: StreamName, plain: Buffer, image: Buffer): Difference {
  let at = 0;
  while (at < plain.length && at < image.length && plain[at] === image[at]) at += 1;
  // lastIndexOf takes a negative position as one from the end.
  const start = at === 0 ? 0 : plain.lastIndexOf(0x0a, at - 1) + 1;
  let line = 1;
  for (let i = 0; i < start; i += 1) if (plain[i] === 0x0a) line += 1;
  const lineAt = (bytes: Buffer): string => {
    if (start >= bytes.length) return 'nothing';
    const end = bytes.indexOf(0x0a, start);
    return excerpt(bytes.toString('utf8', start, end < 0 ? bytes.length : end + 1), at - start);
  };
  return { place: { kind: name, line }, plain: lineAt(plain), image: lineAt(image) };
}

/** The part of a line around position `at`, quoted. */
function excerpt(line: string, at: number): string {
  const from = at < SHOWN ? 0 : at - SHOWN / 2;
  const part = line.slice(from, from + SHOWN);
  return `${from > 0 ? '…' : ''}${JSON.stringify(part)}${from + SHOWN < line.length ? '…' : ''}`;
}

// latin1 keeps every byte apart, also in output that is not text.
const linesOf = (bytes: Buffer): string[] => bytes.toString('latin1').split('\n');
const wordsOf = (line: string): string[] => line.match(/\w+|\W/g) ?? [];

function sameLength(lists: readonly (readonly unknown[])[]): number | undefined {
  const count = lists[0]?.length;
  return lists.every((list) => list.length === count) ? count : undefined;
}
