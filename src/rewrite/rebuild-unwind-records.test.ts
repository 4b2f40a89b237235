import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { join as bytesOf, u32, u64 } from '../../test/support/elf-records.ts';
import { cie, FRAME_AT, fde, framesElf, hdr, leb, record } from '../../test/support/frames-elf.ts';
import { tinyElf } from '../../test/support/tiny-elf.ts';
import { cloneOf, mapOf, unitOf } from '../../test/support/unwind-scene.ts';
import { rva } from '../base/brands.ts';
import { WinnowError } from '../base/errors.ts';
import { type Fde, readEhFrame } from '../elf/eh-frame.ts';
import type { ElfImage } from '../elf/image.ts';
import { readElf } from '../elf/read.ts';
import * as spec from '../elf/spec.ts';
import type { Clone } from './model.ts';
import { planUnwind, type UnwindPlan } from './rebuild-unwind.ts';

function planned(image: ElfImage, clones: readonly Clone[]): UnwindPlan {
  const plan = planUnwind(image, clones);
  if (plan.kind === 'kept') throw new Error(plan.reason);
  return plan;
}

describe('planUnwind, of records made by hand', () => {
  it('leads personalities that are named directly to their copies, and indirect ones to their slots', () => {
    for (const [encoding, leads] of [
      [0x1b, 0x2108],
      [0x9b, 0x808],
    ]) {
      const at = FRAME_AT + 18;
      const head = cie('zPR', bytesOf(Buffer.from([encoding ?? 0]), u32(0x808 - at), Buffer.from([0x1b])));
      const image = made(bytesOf(head, fde(head, bytesOf(u32(0x100, 0x20), leb(0)))));
      expect(readEhFrame(image).cies[0]?.personality).toMatchObject({ at, target: 0x808 });
      const clones = [cloneOf(unitOf('function', 0x800, 0x820), 0x2100)];
      const { frame } = planned(image, clones).write(
        { hdr: rva(0x4000), frame: rva(0x5000), pads: rva(0xc0000) },
        mapOf(clones),
      );
      expect(0x5000 + 18 + frameView(frame).getInt32(18, true)).toBe(leads);
    }
  });

  it('has nothing to do where there are no tables', () => {
    const image = readElf(tinyElf().bytes, 'tiny.so');
    const plan = planned(image, [cloneOf(unitOf('fragment', 0x400, 0x410), 0x4000)]);
    expect([plan.hdrSize, plan.frameSize, plan.cloneFdes]).toEqual([0, 0, 0]);
    expect(
      plan.write({ hdr: rva(0x5000), frame: rva(0x6000), pads: rva(0xc0000) }, mapOf([])).frame,
    ).toHaveLength(0);
  });

  it('gives code without an FDE none, and drops the zero length between pieces', () => {
    const head = cie('zR', Buffer.from([0x1b]));
    const first = bytesOf(head, oneFde(head, 0x800), u32(0));
    const second = bytesOf(first, head);
    const all = bytesOf(
      second,
      fde(head, bytesOf(u32((0x900 - (FRAME_AT + second.length + 8)) >>> 0, 0x10), leb(0))),
      u32(0),
    );
    const image = made(all);
    const clones = [
      cloneOf(unitOf('fragment', 0x700, 0x710), 0x2000),
      cloneOf(unitOf('cluster', 0x7f0, 0x830), 0x2010),
    ];
    const plan = planned(image, clones);
    expect(plan.cloneFdes).toBe(1);
    const { frame } = plan.write({ hdr: rva(0x4000), frame: rva(0x5000), pads: rva(0xc0000) }, mapOf(clones));
    const view = frameView(frame);
    const records: number[] = [];
    for (let at = 0; at < frame.length; at += 4 + view.getUint32(at, true))
      records.push(view.getUint32(at, true));
    expect(records.map((length) => length > 0)).toEqual([true, true, true, true, true, false]);
  });

  it('gives tables that only a section leads to a header', () => {
    const head = cie('zR', Buffer.from([0x1b]));
    const image = readElf(
      framesElf({ frame: bytesOf(head, oneFde(head, 0x800), u32(0)), sections: true }),
      'own.so',
    );
    const clones = [cloneOf(unitOf('function', 0x800, 0x820), 0x2000)];
    const { frame, hdr: table } = planned(image, clones).write(
      { hdr: rva(0x3000), frame: rva(0x5000), pads: rva(0xc0000) },
      mapOf(clones),
    );
    expect(readBack(frame, table).map(({ start }) => start)).toEqual([0x800, 0x2000]);
  });

  it('writes 64-bit addresses and 64-bit lengths', () => {
    const head = record(
      bytesOf(u32(0), Buffer.from('\x01zR\0\x01\x78\x10\x01\0\x0c\x07\x08', 'latin1')),
      true,
    );
    const image = made(
      bytesOf(head, record(bytesOf(u32(head.length + 12), u64(0x800, 0x20), leb(0)), true)),
      spec.ET_EXEC,
    );
    const clones = [cloneOf(unitOf('function', 0x800, 0x820), 0x2100)];
    const { frame, hdr: table } = planned(image, clones).write(
      { hdr: rva(0x3000), frame: rva(0x5000), pads: rva(0xc0000) },
      mapOf(clones),
    );
    expect(readBack(frame, table).map(({ start, end }) => [start, end])).toEqual([
      [0x800, 0x820],
      [0x2100, 0x2120],
    ]);
  });

  it('leaves what describes no code of the module out of the table', () => {
    const head = cie('zR', Buffer.from([0x04]));
    const far = (before: Uint8Array, start: number): Buffer => fde(before, bytesOf(u64(start, 0x10), leb(0)));
    const one = bytesOf(head, far(head, 0x800));
    const two = bytesOf(one, far(one, 2 ** 40));
    const image = made(bytesOf(two, far(two, 0)), spec.ET_EXEC);
    const clones = [cloneOf(unitOf('function', 0x800, 0x810), 0x2000)];
    const plan = planned(image, clones);
    expect(plan.hdrSize).toBe(12 + 2 * 8);
    const { hdr: table } = plan.write(
      { hdr: rva(0x3000), frame: rva(0x5000), pads: rva(0xc0000) },
      mapOf(clones),
    );
    const view = frameView(table);
    expect([view.getInt32(12, true), view.getInt32(20, true)]).toEqual([0x800 - 0x3000, 0x2000 - 0x3000]);
  });

  it('plans, keeps or refuses damaged records, and writes what it plans', { timeout: 120_000 }, () => {
    const head = cie('zPLR', bytesOf(Buffer.from([0x9b]), u32(0x100), Buffer.from([0x1b, 0x1b])));
    const one = bytesOf(
      head,
      fde(head, bytesOf(u32(0x3dc), u32(0x20), leb(4), u32(0x80)), [0x42, 0x0e, 16, 0x0a, 0x0b]),
    );
    const frame = bytesOf(one, cie('zR', Buffer.from([0x1b])), u32(0));
    const clean = framesElf({ frame, hdr: hdr([[0x7f8, FRAME_AT + head.length]]), sections: true });
    const unit = unitOf('function', 0x7f8, 0x818);
    const outcomes = { unwind: 0, kept: 0, refused: 0 };
    const patch = fc.tuple(fc.nat(frame.length - 1), fc.oneof(fc.nat(255), fc.constantFrom(0, 0x80, 0xff)));
    fc.assert(
      fc.property(fc.array(patch, { maxLength: 3 }), (patches) => {
        const bytes = Uint8Array.from(clean);
        for (const [at, value] of patches) bytes[FRAME_AT + at] = value;
        try {
          const clones = [cloneOf(unit, 0x2008)];
          const plan = planUnwind(readElf(bytes, 'fuzz.so'), clones);
          outcomes[plan.kind]++;
          if (plan.kind === 'kept') return;
          const written = plan.write(
            { hdr: rva(0x3000), frame: rva(0x5000), pads: rva(0xc0000) },
            mapOf(clones),
          );
          expect([written.hdr.length, written.frame.length]).toEqual([plan.hdrSize, plan.frameSize]);
        } catch (error) {
          if (!(error instanceof WinnowError)) throw error;
          outcomes.refused++;
        }
      }),
      { numRuns: 1000 },
    );
    expect(Math.min(outcomes.unwind, outcomes.kept, outcomes.refused)).toBeGreaterThan(10);
  });

  it('keeps modules whose tables cannot be rewritten, and says why', () => {
    const withEncoding = (encoding: number, pointer: Buffer, range: Buffer): Buffer => {
      const head = cie('zR', Buffer.from([encoding]));
      return bytesOf(head, fde(head, bytesOf(pointer, range, leb(0))));
    };
    const lsda = cie('zLR', Buffer.from([0x1b, 0x1b]));
    const clone = [cloneOf(unitOf('function', 0x1000, 0x1010), 0x4000)];
    const start = 0x1000;
    const plain = (program: readonly number[]): Buffer => {
      const head = cie('zR', Buffer.from([0x03]));
      return bytesOf(head, fde(head, bytesOf(u32(start, 0x20), leb(0)), program));
    };
    const cases: readonly (readonly [Buffer, RegExp])[] = [
      [withEncoding(0x13, u32(0xbe4), u32(0x20)), /encoding/],
      [withEncoding(0x1a, Buffer.from([0xe4, 0x0b]), Buffer.from([0x20, 0])), /encoding/],
      [withEncoding(0x11, leb(0xbe4), leb(0x20)), /encoding/],
      [withEncoding(0x3b, u32(-0x2000 >>> 0), u32(0x20)), /encoding/],
      [
        bytesOf(lsda, fde(lsda, bytesOf(u32(0xbe1), u32(0x20), leb(4), u32(0x100)))),
        /part of a function with an LSDA/,
      ],
      [plain([0x3f]), /not known/],
      [plain([0x0f, 2, 0x80, 0]), /depend on where/],
    ];
    for (const [frame, reason] of cases) {
      const image = made(frame);
      expect(readEhFrame(image).fdes.map((one) => one.start < 0x1010 && one.end > 0x1000)).toEqual([true]);
      expect(planUnwind(image, clone)).toEqual(
        expect.objectContaining({ kind: 'kept', reason: expect.stringMatching(reason) }),
      );
    }
    // Without section headers and PT_GNU_EH_FRAME nothing leads to records that may be there.
    const bare = readElf(framesElf({ frame: plain([]) }), 'bare.so');
    expect(planUnwind(bare, clone)).toMatchObject({ reason: expect.stringMatching(/nothing says/) });
  });
});

