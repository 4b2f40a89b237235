import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compareStreams } from './streams.ts';

const compare = (plain: readonly string[], image: string) =>
  compareStreams(
    'stdout',
    plain.map((text) => Buffer.from(text)),
    Buffer.from(image),
  );

describe('compareStreams', () => {
  it('says nothing about equal streams', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        const stream = Buffer.from(bytes);
        const found = compareStreams('stderr', [stream, Buffer.from(bytes)], Buffer.from(bytes));
        expect(found).toEqual({ differences: [], notDeterministic: [] });
      }),
    );
  });

  it('finds any one changed byte in a stable stream', () => {
    const changed = fc
      .uint8Array({ minLength: 1 })
      .chain((bytes) =>
        fc.tuple(fc.constant(bytes), fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 })),
      );
    fc.assert(
      fc.property(changed, ([bytes, at, change]) => {
        const image = Buffer.from(bytes);
        image[at] = (image[at] ?? 0) ^ change;
        const found = compareStreams('stdout', [Buffer.from(bytes), Buffer.from(bytes)], image);
        expect(found.differences).toHaveLength(1);
      }),
    );
  });

  it('names the line and shows both', () => {
    expect(compare(['a\nbcd\n', 'a\nbcd\n'], 'a\nbXd\n').differences).toEqual([
      { place: { kind: 'stdout', line: 2 }, plain: '"bcd\\n"', image: '"bXd\\n"' },
    ]);
  });

  it('finds a missing end', () => {
    expect(compare(['a\nb\n', 'a\nb\n'], 'a\n').differences).toEqual([
      { place: { kind: 'stdout', line: 2 }, plain: '"b\\n"', image: 'nothing' },
    ]);
  });

  it('takes what changes between plain runs as noise, word by word', () => {
    const plain = ['pid 41 ok\nend\n', 'pid 57 ok\nend\n'];
    expect(compare(plain, 'pid 63 ok\nend\n')).toEqual({
      differences: [],
      notDeterministic: [{ kind: 'stdout', line: 1 }],
    });
    expect(compare(plain, 'pid 63 OK\nend\n').differences).toHaveLength(1);
    expect(compare(plain, 'pid 63 ok\nEND\n').differences).toHaveLength(1);
  });

  it('takes a stream whose number of lines changes as noise', () => {
    expect(compare(['a\n', 'a\na\n'], 'b\n')).toEqual({
      differences: [],
      notDeterministic: [{ kind: 'stdout' }],
    });
  });

  it('finds another number of lines where that is stable', () => {
    expect(compare(['1\na\n', '2\na\n'], '3\na\nb\n').differences).toEqual([
      { place: { kind: 'stdout' }, plain: '2 lines', image: '3 lines' },
    ]);
  });
});
