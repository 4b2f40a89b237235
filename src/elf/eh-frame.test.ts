import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { join, u32, u64 } from '../../test/support/elf-records.ts';
import {
  cie,
  FRAME_AT,
  fde,
  framesElf,
  HDR_AT,
  hdr,
  leb,
  PLTGOT,
  record,
} from '../../test/support/frames-elf.ts';
import { tinyElf } from '../../test/support/tiny-elf.ts';
import { WinnowError } from '../base/errors.ts';
import * as dwarf from './dwarf.ts';
import { cfiOf, type EhFrame, isLeftover, readEhFrame } from './eh-frame.ts';
import { readElf } from './read.ts';
import * as spec from './spec.ts';

const CI = Boolean(process.env.CI);
const RUNS = CI ? 40_000 : 1_500;
const ZERO = u32(0);
/** Where framesElf's segment ends, and its section headers begin. */
const SEGMENT_END = 0x1000;

const read = (parts: Parameters<typeof framesElf>[0]): EhFrame =>
  readEhFrame(readElf(framesElf(parts), 'frames.so'));
const refusal = (parts: Parameters<typeof framesElf>[0]): unknown => {
  try {
    read(parts);
  } catch (error) {
    if (error instanceof WinnowError) return `${error.code} ${error.what} (${error.where})`;
    throw error;
  }
  return 'nothing';
};

/** One CIE and one FDE of code at 0x800, 0x20 bytes long. */
const plainCie = cie('zR', Buffer.from([0x1b]));
const plainFde = (before: Uint8Array, start = 0x800, size = 0x20): Buffer =>
  fde(before, join(u32((start - (FRAME_AT + before.length + 8)) >>> 0, size), leb(0)), [0x42, 0x0e, 0x10]);
const plain = join(plainCie, plainFde(plainCie), ZERO);

