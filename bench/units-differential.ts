/**
 * Compares winnow's analysis of code with objdump and the files' own tables, on every ELF file under
 * /usr/bin and /usr/lib; and surveys what is found.
 *
 *     node dist/bench/units-differential.js [FOLDER…]
 *
 * Prints every difference, units that stay by reason, and executable bytes that no unit holds; exit code 1
 * where there is a difference. Some minutes.
 */
import { WinnowError } from '../src/base/errors.ts';
import { elfFiles } from './support/elf-files.ts';
import { compareUnits } from './support/units-compare.ts';

const named = process.argv.slice(2);
const files = elfFiles(named.length > 0 ? named : ['/usr/bin', '/usr/lib']);
const totals = { units: 0, references: 0, symbols: 0 };
const bytes = { units: 0, padding: 0, others: 0 };
const stay = new Map<string, number>();
const kept = new Map<string, number>();
const others: { path: string; count: number }[] = [];
let foreign = 0;
let differences = 0;

const count = (counts: Map<string, number>, what: string, by = 1): unknown =>
  counts.set(what, (counts.get(what) ?? 0) + by);

for (const path of files) {
  try {
    const result = compareUnits(path);
    differences += result.differences.length;
    for (const text of result.differences) process.stdout.write(`${path}: ${text}\n`);
    totals.units += result.compared.units;
    totals.references += result.compared.references;
    totals.symbols += result.compared.symbols;
    bytes.units += result.bytes.units;
    bytes.padding += result.bytes.padding;
    bytes.others += result.bytes.others;
    if (result.bytes.others > 0) others.push({ path, count: result.bytes.others });
    if (result.kept !== undefined) count(kept, result.kept);
    for (const [reason, units] of Object.entries(result.stay)) count(stay, reason, units);
  } catch (error) {
    if (!(error instanceof WinnowError)) throw error;
    foreign++;
  }
}

const byCount = (counts: Map<string, number>): string[] =>
  [...counts].sort((a, b) => b[1] - a[1]).map(([what, number]) => `  ${String(number).padStart(9)} ${what}`);

process.stdout.write(
  [
    `files          ${files.length}, of them ${foreign} for another machine or class`,
    ...Object.entries(totals).map(([what, number]) => `${what.padEnd(14)} ${number} compared`),
    `differences    ${differences}`,
    `code           ${bytes.units} bytes in units, ${bytes.padding} of padding, ${bytes.others} others`,
    'modules that stay:',
    ...byCount(kept),
    'units that stay:',
    ...byCount(stay),
    'bytes in no unit, by file:',
    ...others
      .sort((a, b) => b.count - a.count)
      .slice(0, 20)
      .map(({ path, count: number }) => `  ${String(number).padStart(9)} ${path}`),
    '',
  ].join('\n'),
);
process.exitCode = differences > 0 ? 1 : 0;
