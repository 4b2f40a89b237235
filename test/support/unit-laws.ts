/** What must hold of every analysis, whatever the file is. */
import type { ElfImage } from '../../src/elf/image.ts';
import { unitAt } from '../../src/rewrite/analyse.ts';
import { CodeMap } from '../../src/rewrite/code-map.ts';
import {
  type ModuleAnalysis,
  REFERENCE_ADDRESS,
  REFERENCE_BRANCH,
  type Unit,
} from '../../src/rewrite/model.ts';
import { decodeRange } from '../../src/x86/decode.ts';

/** The broken laws, in words; few at most. */
export function brokenLaws(image: ElfImage, analysis: ModuleAnalysis): string[] {
  const broken: string[] = [];
  const tell = (law: string, at: number): void => {
    if (broken.length < 10) broken.push(`${law}: 0x${at.toString(16)}`);
  };
  const code = new CodeMap(image);
  const starts = new Set<number>();
  for (const unit of analysis.units) {
    const { start, end, entries, kept } = unit;
    if (start >= end || code.bytes(start, end).length !== end - start) tell('a unit lies in the code', start);
    if (entries.some((at, i) => at < start || at >= end || at <= (entries[i - 1] ?? -1)))
      tell('entries ascend, within the unit', start);
    if (kept === undefined) checkMovable(code, unit, starts, tell);
    else if (entries.includes(start) && !decodesFirst(code, unit)) tell('an entry is an instruction', start);
  }
  analysis.units.forEach(({ start }, i) => {
    if (start < (analysis.units[i - 1]?.end ?? 0)) tell('units ascend and do not overlap', start);
  });
  checkReferences(analysis, tell);
  checkBreakpoints(analysis, starts, tell);
  return broken;
}

type Tell = (law: string, at: number) => void;

/** A unit that moves is copied and decoded from start to end, and short branches cannot leave it. */
function checkMovable(code: CodeMap, unit: Unit, starts: Set<number>, tell: Tell): void {
  const { start, end, entries } = unit;
  const own = new Set<number>();
  const targets: number[] = [];
  const decoded = decodeRange(code.bytes(start, end), start, ({ at, branchSize, target }) => {
    own.add(at);
    if (branchSize === 1 && (target < start || target >= end)) tell('short branches stay in the unit', at);
    if (branchSize !== 0 && target >= start && target < end) targets.push(target);
  });
  if (!decoded) tell('a unit decodes', start);
  for (const at of targets) {
    const skipsLock = own.has(at - 1) && code.byteAt(at - 1) === 0xf0;
    if (!own.has(at) && !skipsLock) tell('branches lead to instructions', at);
  }
  for (const at of entries) if (!own.has(at)) tell('an entry is an instruction', at);
  if (entries[0] !== start && unit.kind !== 'part') tell('the start is an entry', start);
  for (const at of own) starts.add(at);
}

const decodesFirst = (code: CodeMap, { start, end }: Unit): boolean => {
  let seen = false;
  decodeRange(code.bytes(start, end), start, () => {
    seen = true;
  });
  return seen;
};

function checkReferences({ units, references }: ModuleAnalysis, tell: Tell): void {
  const { field, target, tail, kind } = references;
  let from = 0;
  for (let i = 0; i < field.length; i++) {
    const at = field[i] ?? 0;
    if (at <= (field[i - 1] ?? -1)) tell('references ascend', at);
    while ((units[from]?.end ?? Number.POSITIVE_INFINITY) <= at) from++;
    const unit = units[from];
    if (unit === undefined || at < unit.start || at + (tail[i] ?? 0) > unit.end)
      tell('a field is in a unit', at);
    const to = target[i] ?? 0;
    if (unit !== undefined && to >= unit.start && to < unit.end) tell('references lead elsewhere', at);
    const isKind = kind[i] === REFERENCE_BRANCH || kind[i] === REFERENCE_ADDRESS;
    if (!isKind || (tail[i] ?? 0) < 4) tell('a reference has a kind and a tail', at);
    if (unitAt({ units }, to) === undefined) tell('references lead to units', at);
  }
}

/** Each is an entry, and each unit that moves has its start among them, a part any entry, a stub none. */
function checkBreakpoints({ units, breakpoints }: ModuleAnalysis, starts: Set<number>, tell: Tell): void {
  const all = new Set(breakpoints);
  const allEntries = new Set<number>(units.flatMap((unit) => unit.entries));
  for (const at of breakpoints) if (!allEntries.has(at)) tell('a breakpoint is an entry', at);
  for (const { kind, start, entries, kept } of units) {
    const isEntered = kind === 'part' ? entries.some((at) => all.has(at)) : all.has(start);
    if (kept === undefined && kind !== 'plt' && !isEntered) tell('a unit has a breakpoint', start);
    if (kind === 'plt' && all.has(start)) tell('a stub has none', start);
    if (kept === undefined && !starts.has(start)) tell('the start is an instruction', start);
  }
}