describe('readEhFrame', () => {
  it('reads none where there is none', () => {
    expect(readEhFrame(readElf(tinyElf().bytes, 'tiny.so'))).toMatchObject({ at: undefined, fdes: [] });
  });

  it('says where every field stands', () => {
    const frame = read({ frame: plain, hdr: hdr([[0x800, FRAME_AT + plainCie.length]]) });
    const [only] = frame.fdes;
    const at = FRAME_AT + plainCie.length;
    expect(only).toMatchObject({
      at,
      start: 0x800,
      end: 0x820,
      ciePointerAt: at + 4,
      startAt: at + 8,
      rangeAt: at + 12,
    });
    expect(only?.cie).toBe(frame.cies[0]);
    expect(only?.lsdaAt).toBeUndefined();
    expect([...(only === undefined ? [] : cfiOf(frame, only))]).toEqual([0x42, 0x0e, 0x10]);
    expect(frame.bytes.length).toBe(plain.length);
    expect(frame.headerProblem).toBeUndefined();
  });

  it('goes on behind a zero length where the section or the table says so', () => {
    const before = join(plain);
    const second = join(before, plainCie);
    const later = fde(plainCie, join(u32((0x900 - (FRAME_AT + second.length + 8)) >>> 0, 0x10), leb(0)));
    const frame = join(second, later, ZERO);
    const rows = [
      [0x800, FRAME_AT + plainCie.length],
      [0x900, FRAME_AT + second.length],
    ] as const;
    const starts = (parts: Partial<Parameters<typeof framesElf>[0]>): number[] =>
      read({ frame, ...parts }).fdes.map(({ start }) => start);
    expect(starts({ hdr: hdr(rows) })).toEqual([0x800, 0x900]);
    expect(starts({ hdr: hdr(rows.slice(0, 1)) })).toEqual([0x800]);
    expect(starts({ sections: true })).toEqual([0x800, 0x900]);
    expect(read({ frame, sections: true, hdr: hdr(rows.slice(0, 1)) }).headerProblem).toMatch(
      /misses the FDE/,
    );
  });

  /** An empty .eh_frame behind the last byte of the segment; `rows` makes a header that leads to it. */
  function emptyAtEnd(rows: Parameters<typeof hdr>[0] | undefined, sections: boolean): Uint8Array {
    const header = rows === undefined ? undefined : hdr(rows);
    header?.set(u32(SEGMENT_END - HDR_AT - 4), 4);
    const bytes = framesElf({ frame: Buffer.alloc(0), hdr: header, sections });
    // The second section header: sh_addr, sh_offset.
    if (sections) bytes.set(u64(SEGMENT_END, SEGMENT_END), SEGMENT_END + 64 + 16);
    return bytes;
  }

  it('takes an empty one for what it is, wherever it stands', () => {
    const nothing = { cies: [], fdes: [] };
    expect(read({ frame: Buffer.alloc(0), sections: true })).toMatchObject({ at: FRAME_AT, ...nothing });
    for (const [rows, sections] of [
      [undefined, true],
      [[], true],
      [[], false],
    ] as const) {
      const frame = readEhFrame(readElf(emptyAtEnd(rows, sections), 'empty.so'));
      expect(frame).toMatchObject({ at: SEGMENT_END, ...nothing });
      expect(frame.bytes).toHaveLength(0);
      expect(frame.headerProblem).toBe(rows === undefined ? 'there is no PT_GNU_EH_FRAME' : undefined);
    }
    // One with a row is not empty.
    const told = readElf(emptyAtEnd([[0x800, SEGMENT_END]], false), 'empty.so');
    expect(() => readEhFrame(told)).toThrow(expect.objectContaining({ code: 'E_ELF_EH_FRAME' }));
  });

  it('reads 64-bit lengths, and CIEs without augmentation', () => {
    const wide = record(u32(0), true);
    expect(refusal({ frame: wide, sections: true })).toMatch(/E_ELF_EH_FRAME/);
    const absolute = join(
      record(join(u32(0), Buffer.from('\x01\0\x01\x78\x10\x0c\x07\x08', 'latin1')), true),
      record(join(u32(0x24), u64(0x800, 0x20)), true),
    );
    expect(read({ frame: absolute, sections: true }).fdes).toMatchObject([{ start: 0x800, end: 0x820 }]);
  });

  it('keeps what linkers left of dropped code, and names it', () => {
    const empty = join(plainCie, plainFde(plainCie, 0x800, 0));
    const zero = join(empty, fde(empty, join(u32(0, 0x20), leb(0))), ZERO);
    const frame = read({ frame: zero, sections: true });
    expect(frame.fdes.map(isLeftover)).toEqual([true, true]);
  });

  it('reads every encoding of a pointer', () => {
    const formats: readonly (readonly [number, (value: number) => Uint8Array])[] = [
      [dwarf.DW_EH_PE_absptr, (v) => u64(v)],
      [dwarf.DW_EH_PE_uleb128, leb],
      [dwarf.DW_EH_PE_udata2, (v) => u32(v).subarray(0, 2)],
      [dwarf.DW_EH_PE_udata4, (v) => u32(v >>> 0)],
      [dwarf.DW_EH_PE_udata8, (v) => u64(v)],
      [
        dwarf.DW_EH_PE_sleb128,
        (v) => Buffer.from([(v & 0x7f) | 0x80, ((v >> 7) & 0x7f) | 0x80, (v >> 14) & 0x7f]),
      ],
      [dwarf.DW_EH_PE_sdata2, (v) => u32(v >>> 0).subarray(0, 2)],
      [dwarf.DW_EH_PE_sdata4, (v) => u32(v >>> 0)],
      [dwarf.DW_EH_PE_sdata8, (v) => u64(v)],
    ];
    for (const [format, write] of formats) {
      for (const [base, counts] of [
        [dwarf.DW_EH_PE_absptr, () => 0],
        [dwarf.DW_EH_PE_pcrel, (field: number) => field],
        [dwarf.DW_EH_PE_datarel, () => PLTGOT],
      ] as const) {
        const encoding = format | base;
        const head = cie('zR', Buffer.from([encoding]));
        const field = FRAME_AT + head.length + 8;
        // Unsigned formats cannot lead back: pcrel reaches forward, datarel from the table on.
        const start = base === dwarf.DW_EH_PE_datarel ? PLTGOT + 0x123 : 0x1234;
        const one = fde(head, join(write(start - counts(field)), write(0x35), leb(0)));
        const found = read({ frame: join(head, one), sections: true }).fdes[0];
        expect({ encoding, start: found?.start, end: found?.end }).toEqual({
          encoding,
          start,
          end: start + 0x35,
        });
      }
    }
  });

  it('reads personalities and LSDA pointers, indirect and aligned ones too', () => {
    const frame = join(cie('zPLR', Buffer.from([0x9b, 0xf0, 0xff, 0xff, 0xff, 0x1b, 0x1b])));
    const lsda = fde(
      frame,
      join(u32((0x800 - (FRAME_AT + frame.length + 8)) >>> 0, 0x20), leb(4), u32(0x100)),
    );
    const none = join(frame, lsda);
    const empty = fde(none, join(u32((0x900 - (FRAME_AT + none.length + 8)) >>> 0, 0x20), leb(4), u32(0)));
    const all = read({ frame: join(none, empty), sections: true });
    const at = all.cies[0]?.personality?.at ?? 0;
    expect(all.cies[0]?.personality).toEqual({ at, encoding: 0x9b, target: at - 16 });
    expect(all.fdes[0]?.lsda).toBe(FRAME_AT + frame.length + 17 + 0x100);
    expect(all.fdes[1]).toMatchObject({ lsda: undefined, lsdaAt: FRAME_AT + none.length + 17 });
    const aligned = cie('zPR', join(Buffer.from([0x50, 0, 0, 0, 0, 0, 0]), u64(0x777), Buffer.from([0x1b])));
    expect(read({ frame: aligned, sections: true }).cies[0]?.personality?.target).toBe(0x777);
  });

  it('says what is wrong with a header', () => {
    const at = FRAME_AT + plainCie.length;
    const good = hdr([[0x800, at]]);
    const problem = (rows: Parameters<typeof hdr>[0]): string | undefined =>
      read({ frame: plain, hdr: hdr(rows) }).headerProblem;
    expect(problem([[0x800, at]])).toBeUndefined();
    expect(problem([[0x804, at]])).toMatch(/row 0 .* no FDE/);
    expect(
      problem([
        [0x900, at],
        [0x800, at],
      ]),
    ).toMatch(/no FDE/);
    const noTable = Buffer.from(good);
    noTable[3] = 0xff;
    expect(read({ frame: plain, hdr: noTable }).headerProblem).toMatch(/no table/);
    const version = Buffer.from(good);
    version[0] = 2;
    expect(read({ frame: plain, hdr: version, sections: true }).headerProblem).toMatch(/version is 2/);
    expect(refusal({ frame: plain, hdr: version })).toMatch(/E_ELF_EH_FRAME the version is 2/);
    expect(read({ frame: plain, sections: true }).headerProblem).toMatch(/no PT_GNU_EH_FRAME/);
  });

  it('refuses damage, by what is damaged', () => {
    const cases: readonly (readonly [string, Uint8Array, RegExp])[] = [
      ['length', join(u32(0x7fffffff), plain), /a record of 2147483647 bytes/],
      ['length of 64 bits', join(u32(0xffffffff), u64(-1), plain), /a record of -1 bytes/],
      ['length below the identifier', join(u32(3), plain), /a record of 3 bytes/],
      ['no CIE', plainFde(plainCie), /leads to no CIE/],
      ['CIE version', join(record(join(u32(0), Buffer.from([9])))), /version 9/],
      ['augmentation', cie('zXR', Buffer.from([0, 0x1b])), /"zXR" is not known/],
      ['augmentation without z', cie('R', Buffer.from([0x1b])), /"R" is not known/],
      ['augmentation data', cie('zRLP', Buffer.from([0x1b, 0x1b, 0x04])), /do not fit|longer than it says/],
      [
        'encoding',
        join(cie('zR', Buffer.from([0x0f])), fde(cie('zR', Buffer.from([0x0f])), u64(1))),
        /0xf does not exist/,
      ],
      [
        'textrel',
        join(cie('zR', Buffer.from([0x2b])), fde(cie('zR', Buffer.from([0x2b])), u64(1))),
        /0x2b has no meaning/,
      ],
      ['indirect code', cie('zR', Buffer.from([0x9b])), /indirect/],
      ['negative address', join(plainCie, plainFde(plainCie, -0x10)), /leads out/],
      ['negative range', join(plainCie, plainFde(plainCie, 0x800, 0x80000000)), /-2147483648 bytes of code/],
    ];
    for (const [what, frame, says] of cases) {
      expect({ what, refusal: refusal({ frame, sections: true }) }).toEqual({
        what,
        refusal: expect.stringMatching(says),
      });
    }
  });

  it('gives an EhFrame or E_ELF_EH_FRAME, whatever the bytes are', { timeout: 300_000 }, () => {
    const seeds = [
      framesElf({ frame: plain, hdr: hdr([[0x800, FRAME_AT + plainCie.length]]) }),
      framesElf({ frame: plain, hdr: hdr([]), sections: true }),
      framesElf({ frame: plain, sections: true, type: spec.ET_EXEC }),
    ];
    const outcomes = { read: 0, refused: 0 };
    const place = fc.oneof(
      fc.nat(0x40).map((at) => HDR_AT + at),
      fc.nat(plain.length + 8).map((at) => FRAME_AT + at),
    );
    const patch = fc.tuple(
      place,
      fc.oneof(
        fc.constantFrom(...CORNERS),
        fc.nat(255).map((b) => [b]),
      ),
    );
    const noise = fc
      .uint8Array({ maxLength: 0x300 })
      .map((bytes): [number, readonly number[]] => [FRAME_AT, [...bytes]]);
    const damage = fc.oneof(
      { weight: 6, arbitrary: fc.array(patch, { minLength: 1, maxLength: 4 }) },
      fc.tuple(noise),
    );
    fc.assert(
      fc.property(fc.nat(2), damage, (seed, patches) => {
        const bytes = Uint8Array.from(seeds[seed] ?? []);
        for (const [at, values] of patches) bytes.set(values, at);
        try {
          const frame = readEhFrame(readElf(bytes, 'fuzz'));
          outcomes.read++;
          const end = (frame.at ?? 0) + frame.bytes.length;
          for (const record of [...frame.cies, ...frame.fdes]) {
            expect(record.at + record.size).toBeLessThanOrEqual(end);
            expect(record.programAt + record.programSize).toBe(record.at + record.size);
          }
        } catch (error) {
          if (!(error instanceof WinnowError)) throw error;
          expect(error.code).toBe('E_ELF_EH_FRAME');
          outcomes.refused++;
        }
      }),
      { numRuns: RUNS },
    );
    expect(Math.min(outcomes.read, outcomes.refused)).toBeGreaterThan(RUNS / 10);
  });
});

const CORNERS: readonly (readonly number[])[] = [
  [0, 0, 0, 0],
  [0xff, 0xff, 0xff, 0xff],
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
  [0xff, 0xff, 0xff, 0x7f],
  [0, 0, 0, 0x80],
  [4, 0, 0, 0],
  [1, 0, 0, 0],
];