const oneFde = (before: Uint8Array, start: number): Buffer =>
  fde(before, bytesOf(u32((start - (FRAME_AT + before.length + 8)) >>> 0, 0x20), leb(0)));

const frameView = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

/** An image with these records and a header. */
const made = (frame: Buffer, type: number = spec.ET_DYN): ElfImage =>
  readElf(framesElf({ frame, hdr: hdr([]), sections: true, type }), 'made.so');

/** What stands at 0x3000 and 0x5000, read. */
function readBack(frame: Uint8Array, table: Uint8Array): readonly Fde[] {
  const bytes = Buffer.alloc(0x6000);
  bytes.set(framesElf({ frame, hdr: hdr([]) }).subarray(0, 0x1000));
  bytes.writeBigUInt64LE(0x6000n, 64 + 32);
  bytes.writeBigUInt64LE(0x6000n, 64 + 40);
  bytes.set(table, 0x3000);
  bytes.set(frame, 0x5000);
  for (const [i, value] of [0x3000, 0x3000, 0x3000, table.length, table.length].entries()) {
    bytes.writeBigUInt64LE(BigInt(value), 64 + 2 * spec.PHDR_SIZE + 8 + 8 * i);
  }
  const read = readEhFrame(readElf(bytes, 'back.so'));
  expect(read.headerProblem).toBeUndefined();
  return read.fdes;
}
