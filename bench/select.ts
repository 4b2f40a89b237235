/**
 * The bench of `select`: text pages needed, unexpected loads, resident pages, run time, what recording and
 * building cost. One command, every mode in turn.
 */
import { exitCodeOf } from './support/main.ts';
import { runProgramSuite } from './support/program-suite.ts';
import { renderSelect } from './support/select-report.ts';
import { measureWorkload } from './support/select-run.ts';
import { WORKLOADS } from './support/workloads.ts';

const SUITE = {
  name: 'select',
  programs: WORKLOADS,
  defaultRounds: 9,
  measure: measureWorkload,
  render: renderSelect,
};

process.exitCode = await exitCodeOf(() => runProgramSuite(SUITE, process.argv.slice(2)));
