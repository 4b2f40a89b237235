/** A shared object of unwind tables alone, assembled in memory: for encodings and damage that no compiler makes. */
import * as spec from '../../src/elf/spec.ts';
import { join, Strings, u16, u32, u64 } from './elf-records.ts';

export const HDR_AT = 0x200;
export const FRAME_AT = 0x400;
export const PLTGOT = 0x3000;
const LOADED = 0x1000;

/** A record with its length field; `wide` writes the length as 64 bits. */
export function record(body: Uint8Array, wide = false): Buffer {
  const padded = join(body, Buffer.alloc(-(body.length + (wide ? 12 : 4)) & 3));
  return wide ? join(u32(0xffffffff), u64(padded.length), padded) : join(u32(padded.length), padded);
}

export const leb = (value: number): Buffer => {
  const bytes: number[] = [];
  let rest = value;
  do {
    bytes.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    rest = Math.floor(rest / 0x80);
  } while (rest > 0);
  return Buffer.from(bytes);
};

/** @param data of the augmentation. */
export const cie = (augmentation: string, data: Uint8Array, program = [0x0c, 7, 8, 0x90, 1]): Buffer =>
  record(
    join(
      u32(0),
      Buffer.from(`\x01${augmentation}\0\x01\x78\x10`, 'latin1'),
      augmentation.startsWith('z') ? join(leb(data.length), data) : data,
      Buffer.from(program),
    ),
  );

/** @param frame what precedes it since FRAME_AT, and begins with its CIE. @param fields pc, range and what follows. */
export const fde = (frame: Uint8Array, fields: Uint8Array, program: readonly number[] = []): Buffer =>
  record(join(u32(frame.length + 4), fields, Buffer.from(program)));

/** A header with the usual encodings. @param rows code address and FDE. */
export function hdr(rows: readonly (readonly [start: number, fde: number])[]): Buffer {
  const from = (at: number): number => (at - HDR_AT) >>> 0;
  return join(
    Buffer.from([1, 0x1b, 0x03, 0x3b]),
    u32(FRAME_AT - HDR_AT - 4, rows.length),
    ...rows.map(([start, at]) => u32(from(start), from(at))),
  );
}

/** Loads 0x1000 bytes at address 0, with the header at HDR_AT and the records at FRAME_AT. */
export function framesElf(parts: {
  readonly frame: Uint8Array;
  readonly hdr?: Buffer | undefined;
  /** Adds section headers. */
  readonly sections?: boolean;
  readonly type?: number;
}): Buffer {
  const bytes = Buffer.alloc(LOADED + 0x400);
  const dynamicAt = 0x180;
  const header = (type: number, at: number, size: number): Buffer =>
    join(u32(type, spec.PF_R | spec.PF_X), u64(at, at, at, size, size, 1));
  const segments = [
    header(spec.PT_LOAD, 0, LOADED),
    header(spec.PT_DYNAMIC, dynamicAt, 32),
    ...(parts.hdr === undefined ? [] : [header(spec.PT_GNU_EH_FRAME, HDR_AT, parts.hdr.length)]),
  ];
  const names = new Strings();
  const section = (name: string, type: number, flags: number, at: number, size: number): Buffer =>
    join(u32(names.add(name), type), u64(flags, flags === 0 ? 0 : at, at, size), u32(0, 0), u64(1, 0));
  const namesAt = LOADED + 0x200;
  const sections = [
    section('', spec.SHT_NULL, 0, 0, 0),
    section('.eh_frame', spec.SHT_PROGBITS, spec.SHF_ALLOC, FRAME_AT, parts.frame.length),
    section('.shstrtab', spec.SHT_STRTAB, 0, namesAt, 0x100),
  ];
  const has = parts.sections === true;
  const ident = Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, ...new Array(9).fill(0)]);
  join(
    ident,
    u16(parts.type ?? spec.ET_DYN, spec.EM_X86_64),
    u32(1),
    u64(0, 64, has ? LOADED : 0),
    u32(0),
    u16(64, 56, segments.length, 64, has ? sections.length : 0, has ? 2 : 0),
    ...segments,
  ).copy(bytes);
  u64(spec.DT_PLTGOT, PLTGOT, 0, 0).forEach((byte, i) => {
    bytes[dynamicAt + i] = byte;
  });
  parts.hdr?.copy(bytes, HDR_AT);
  Buffer.from(parts.frame).copy(bytes, FRAME_AT);
  if (has) {
    join(...sections).copy(bytes, LOADED);
    names.bytes.copy(bytes, namesAt);
  }
  return bytes;
}
