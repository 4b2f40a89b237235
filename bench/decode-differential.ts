/**
 * Compares winnow's decoder with objdump on every function of every ELF file under /usr/bin and /usr/lib.
 *
 *     node dist/bench/decode-differential.js [FOLDER…]
 *
 * Prints what was compared and every difference; exit code 1 where there is one. Some minutes.
 */
import { WinnowError } from '../src/base/errors.ts';
import { elfFiles } from './support/elf-files.ts';
import { compareWithObjdump } from './support/objdump-compare.ts';

const named = process.argv.slice(2);
const files = elfFiles(named.length > 0 ? named : ['/usr/bin', '/usr/lib']);
const totals = { functions: 0, instructions: 0, branches: 0, operands: 0 };
let foreign = 0;
let refused = 0;
let differences = 0;

for (const path of files) {
  try {
    const result = compareWithObjdump(path);
    refused += result.refused;
    differences += result.differences.length;
    for (const text of result.differences) process.stdout.write(`${path}: ${text}\n`);
    totals.functions += result.compared.functions;
    totals.instructions += result.compared.instructions;
    totals.branches += result.compared.branches;
    totals.operands += result.compared.operands;
  } catch (error) {
    if (!(error instanceof WinnowError)) throw error;
    foreign++;
  }
}

process.stdout.write(
  [
    `files          ${files.length}, of them ${foreign} for another machine or class`,
    ...Object.entries(totals).map(([what, count]) => `${what.padEnd(14)} ${count} compared`),
    `refused        ${refused} functions`,
    `differences    ${differences}`,
    '',
  ].join('\n'),
);
process.exitCode = differences > 0 ? 1 : 0;
