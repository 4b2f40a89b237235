/**
 * What instructions look like, remembered by their first bytes.
 *
 * Problem: a program's code holds tens of millions of instructions, and each question to WebAssembly takes longer than
 * everything else that is done with one. Example: `mov 8(%rbp), %eax` and `mov -4(%rbp), %eax` are 8b 45 08 and 8b 45 fc.
 * Whatever the last byte is, it takes three, control goes on, and no field holds a distance.
 * Method: all that an Insn tells but its addresses is its shape. It depends on prefixes, opcode, ModRM and, where that
 * asks for one, SIB byte: what follows are numbers. So what iced-x86 says of the first instruction that begins with
 * these bytes holds for all. They are kept in a trie, a table of 256 words for each byte but the last.
 * Limits: where what follows does count, nothing is remembered: 3DNow!, whose opcode comes last; gathers, which must
 * name three different registers; XOP. Nothing is remembered of what is refused either.
 */

import { isPrefix, isRex } from './prefixes.ts';

/** A number of up to 15 bits, which mean something to its owner alone. */
export type Shape = number;

export const NO_SHAPE = -1;

/** As many as 15 bits count: 16 MiB for each thread. Vector code needs the most, as its prefixes name registers. */
const MOST_TABLES = 2 ** 15;
const TABLE = 256;

/** Where it is set the other bits are a shape; else they are the number of the next byte's table; 0: nothing is known. */
const IS_SHAPE = 2 ** 15;
let words = new Uint16Array(16 * TABLE);
let tables = 1;

/** The shape of the instruction at bytes[start]; NO_SHAPE where it has to be decoded. */
export function shapeAt(bytes: Uint8Array, start: number): Shape {
  const end = bytes.length;
  let table = 0;
  for (let p = start; p < end; p++) {
    const word = words[table * TABLE + (bytes[p] ?? 0)] ?? 0;
    if (word >= IS_SHAPE) return word - IS_SHAPE;
    if (word === 0) return NO_SHAPE;
    table = word;
  }
  return NO_SHAPE;
}

/** Remembers the shape of the instruction at bytes[start], if it may be; once the tables are full, no more. */
export function remember(bytes: Uint8Array, start: number, shape: Shape): void {
  const last = keyEnd(bytes, start) - 1;
  if (last < start || tables + (last - start) > MOST_TABLES) return;
  let table = 0;
  for (let p = start; p < last; p++) {
    const at = table * TABLE + (bytes[p] ?? 0);
    table = words[at] ?? 0;
    if (table === 0) {
      table = newTable();
      words[at] = table;
    }
  }
  words[table * TABLE + (bytes[last] ?? 0)] = shape + IS_SHAPE;
}

function newTable(): number {
  if (tables * TABLE === words.length) {
    const more = new Uint16Array(words.length * 2);
    more.set(words);
    words = more;
  }
  return tables++;
}

const VEX2 = 0xc5;
const VEX3 = 0xc4;
const EVEX = 0x62;
/** `pop` of memory too. */
const XOP = 0x8f;
const ESCAPE = 0x0f;
/** Behind 0f. */
const NOW_3D = 0x0f;
const ESCAPE_38 = 0x38;
const ESCAPE_3A = 0x3a;
/** The map of opcodes behind 0f 38, by its number in VEX and EVEX prefixes. */
const MAP_38 = 2;

/** Behind the last byte that the shape depends on; -1: it depends on more, or not all of them are there. */
function keyEnd(bytes: Uint8Array, start: number): number {
  let p = start;
  while (isPrefix(bytes[p]) || isRex(bytes[p])) p++;
  const first = bytes[p++] ?? XOP;
  if (first === XOP) return -1;
  if (first === VEX2 || first === VEX3 || first === EVEX) {
    const map = first === VEX2 ? 1 : (bytes[p] ?? 0) & (first === VEX3 ? 0x1f : 7);
    p += first === VEX2 ? 1 : first === VEX3 ? 2 : 3;
    if (map === MAP_38 && gathers(bytes[p] ?? 0)) return -1;
    p++;
  } else if (first === ESCAPE) {
    const opcode = bytes[p++] ?? NOW_3D;
    if (opcode === NOW_3D) return -1;
    if (opcode === ESCAPE_38 || opcode === ESCAPE_3A) p++;
    else if (opcode >= 0x80 && opcode <= 0x8f) return p;
  } else if (hasNoModrm(first)) return p;
  const modrm = bytes[p++] ?? 0;
  // Of some SIB bytes it depends whether there is a displacement. What has no ModRM has one byte or two too many.
  if ((modrm & 0xc7) === 4) p++;
  return p <= bytes.length ? p : -1;
}

/** Gathers, scatters, prefetches of these: with VEX or EVEX, in the map of 0f 38. */
const gathers = (opcode: number): boolean =>
  (opcode >= 0x90 && opcode <= 0x93) ||
  (opcode >= 0xa0 && opcode <= 0xa3) ||
  opcode === 0xc6 ||
  opcode === 0xc7;

/** Of the opcodes of one byte the frequent ones: push, pop, short branches, immediates, string instructions, ret. */
function hasNoModrm(opcode: number): boolean {
  if (opcode < 0x40) return (opcode & 7) === 4 || (opcode & 7) === 5;
  if (opcode < 0x60) return opcode >= 0x50;
  if (opcode < 0x80) return opcode >= 0x6c || opcode === 0x68 || opcode === 0x6a;
  if (opcode < 0xc0) return opcode >= 0x90;
  return NO_MODRM.has(opcode);
}

/** ret, leave, int3, call, jmp, hlt, clc, stc, cld, std */
const NO_MODRM: ReadonlySet<number> = new Set([
  0xc2, 0xc3, 0xc9, 0xcc, 0xe8, 0xe9, 0xeb, 0xf4, 0xf8, 0xf9, 0xfc, 0xfd,
]);
