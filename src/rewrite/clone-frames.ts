/** What the FDEs of clones say: which rows, which LSDA, for which part of which copy. No addresses yet. */
import { type Rva, rva } from '../base/brands.ts';
import { decodeCfi, sliceCfi } from '../elf/cfi.ts';
import { DW_EH_PE_indirect, DW_EH_PE_omit } from '../elf/dwarf.ts';
import { phasesIn } from '../elf/dwarf-expression.ts';
import { type Cie, cfiOf, type EhFrame, type Fde, isLeftover } from '../elf/eh-frame.ts';
import type { ElfImage } from '../elf/image.ts';
import type { Clone, Kept } from './model.ts';
import { type PadData, padDataWithin, readPadData } from './part-pads.ts';

export interface CloneFrame {
  readonly cie: Cie;
  /** Index of the first clone that it describes. */
  readonly clone: number;
  /** How many clones after it, each where the one before ends, are described too. */
  readonly joined: number;
  /** Bytes from the first copy's start to the code. */
  readonly from: number;
  /** Bytes of code. */
  readonly range: number;
  /** The augmentation data with its length, as in the original. */
  readonly augmentation: Uint8Array;
  /** Where the LSDA pointer stands in it; undefined where the CIE knows none. */
  readonly lsdaAt: number | undefined;
  /** The original's. Undefined: none, or one of its own. */
  readonly lsda: Rva | undefined;
  /** What an LSDA of its own has to say: that of a part of a function. */
  readonly pads: PadData | undefined;
  /** The instructions, right for code of the original's address modulo 16. */
  readonly program: Uint8Array;
  /** Where in the program bytes stand to which the difference modulo 16 must be added. */
  readonly phases: readonly number[];
}

export interface CloneFrames {
  readonly kind: 'frames';
  /** In the order of the copies. */
  readonly frames: readonly CloneFrame[];
  readonly kept: readonly Kept[];
}

/** The FDEs that the clones need. Code of clones that has no FDE gets none. */
export function cloneFrames(image: ElfImage, frame: EhFrame, clones: readonly Clone[]): CloneFrames | Kept {
  const live = frame.fdes.filter((fde) => !isLeftover(fde)).toSorted((a, b) => a.start - b.start);
  const frames: CloneFrame[] = [];
  const kept: Kept[] = [];
  for (const [index, clone] of clones.entries()) {
    const { start, end } = clone.unit;
    for (let i = firstOver(live, start); i < live.length; i++) {
      const fde = live[i];
      if (fde === undefined || fde.start >= end) break;
      const made = frameOf(image, frame, fde, index, clone);
      if (typeof made === 'string') {
        return { kind: 'kept', reason: made, at: rva(Math.max(fde.start, start)) };
      }
      if (hasLandingPadStart(image, fde)) {
        kept.push({ kind: 'kept', reason: 'an LSDA leads to the original landing pads', at: fde.start });
      }
      const last = frames.at(-1);
      const joined = last === undefined ? undefined : join(last, made, clones);
      if (joined === undefined) frames.push(made);
      else frames[frames.length - 1] = joined;
    }
  }
  return { kind: 'frames', frames, kept };
}

/** Index of the first FDE that ends behind an address. They ascend; of overlapping ones the last counts. */
function firstOver(fdes: readonly Fde[], at: number): number {
  let low = 0;
  let high = fdes.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((fdes[middle]?.start ?? 0) < at) low = middle + 1;
    else high = middle;
  }
  const before = fdes[low - 1];
  return before !== undefined && before.end > at ? low - 1 : low;
}

function frameOf(
  image: ElfImage,
  frame: EhFrame,
  fde: Fde,
  index: number,
  clone: Clone,
): CloneFrame | string {
  const { unit } = clone;
  const start = Math.max(fde.start, unit.start);
  const part = fde.start < unit.start || fde.end > unit.end;
  // Its call sites count from the start of the FDE's code.
  const pads = part ? readPadData(image, fde) : undefined;
  if (part && fde.lsda !== undefined && pads === undefined)
    return 'a part of a function with an LSDA that cannot be cut';
  // Behind the last instruction comes the jump to what followed the original.
  const end = fde.end >= unit.end ? unit.start + clone.size : fde.end;
  const program = sliceCfi(
    cfiOf(frame, fde),
    fde.cie.codeAlign,
    start - fde.start,
    Math.min(fde.end, unit.end) - fde.start,
  );
  if (program === undefined) return 'its call frame instructions are not known';
  const phases = phasesOf(program);
  if (phases === undefined || phasesOf(cfiOf(frame, fde.cie))?.length !== 0) {
    return 'its call frame instructions depend on where the code stands';
  }
  const behindRange = fde.rangeAt + (fde.rangeAt - fde.startAt) - (frame.at ?? 0);
  const augmentation = frame.bytes.subarray(behindRange, fde.programAt - (frame.at ?? 0));
  return {
    cie: fde.cie,
    clone: index,
    joined: 0,
    from: start - unit.start,
    range: end - start,
    augmentation,
    lsdaAt: fde.lsdaAt === undefined ? undefined : fde.lsdaAt - (frame.at ?? 0) - behindRange,
    lsda: pads === undefined ? fde.lsda : undefined,
    pads: pads === undefined ? undefined : padDataWithin(pads, start, Math.min(fde.end, unit.end)),
    program,
    phases,
  };
}

function phasesOf(program: Uint8Array): readonly number[] | undefined {
  const found: number[] = [];
  let known = true;
  decodeCfi(program, ({ expressionAt, end }) => {
    if (expressionAt < 0) return;
    const phases = phasesIn(program.subarray(expressionAt, end));
    if (phases === undefined) known = false;
    else found.push(...phases.map((at) => expressionAt + at));
  });
  return known ? found : undefined;
}

function hasLandingPadStart(image: ElfImage, { cie, lsda }: Fde): boolean {
  if (lsda === undefined || (cie.lsdaEncoding & DW_EH_PE_indirect) !== 0) return false;
  const at = image.offsetOf(lsda);
  return at !== undefined && image.bytes[at] !== DW_EH_PE_omit;
}

/** One FDE for neighbouring stubs with one row each, the same one. */
function join(last: CloneFrame, next: CloneFrame, clones: readonly Clone[]): CloneFrame | undefined {
  const before = clones[next.clone - 1];
  const clone = clones[next.clone];
  if (before?.unit.kind !== 'plt' || clone?.unit.kind !== 'plt') return undefined;
  const adjacent = last.clone + last.joined + 1 === next.clone && before.at + before.size === clone.at;
  const whole = last.from === 0 && last.range === clone.at - (clones[last.clone]?.at ?? 0) && next.from === 0;
  if (!adjacent || !whole || last.cie !== next.cie || next.lsdaAt !== undefined) return undefined;
  const samePhase =
    next.phases.length === 0 || (clone.at - clone.unit.start - (before.at - before.unit.start)) % 16 === 0;
  if (!samePhase || Buffer.compare(last.program, next.program) !== 0 || hasRows(next.program))
    return undefined;
  return { ...last, joined: last.joined + 1, range: last.range + next.range };
}

function hasRows(program: Uint8Array): boolean {
  let rows = false;
  decodeCfi(program, ({ advance }) => {
    rows ||= advance > 0;
  });
  return rows;
}
