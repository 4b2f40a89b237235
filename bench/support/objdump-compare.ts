/**
 * winnow's decoder against objdump, instruction by instruction, inside the functions that .eh_frame bounds.
 *
 * Shared by the differential test (some libraries) and the bench (all files). objdump goes through a section
 * from its start, so data in code can put it out of step: such functions are asked for one by one.
 */
import { spawnSync } from 'node:child_process';
import { rva } from '../../src/base/brands.ts';
import { isLeftover, readEhFrame } from '../../src/elf/eh-frame.ts';
import { readElfFile } from '../../src/elf/read.ts';
import { PF_X } from '../../src/elf/spec.ts';
import { decodeRange, type Insn } from '../../src/x86/decode.ts';

export interface CodeComparison {
  readonly path: string;
  readonly differences: readonly string[];
  /** What was compared: an empty comparison must not pass for agreement. */
  readonly compared: { functions: number; instructions: number; branches: number; operands: number };
  /** Functions that winnow refuses. */
  readonly refused: number;
}

/** What objdump says of an instruction: `text` without its address. */
type Listing = ReadonlyMap<number, string>;

const MOST_DIFFERENCES = 10;
/** Of asking objdump again: each takes it some milliseconds. */
const MOST_AGAIN = 300;
const FWAIT = 0x9b;

/** Compares one file. Throws where winnow cannot read it or objdump fails. */
export function compareWithObjdump(path: string): CodeComparison {
  const image = readElfFile(path);
  const listing = disassemble(path, []);
  const compared = { functions: 0, instructions: 0, branches: 0, operands: 0 };
  const differences: string[] = [];
  let refused = 0;
  let again = 0;
  for (const fde of readEhFrame(image).fdes) {
    const offset = image.offsetOf(rva(fde.start));
    if (isLeftover(fde) || offset === undefined) continue;
    if (((image.segmentOf(fde.start)?.flags ?? 0) & PF_X) === 0) continue;
    const bytes = image.bytes.subarray(offset, offset + fde.end - fde.start);
    const seen: Insn[] = [];
    compared.functions++;
    if (!decodeRange(bytes, fde.start, (insn) => seen.push({ ...insn }))) refused++;
    let wrong = differ(bytes, fde.start, seen, listing);
    if (wrong.length > 0 && again++ < MOST_AGAIN) {
      const range = [`--start-address=${fde.start}`, `--stop-address=${fde.end}`];
      wrong = differ(bytes, fde.start, seen, disassemble(path, range));
    }
    differences.push(...wrong);
    compared.instructions += seen.length;
    compared.branches += seen.filter(({ branchSize }) => branchSize > 0).length;
    compared.operands += seen.filter(({ ipTarget }) => ipTarget >= 0).length;
  }
  return { path, differences: differences.slice(0, MOST_DIFFERENCES), compared, refused };
}

function disassemble(path: string, range: readonly string[]): Listing {
  const argv = ['-d', '-w', '--no-show-raw-insn', ...range, path];
  const env = { ...process.env, LC_ALL: 'C' };
  const done = spawnSync('objdump', argv, { encoding: 'latin1', env, maxBuffer: 2 ** 29 });
  if (done.status !== 0) throw new Error(`objdump ${path}: ${done.error?.message ?? done.stderr}`);
  const listing = new Map<number, string>();
  for (const line of done.stdout.split('\n')) {
    const tab = line.indexOf(':\t');
    if (tab > 0) listing.set(Number.parseInt(line, 16), line.slice(tab + 2));
  }
  return listing;
}

/** The instructions of a function, as both see them. */
function differ(bytes: Uint8Array, start: number, seen: readonly Insn[], listing: Listing): string[] {
  const last = seen.at(-1);
  const end = last === undefined ? start : last.at + last.length;
  const wrong: string[] = [];
  const say = (at: number, what: string): unknown => wrong.push(`0x${at.toString(16)}: ${what}`);
  const starts = new Set(seen.map(({ at }) => at));
  for (let at = start; at < end; at++) {
    if (listing.has(at) && !starts.has(at)) say(at, `objdump begins an instruction here: ${listing.get(at)}`);
  }
  let joined = false;
  for (const insn of seen) {
    const text = listing.get(insn.at);
    // objdump shows fwait and the floating-point instruction behind it as one.
    const splits = joined && text === undefined;
    joined = insn.length === 1 && bytes[insn.at - start] === FWAIT;
    if (splits) continue;
    if (text === undefined)
      say(insn.at, `objdump begins no instruction here, winnow ${JSON.stringify(insn)}`);
    else compareOne(insn, text, (what) => say(insn.at, `${what}, objdump ${text}`));
  }
  return wrong;
}

const PREFIXES = '(?:(?:bnd|notrack|lock|repz|repnz|rep|data16|addr32|[c-gs]s|rex[.WRXB]*)\\s+)*';
const DIRECT = new RegExp(
  `^${PREFIXES}(call|jmp|j[a-z]+|loop[a-z]*|xbegin)[a-z,]*\\s+(?:0x)?([0-9a-f]+)(?:\\s|$)`,
);
const INDIRECT = new RegExp(`^${PREFIXES}(call|jmp)[a-z]*\\s+\\*`);
const OPERAND = /\(%rip\).*#\s*(?:0x)?([0-9a-f]+)/;
const NO_RETURN = new RegExp(`^${PREFIXES}(?:ud[012][a-z]*|hlt)`);
const RETURN = new RegExp(`^${PREFIXES}(?:l?ret|iret|sysret|sysexit)`);

function compareOne(insn: Insn, text: string, say: (what: string) => unknown): void {
  const direct = DIRECT.exec(text);
  const target = addressOf(direct?.[2]);
  if (insn.target !== target) say(`target 0x${insn.target.toString(16)}`);
  const operand = OPERAND.exec(text);
  const address = addressOf(operand?.[1]);
  if (insn.ipTarget !== address) say(`operand 0x${insn.ipTarget.toString(16)}`);
  const flow = flowOf(text, direct?.[1]);
  if (insn.flow !== flow) say(`flow ${insn.flow} where ${flow} is expected`);
}

/** -1 for none, and for addresses below the module, which objdump wraps. */
function addressOf(digits: string | undefined): number {
  const address = Number.parseInt(digits ?? '-1', 16);
  return address > Number.MAX_SAFE_INTEGER ? -1 : address;
}

function flowOf(text: string, direct: string | undefined): Insn['flow'] {
  if (direct !== undefined) return direct === 'call' ? 'call' : direct === 'jmp' ? 'jump' : 'conditional';
  const indirect = INDIRECT.exec(text)?.[1];
  if (indirect !== undefined) return indirect === 'call' ? 'indirect-call' : 'indirect-jump';
  if (RETURN.test(text)) return 'return';
  return NO_RETURN.test(text) ? 'stop' : 'next';
}
