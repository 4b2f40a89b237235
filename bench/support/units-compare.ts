/**
 * A module's analysis against objdump and against the file's own tables.
 *
 * Shared by the differential test (some libraries) and the bench (all files). Judged is what leads from unit
 * to unit: objdump's branches and rip-relative operands, in units that may move. And what no unit holds: padding,
 * or bytes that are counted.
 */
import { spawnSync } from 'node:child_process';
import { isLeftover, readEhFrame } from '../../src/elf/eh-frame.ts';
import type { ElfImage } from '../../src/elf/image.ts';
import { readElfFile } from '../../src/elf/read.ts';
import * as spec from '../../src/elf/spec.ts';
import { analyseModule, unitAt } from '../../src/rewrite/analyse.ts';
import type { ModuleAnalysis } from '../../src/rewrite/model.ts';
import { fillerAt } from '../../src/rewrite/padding.ts';
import { brokenLaws } from '../../test/support/unit-laws.ts';

export interface UnitsComparison {
  readonly path: string;
  /** Why the module was not analysed. */
  readonly kept?: string;
  readonly differences: readonly string[];
  readonly compared: { units: number; references: number; symbols: number };
  readonly bytes: { units: number; padding: number; others: number };
  /** Units that must stay, by reason. */
  readonly stay: Readonly<Record<string, number>>;
}

const MOST_DIFFERENCES = 10;

/** Compares one file. Throws where winnow cannot read it or objdump fails. */
export function compareUnits(path: string): UnitsComparison {
  const image = readElfFile(path);
  const analysis = analyseModule(image);
  const compared = { units: 0, references: 0, symbols: 0 };
  const nothing = { path, compared, bytes: { units: 0, padding: 0, others: 0 }, stay: {} };
  if ('kind' in analysis) return { ...nothing, differences: [], kept: analysis.reason };
  const stay: Record<string, number> = {};
  for (const { kept } of analysis.units) if (kept !== undefined) stay[kept] = (stay[kept] ?? 0) + 1;
  compared.units = analysis.units.length;
  const differences = [
    ...brokenLaws(image, analysis),
    ...missingFdes(image, analysis),
    ...missingSymbols(image, analysis, compared),
    ...otherReferences(path, analysis, compared),
  ];
  return {
    path,
    differences: differences.slice(0, MOST_DIFFERENCES),
    compared,
    bytes: coverage(image, analysis),
    stay,
  };
}

const hex = (at: number): string => `0x${at.toString(16)}`;

/** Every FDE lies in one unit, or its parts or stubs of a PLT tile it. */
function missingFdes(image: ElfImage, analysis: ModuleAnalysis): string[] {
  return readEhFrame(image)
    .fdes.filter((fde) => !isLeftover(fde))
    .filter(({ start, end }) => {
      let unit = unitAt(analysis, start);
      while (unit !== undefined && unit.end < end && unit.kind !== 'plt') {
        const next = unitAt(analysis, unit.end);
        unit = next?.kind === 'part' ? next : undefined;
      }
      return unit === undefined;
    })
    .map(({ start }) => `no unit holds the FDE of ${hex(start)}`);
}

/** Every function symbol whose code is in the file (of a file of debugging data it is not) lies in a unit, or is reported. */
function missingSymbols(image: ElfImage, analysis: ModuleAnalysis, compared: { symbols: number }): string[] {
  const told = new Set<number>(analysis.kept.map(({ at }) => at ?? -1));
  const functions = [...image.symbols, ...image.staticSymbols].filter(
    ({ type, shndx, rva }) =>
      type === spec.STT_FUNC &&
      shndx !== spec.SHN_UNDEF &&
      rva !== undefined &&
      image.offsetOf(rva) !== undefined &&
      ((image.segmentOf(rva)?.flags ?? 0) & spec.PF_X) !== 0,
  );
  compared.symbols += functions.length;
  return functions
    .filter(({ rva: at = 0 }) => unitAt(analysis, at) === undefined && !told.has(at))
    .map(({ name, rva: at = 0 }) => `no unit holds ${name} at ${hex(at)}`);
}

const PREFIXES = '(?:(?:bnd|notrack|lock|repz|repnz|rep|data16|addr32|[c-gs]s|rex[.WRXB]*)\\s+)*';
const BRANCH = new RegExp(`^${PREFIXES}(?:call|jmp|j[a-z]+|xbegin)[a-z,]*\\s+(?:0x)?([0-9a-f]+)(?:\\s|$)`);
const OPERAND = /\(%rip\).*#\s*(?:0x)?([0-9a-f]+)/;

/** What objdump sees in units that may move, against the references with a field in the instruction. */
function otherReferences(path: string, analysis: ModuleAnalysis, compared: { references: number }): string[] {
  const argv = ['-d', '-w', '--no-show-raw-insn', path];
  const env = { ...process.env, LC_ALL: 'C' };
  const done = spawnSync('objdump', argv, { encoding: 'latin1', env, maxBuffer: 2 ** 29 });
  if (done.status !== 0) throw new Error(`objdump ${path}: ${done.error?.message ?? done.stderr}`);
  const { field, target } = analysis.references;
  const wrong: string[] = [];
  let row = 0;
  for (const line of done.stdout.split('\n')) {
    const tab = line.indexOf(':\t');
    if (tab < 0) continue;
    const at = Number.parseInt(line, 16);
    const unit = unitAt(analysis, at);
    while (row < field.length && (field[row] ?? 0) < at) row++;
    if (unit === undefined || unit.kept !== undefined) continue;
    const text = line.slice(tab + 2);
    const digits = BRANCH.exec(text)?.[1] ?? OPERAND.exec(text)?.[1];
    const to = digits === undefined ? -1 : Number.parseInt(digits, 16);
    const other = to < 0 ? undefined : unitAt(analysis, to);
    const own = (field[row] ?? Number.POSITIVE_INFINITY) < at + 15 ? target[row] : undefined;
    if (other === undefined || other === unit) continue;
    compared.references++;
    if (own !== to) wrong.push(`${hex(at)}: objdump says ${text}, the reference ${hex(own ?? 0)}`);
  }
  const inUnits = [...field].filter((at) => unitAt(analysis, at)?.kept === undefined).length;
  if (wrong.length === 0 && inUnits !== compared.references) {
    wrong.push(`${inUnits} references where objdump sees ${compared.references}`);
  }
  return wrong;
}

/** Of the executable sections (segments where there are none). */
function coverage(image: ElfImage, analysis: ModuleAnalysis): UnitsComparison['bytes'] {
  const sections = image.sections.filter(
    ({ type, flags }) => type === spec.SHT_PROGBITS && (flags & spec.SHF_EXECINSTR) !== 0,
  );
  const bytes = { units: 0, padding: 0, others: 0 };
  for (const section of sections) {
    const content = image.bytes.subarray(section.offset, section.offset + section.size);
    for (let i = 0; i < section.size; ) {
      const unit = unitAt(analysis, section.rva + i);
      if (unit !== undefined) {
        const end = Math.min(unit.end - section.rva, section.size);
        bytes.units += end - i;
        i = end;
        continue;
      }
      const filler = fillerAt(content, i);
      if (filler > 0) bytes.padding += filler;
      else bytes.others++;
      i += Math.max(1, filler);
    }
  }
  return bytes;
}
