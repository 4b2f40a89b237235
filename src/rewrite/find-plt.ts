/**
 * The stubs of a procedure linkage table (PLT), each by itself.
 *
 * Problem: one FDE describes a whole .plt, and section headers, which say where it is, may be stripped.
 * Example: `jmp *GOT[n](%rip); push $i; jmp PLT0`, 16 bytes a stub, after PLT0 with its
 * `push GOT[1](%rip); jmp *GOT[2](%rip)`. With branch tracking (IBT) two tables: .plt with
 * `endbr64; push $i; jmp PLT0` and .plt.sec with `endbr64; jmp *GOT[n](%rip)`. Stubs of functions whose
 * address is also taken have no lazy part (.plt.got, 8 bytes).
 * Method: stubs are known by their instructions and by the words they jump through: words that
 * relocations fill with addresses of functions, and the three that DT_PLTGOT points to. An FDE
 * that stubs tile is a PLT; and the words of lazy relocations hold, in the file, addresses in stubs.
 * Limits: stubs of other shapes (retpolines, a PLT of the large code model) are code like any other.
 */
import { rva } from '../base/brands.ts';
import type { ElfImage } from '../elf/image.ts';
import * as spec from '../elf/spec.ts';
import type { CodeMap } from './code-map.ts';
import { nopAt } from './padding.ts';

export interface Stub {
  readonly start: number;
  readonly end: number;
  /** Behind the jump through the GOT, where a lazy stub goes on while its word is not filled. */
  readonly lazyAt: number | undefined;
}

const PUSH_IMM = 0x68;
const JMP = 0xe9;
const BND = 0xf2;
const STUB_ALIGN = 8;
/** Of endbr64, of what mold writes, bnd, of an indirect jump or push, of push: most functions begin otherwise. */
const FIRST_BYTES: ReadonlySet<number> = new Set([0xf3, 0x41, BND, 0xff, PUSH_IMM]);

const FILLED_WITH_FUNCTIONS: ReadonlySet<number> = new Set([
  spec.R_X86_64_64,
  spec.R_X86_64_GLOB_DAT,
  spec.R_X86_64_JUMP_SLOT,
  spec.R_X86_64_IRELATIVE,
]);

/** Recognises stubs at addresses. */
export class StubReader {
  readonly #code: CodeMap;
  /** Words that relocations fill with addresses of functions. */
  readonly #slots: ReadonlySet<number>;
  /** What DT_PLTGOT points to: GOT[1] and GOT[2] are the dynamic loader's. */
  readonly #got: number;
  /** What the words of lazy relocations hold in the file. */
  readonly lazyTargets: readonly number[];

  constructor(image: ElfImage, code: CodeMap) {
    this.#code = code;
    const filled = image.relocations.filter(({ type }) => FILLED_WITH_FUNCTIONS.has(type));
    this.#slots = new Set(filled.map((relocation) => relocation.rva));
    this.#got = image.dynamic.value(spec.DT_PLTGOT) ?? Number.NaN;
    this.lazyTargets = lazyTargets(image, code);
  }

