/** A unit's code as the search for jump tables walks it: by instruction, with the edges that are not in them. */

import { rva } from '../base/brands.ts';
import { type Fde, isLeftover, readEhFrame } from '../elf/eh-frame.ts';
import type { ElfImage } from '../elf/image.ts';
import { type CallSite, readCallSites } from '../elf/landing-pads.ts';
import { PF_X } from '../elf/spec.ts';
import { decodeRange, type Insn } from '../x86/decode.ts';
import { type Operation, OperationReader } from '../x86/operations.ts';
import type { Unit } from './model.ts';
import { RangeIndex } from './pieces.ts';

/** What of a unit its tables are found by. */
export type CodeRange = Pick<Unit, 'start' | 'end' | 'entries'>;

/** Bytes that are taken at a time of code that belongs to the unit and lies elsewhere. */
const ELSEWHERE = 512;

/** A rip-relative operand that may be the address of a table. */
export interface AddressOperand {
  readonly at: number;
  readonly address: number;
}

/** Who makes one frees it. */
export class TableCode {
  readonly image: ElfImage;
  readonly start: number;
  readonly end: number;
  readonly inside: (at: number) => boolean;
  /** Whether no code elsewhere belongs to the unit. */
  readonly isAlone: () => boolean;
  /** Of all instructions of the unit, ascending. */
  readonly starts: readonly number[];
  /** Indirect jumps of the unit, without those through a slot that a rip-relative operand names. */
  readonly jumps: readonly number[];
  readonly addressOperands: readonly AddressOperand[];
  /** Where control may come to other than from the instruction above, as far as branches tell. Ascending. */
  readonly joins: readonly number[];
  readonly #bytes: Uint8Array;
  readonly #operations = new Map<number, Operation | undefined>();
  #unit: OperationReader | undefined;
  #elsewhere: OperationReader | undefined;
  #elsewhereAt = 0;

  constructor(image: ElfImage, unit: CodeRange, inside: (at: number) => boolean, isAlone: () => boolean) {
    this.image = image;
    this.isAlone = isAlone;
    this.start = unit.start;
    this.end = unit.end;
    this.inside = (at) => (at >= unit.start && at < unit.end) || inside(at);
    this.#bytes = codeAt(image, unit.start, unit.end - unit.start);
    const starts: number[] = [];
    const jumps: number[] = [];
    const addressOperands: AddressOperand[] = [];
    const joins = new Set<number>(unit.entries);
    if (mayJumpIndirectly(this.#bytes)) {
      decodeRange(this.#bytes, unit.start, ({ at, flow, fieldAt, ipTarget, target }) => {
        starts.push(at);
        if (flow === 'indirect-jump' && fieldAt < 0) jumps.push(at);
        if (target >= unit.start && target < unit.end) joins.add(target);
        if (flow === 'next' && ipTarget >= 0) addressOperands.push({ at, address: ipTarget });
      });
    }
    this.starts = starts;
    this.jumps = jumps;
    this.addressOperands = addressOperands;
    this.joins = [...joins].toSorted((a, b) => a - b);
  }

  /** Undefined where nothing decodes. */
  at(address: number): Operation | undefined {
    if (this.#operations.has(address)) return this.#operations.get(address);
    const isOwn = address >= this.start && address < this.end;
    const operation = isOwn ? this.#readOwn(address) : this.#readElsewhere(address);
    this.#operations.set(address, operation);
    return operation;
  }

  /** Which of the unit's instructions it is; -1: none. */
  indexOf(address: number): number {
    let low = 0;
    let high = this.starts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.starts[middle] ?? 0) < address) low = middle + 1;
      else high = middle;
    }
    return this.starts[low] === address ? low : -1;
  }

  /** The four bits of a conditional branch of the unit that name its condition. */
  conditionOf({ at, length, branchSize }: Readonly<Insn>): number {
    return (this.#bytes[at - this.start + length - branchSize - 1] ?? 0) & 15;
  }

  /** False for the middle of one of the unit's instructions: nothing leads there. */
  mayBegin(address: number): boolean {
    return address < this.start || address >= this.end || this.indexOf(address) >= 0;
  }

  /** The first instruction from there on that is no padding. */
  skipPadding(address: number): number {
    let at = address;
    for (let next = this.at(at); next?.isPadding === true; next = this.at(at)) at += next.insn.length;
    return at;
  }

  /** Whether it jumps through a slot at once, perhaps behind endbr64: a stub of the PLT. */
  isStub(address: number): boolean {
    const bytes = codeAt(this.image, address, STUB);
    const at = ENDBR64.every((byte, i) => bytes[i] === byte) ? ENDBR64.length : 0;
    const jump = bytes[at] === BND ? at + 1 : at;
    return bytes[jump] === 0xff && bytes[jump + 1] === 0x25;
  }

  free(): void {
    this.#unit?.free();
    this.#elsewhere?.free();
  }

  #readOwn(address: number): Operation | undefined {
    this.#unit ??= new OperationReader(this.#bytes, this.start);
    return this.#unit.read(address);
  }

  #readElsewhere(address: number): Operation | undefined {
    const found = address >= this.#elsewhereAt ? this.#elsewhere?.read(address) : undefined;
    if (found !== undefined) return found;
    this.#elsewhere?.free();
    this.#elsewhere = new OperationReader(codeAt(this.image, address, ELSEWHERE), address);
    this.#elsewhereAt = address;
    return this.#elsewhere.read(address);
  }
}

