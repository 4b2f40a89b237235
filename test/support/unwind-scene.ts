/** A library with new unwind tables and nothing else: for judges of tables, who do not ask for the code. */
import { type Rva, rva } from '../../src/base/brands.ts';
import { type Fde, isLeftover } from '../../src/elf/eh-frame.ts';
import type { ElfImage } from '../../src/elf/image.ts';
import * as spec from '../../src/elf/spec.ts';
import type { Clone, CloneMap, Unit } from '../../src/rewrite/model.ts';
import type { UnwindPlan } from '../../src/rewrite/rebuild-unwind.ts';

const PAGE = 4096;
const up = (value: number, align: number): number => Math.ceil(value / align) * align;

export const unitOf = (kind: Unit['kind'], start: number, end: number, fallsThrough = false): Unit => ({
  kind,
  start: rva(start),
  end: rva(end),
  entries: [rva(start)],
  fallsThrough,
});

export const cloneOf = (unit: Unit, at: number): Clone => ({
  unit,
  at: rva(at),
  size: unit.end - unit.start + (unit.fallsThrough ? 5 : 0),
});

export function mapOf(clones: readonly Clone[], moved = 0): CloneMap {
  const all = clones.map((clone) => ({ ...clone, at: rva(clone.at + moved) }));
  return {
    canonical: 'copy',
    clones: all,
    copyOf: (at) => {
      const clone = all.find(({ unit }) => unit.start <= at && at < unit.end);
      return clone === undefined ? undefined : rva(clone.at + (at - clone.unit.start));
    },
  };
}

/** The first address behind the module where code can be said to be. */
export const behind = (image: ElfImage): number =>
  up(Math.max(...image.segments.map(({ rva: at, memSize }) => at + memSize)), PAGE) + PAGE;

/** Each function of its own, and the stubs of lazy PLTs. */
export function unitsOf(image: ElfImage, fdes: readonly Fde[]): Unit[] {
  const plts = image.sections.filter(({ name }) => name.startsWith('.plt'));
  const stubs = plts.flatMap(({ name, rva: start, size }) => {
    const step = name === '.plt.got' ? 8 : 16;
    return Array.from({ length: Math.floor(size / step) }, (_, i) =>
      unitOf('plt', start + i * step, start + (i + 1) * step),
    );
  });
  const functions = fdes
    .filter(
      (fde) => !isLeftover(fde) && !plts.some(({ rva: at, size }) => fde.start < at + size && fde.end > at),
    )
    .map(({ start, end }) => unitOf('function', start, end, start % 3 === 0));
  return [...functions, ...stubs].toSorted((a, b) => a.start - b.start);
}

/** The file with its tables written behind its end, and its headers leading there. */
export function withTables(
  image: ElfImage,
  plan: UnwindPlan,
  map: CloneMap,
): { readonly bytes: Buffer; readonly hdrAt: Rva; readonly frameAt: Rva } {
  const top = Math.max(...map.clones.map(({ at, size }) => at + size), behind(image));
  const offset = up(image.bytes.length, PAGE);
  const hdrAt = rva(up(top, PAGE));
  const frameAt = rva(up(hdrAt + plan.hdrSize, 8));
  const padsAt = rva(up(frameAt + plan.frameSize, 4));
  const { hdr, frame, pads } = plan.write({ hdr: hdrAt, frame: frameAt, pads: padsAt }, map);
  if (hdr.length !== plan.hdrSize || frame.length !== plan.frameSize || pads.length !== plan.padsSize)
    throw new Error('sizes are not as planned');
  const size = padsAt - hdrAt + pads.length;
  const bytes = Buffer.alloc(offset + size);
  bytes.set(image.bytes);
  bytes.set(hdr, offset);
  bytes.set(frame, offset + frameAt - hdrAt);
  bytes.set(pads, offset + padsAt - hdrAt);
  const segment = (type: number, as: number, length: number): void => {
    const index = image.segments.findIndex((one) => one.type === type);
    const at = image.header.segmentsAt + index * spec.PHDR_SIZE;
    if (index < 0) throw new Error('there is no such segment');
    bytes.writeUInt32LE(as, at);
    bytes.writeUInt32LE(spec.PF_R, at + 4);
    for (const [i, value] of [offset, hdrAt, hdrAt, length, length].entries()) {
      bytes.writeBigUInt64LE(BigInt(value), at + 8 + 8 * i);
    }
    bytes.writeBigUInt64LE(4n, at + 48);
  };
  segment(spec.PT_GNU_EH_FRAME, spec.PT_GNU_EH_FRAME, hdr.length);
  segment(spec.PT_GNU_STACK, spec.PT_LOAD, size);
  for (const { name, index } of image.sections) {
    const part =
      name === '.eh_frame_hdr' ? { at: hdrAt, size: hdr.length } : { at: frameAt, size: frame.length };
    if (name !== '.eh_frame_hdr' && name !== '.eh_frame') continue;
    const at = image.header.sectionsAt + index * spec.SHDR_SIZE + 16;
    // gold says SHT_X86_64_UNWIND, which eu-readelf passes over.
    bytes.writeUInt32LE(spec.SHT_PROGBITS, at - 12);
    for (const [i, value] of [part.at, offset + part.at - hdrAt, part.size].entries()) {
      bytes.writeBigUInt64LE(BigInt(value), at + 8 * i);
    }
  }
  return { bytes, hdrAt, frameAt };
}
