/** The bench of `share`: from exec to the end of linking, whole runs, memory at exit and side by side, what an image costs. */
import type { Cleanup } from './support/cleanup.ts';
import { exitCodeOf } from './support/main.ts';
import { type Conditions, runProgramSuite } from './support/program-suite.ts';
import { SHARE_PROGRAMS, type ShareProgram } from './support/share-programs.ts';
import { renderShare } from './support/share-report.ts';
import { measureShare } from './support/share-run.ts';
import { openLoaded } from './support/share-start.ts';

let loaded = '';

const SUITE = {
  name: 'share',
  programs: SHARE_PROGRAMS,
  defaultRounds: 15,
  prepare: (cleanup: Cleanup) => {
    const compiled = openLoaded();
    cleanup.defer('remove loaded', () => compiled.close());
    loaded = compiled.path;
  },
  measure: (program: ShareProgram, folder: string, conditions: Conditions) =>
    measureShare(program, folder, conditions, loaded),
  render: renderShare,
};

process.exitCode = await exitCodeOf(() => runProgramSuite(SUITE, process.argv.slice(2)));