  /** The stub that starts at `at`, with the nops behind it up to a multiple of 8 bytes. */
  at(at: number): Stub | undefined {
    const code = this.#code;
    if (!FIRST_BYTES.has(code.byteAt(at))) return undefined;
    const bytes = code.bytes(at, at + 32);
    let p = isEndbr(bytes) ? 4 : 0;
    let lazyAt: number | undefined;
    // mold loads the index before it jumps.
    if (bytes[p] === 0x41 && bytes[p + 1] === 0xbb) p += 6;
    const direct = indirectEnd(bytes, p, 0x25);
    if (direct !== 0) {
      if (!this.#slots.has(pointed(bytes, at, direct))) return undefined;
      const lazy = pushJumpEnd(bytes, direct);
      if (lazy !== 0) lazyAt = at + direct;
      p = lazy === 0 ? direct : lazy;
    } else {
      const pushed = indirectEnd(bytes, p, 0x35);
      const jumped = pushed === 0 ? 0 : indirectEnd(bytes, pushed, 0x25);
      if (jumped !== 0 && pointed(bytes, at, pushed) === this.#got + 8) p = jumped;
      else {
        const lazy = pushJumpEnd(bytes, p);
        if (lazy === 0 || !this.#isHeader(at + lazy + int32(bytes, lazy - 4))) return undefined;
        p = lazy;
      }
    }
    for (let nop = 1; nop > 0 && p % STUB_ALIGN !== 0; p += nop) nop = nopAt(bytes, p);
    return { start: at, end: at + p, lazyAt };
  }

  /** Starts with `push GOT[1]`. */
  #isHeader(at: number): boolean {
    const bytes = this.#code.bytes(at, at + 16);
    const p = isEndbr(bytes) ? 4 : 0;
    const pushed = indirectEnd(bytes, p, 0x35);
    return pushed !== 0 && pointed(bytes, at, pushed) === this.#got + 8;
  }
}

/** The stubs that tile a range; undefined where something else stands in it, or nothing of a PLT's. */
export function tileWithStubs(
  reader: StubReader,
  code: CodeMap,
  start: number,
  end: number,
): Stub[] | undefined {
  const stubs: Stub[] = [];
  for (let at = start; at < end; ) {
    const stub = reader.at(at);
    if (stub === undefined) {
      const nop = stubs.length === 0 ? 0 : nopAt(code.bytes(at, end), 0);
      if (nop === 0) return undefined;
      at += nop;
      continue;
    }
    if (stub.end > end) return undefined;
    stubs.push(stub);
    at = stub.end;
  }
  // A function that only jumps through the GOT looks the same, but compilers end its FDE at the jump.
  const isFunction = stubs.length === 1 && (end - start) % STUB_ALIGN !== 0;
  return isFunction ? undefined : stubs;
}

/** The stubs that lazy relocations lead to, with PLT0: for a PLT without an FDE. */
export function stubsOfLazyRelocations(reader: StubReader, code: CodeMap): Stub[] {
  const found = new Map<number, Stub>();
  const add = (at: number): Stub | undefined => {
    const stub = found.get(at) ?? reader.at(at);
    if (stub !== undefined) found.set(at, stub);
    return stub;
  };
  for (const target of reader.lazyTargets) {
    // Behind the jump of the stub itself, of 6 bytes or 7; or at the stub of .plt.
    const stub = [6, 7, 10, 11, 0].map((back) => reader.at(target - back)).find((s) => isFor(s, target));
    if (stub === undefined) continue;
    add(stub.start);
    const end = pushJumpEnd(code.bytes(target, target + 16), isEndbr(code.bytes(target, target + 4)) ? 4 : 0);
    if (end !== 0) add(target + end + int32(code.bytes(target, target + end), end - 4));
  }
  return [...found.values()];
}

const isFor = (stub: Stub | undefined, target: number): boolean =>
  stub !== undefined && (stub.start === target || stub.lazyAt === target);

function lazyTargets(image: ElfImage, code: CodeMap): number[] {
  const table = image.dynamicRelocations.find(({ name }) => name === 'DT_JMPREL');
  const found: number[] = [];
  for (const { rva: slot } of table?.relocations ?? []) {
    const offset = image.offsetOf(slot);
    if (offset === undefined || offset + 8 > image.bytes.length) continue;
    const view = new DataView(image.bytes.buffer, image.bytes.byteOffset + offset, 8);
    const word = view.getBigUint64(0, true);
    if (word > 0n && word <= 0xffff_ffffn && code.has(rva(Number(word)))) found.push(Number(word));
  }
  return found;
}

const isEndbr = (bytes: Uint8Array): boolean =>
  bytes[0] === 0xf3 && bytes[1] === 0x0f && bytes[2] === 0x1e && bytes[3] === 0xfa;

/** End of `ff MODRM disp32`, which is rip-relative, with a bnd prefix or without; 0: something else stands there. */
function indirectEnd(bytes: Uint8Array, at: number, modrm: number): number {
  const p = bytes[at] === BND ? at + 1 : at;
  return bytes[p] === 0xff && bytes[p + 1] === modrm && p + 6 <= bytes.length ? p + 6 : 0;
}

/** End of `push $imm32; jmp rel32`. */
function pushJumpEnd(bytes: Uint8Array, at: number): number {
  if (bytes[at] !== PUSH_IMM) return 0;
  const p = bytes[at + 5] === BND ? at + 6 : at + 5;
  return bytes[p] === JMP && p + 5 <= bytes.length ? p + 5 : 0;
}

/** What the 4 bytes before `end` point to, counted from `end`. */
const pointed = (bytes: Uint8Array, at: number, end: number): number => at + end + int32(bytes, end - 4);

const int32 = (bytes: Uint8Array, at: number): number =>
  (bytes[at] ?? 0) |
  ((bytes[at + 1] ?? 0) << 8) |
  ((bytes[at + 2] ?? 0) << 16) |
  ((bytes[at + 3] ?? 0) << 24);
