/** The bench of `share`: from exec to the end of linking, whole runs, memory at exit and side by side, what an image costs. */
import { exitCodeOf } from './support/main.ts';
import { runProgramSuite } from './support/program-suite.ts';
import { SHARE_PROGRAMS } from './support/share-programs.ts';
import { renderShare } from './support/share-report.ts';
import { measureShare } from './support/share-run.ts';

const SUITE = {
  name: 'share',
  programs: SHARE_PROGRAMS,
  defaultRounds: 15,
  measure: measureShare,
  render: renderShare,
};

process.exitCode = await exitCodeOf(() => runProgramSuite(SUITE, process.argv.slice(2)));
