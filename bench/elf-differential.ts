/**
 * Compares winnow's ELF reader with readelf on every ELF file under /usr/bin and /usr/lib.
 *
 *     node dist/bench/elf-differential.js [FOLDER…]
 *
 * Prints what was compared and every difference; exit code 1 where there is one.
 */

import { elfFiles } from './support/elf-files.ts';
import { compareWithReadelf } from './support/readelf-compare.ts';

const named = process.argv.slice(2);
const files = elfFiles(named.length > 0 ? named : ['/usr/bin', '/usr/lib']);
const totals = { sections: 0, segments: 0, dynamic: 0, symbols: 0, relocations: 0, buildIds: 0 };
let refused = 0;
let differing = 0;
let differences = 0;

files.forEach((path, i) => {
  const result = compareWithReadelf(path);
  if (result.refused) refused++;
  if (result.differences.length > 0) differing++;
  differences += result.differences.length;
  for (const text of result.differences) process.stdout.write(`${path}: ${text}\n`);
  totals.sections += result.compared.sections;
  totals.segments += result.compared.segments;
  totals.dynamic += result.compared.dynamic;
  totals.symbols += result.compared.symbols;
  totals.relocations += result.compared.relocations;
  totals.buildIds += result.compared.buildIds;
  if (process.stderr.isTTY && i % 20 === 0) process.stderr.write(`\r${i + 1} of ${files.length} files`);
});

if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
process.stdout.write(
  [
    `files          ${files.length}, of them ${refused} for another machine or class (readelf agrees)`,
    ...Object.entries(totals).map(([what, count]) => `${what.padEnd(14)} ${count} compared`),
    `differences    ${differences} in ${differing} files`,
    '',
  ].join('\n'),
);
process.exitCode = differences === 0 && files.length > 0 ? 0 : 1;
