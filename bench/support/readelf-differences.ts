/** What a comparison found. */

/** Differences as sentences, and how many records were compared: no records is no agreement. */
export class Differences {
  readonly list: string[] = [];
  readonly compared = { sections: 0, segments: 0, dynamic: 0, symbols: 0, relocations: 0, buildIds: 0 };

  expect(what: string, ours: unknown, theirs: unknown): void {
    const [a, b] = [plain(ours), plain(theirs)];
    if (a !== b) this.list.push(`${what}: winnow ${a}, readelf ${b}`);
  }
}

const plain = (value: unknown): string =>
  Array.isArray(value) ? value.map(String).join(' ') : String(value);