const ENDBR64 = [0xf3, 0x0f, 0x1e, 0xfa];
const BND = 0xf2;
/** Bytes up to the address in its jump. */
const STUB = 7;

/** Quick, and right where it says no: an indirect near jump is ff with 4 in the middle of the byte behind it. */
function mayJumpIndirectly(bytes: Uint8Array): boolean {
  for (let i = bytes.indexOf(0xff); i >= 0; i = bytes.indexOf(0xff, i + 1)) {
    const modRm = bytes[i + 1] ?? 0;
    // 25 is the rip-relative one.
    if ((modRm & 0x38) === 0x20 && modRm !== 0x25) return true;
  }
  return false;
}

/** At most `size` bytes of executable code; none where there is none. */
function codeAt(image: ElfImage, at: number, size: number): Uint8Array {
  const segment = image.segmentOf(rva(at));
  const offset = image.offsetOf(rva(at));
  if (segment === undefined || offset === undefined || (segment.flags & PF_X) === 0) return new Uint8Array();
  return image.bytes.subarray(offset, Math.min(offset + size, segment.offset + segment.fileSize));
}

/** Answers where code goes on when it throws. */
export class LandingPads {
  readonly #image: ElfImage;
  /** Those with a data area, ascending. */
  readonly #fdes: RangeIndex<Fde>;
  readonly #sites = new Map<Fde, readonly CallSite[]>();

  constructor(image: ElfImage) {
    this.#image = image;
    this.#fdes = new RangeIndex(
      readEhFrame(image)
        .fdes.filter((fde) => fde.lsda !== undefined && !isLeftover(fde))
        .toSorted((a, b) => a.start - b.start),
    );
  }

  /** @throws E_ELF_EH_FRAME where the data area is damaged. */
  padOf(at: number): number | undefined {
    const fde = this.#fdes.find(at);
    if (fde === undefined) return undefined;
    return this.#sitesOf(fde).find(({ start, end }) => at >= start && at < end)?.pad;
  }

  #sitesOf(fde: Fde): readonly CallSite[] {
    const known = this.#sites.get(fde);
    if (known !== undefined) return known;
    const sites = readCallSites(this.#image, fde);
    this.#sites.set(fde, sites);
    return sites;
  }

  /** Whether it is a pad. */
  has(at: number): boolean {
    const fde = this.#fdes.find(at);
    return fde !== undefined && this.#sitesOf(fde).some(({ pad }) => pad === at);
  }
}

/**
 * Functions that do not return: those that some function calls as its very last instruction. Compilers
 * leave nothing behind a call only where they know that it does not come back.
 */
export function findEndings(image: ElfImage): ReadonlySet<number> {
  const found = new Set<number>();
  for (const fde of readEhFrame(image).fdes) {
    if (isLeftover(fde)) continue;
    const bytes = codeAt(image, fde.start, fde.end - fde.start);
    if (bytes.at(-CALL_LENGTH) !== CALL) continue;
    const last = { at: 0, target: -1 };
    const isCode = decodeRange(bytes, fde.start, ({ at, flow, target }) => {
      last.at = at;
      last.target = flow === 'call' ? target : -1;
    });
    if (isCode && last.at === fde.end - CALL_LENGTH && last.target >= 0) found.add(last.target);
  }
  return found;
}

const CALL = 0xe8;
const CALL_LENGTH = 5;
