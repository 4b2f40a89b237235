// A vitest reporter that counts, for the last line of `npm test`: writes `{ passed, failed, skipped }` to
// the file named by WINNOW_TEST_COUNTS. What keeps tests from running counts as one failure each: a file
// that does not load, a hook that throws, an error that no test caught.
import { writeFileSync } from 'node:fs';

export function count(modules, unhandledErrors) {
  const counts = { passed: 0, failed: unhandledErrors.length, skipped: 0 };
  for (const module of modules) {
    counts.failed += module.errors().length;
    for (const suite of module.children.allSuites()) counts.failed += suite.errors().length;
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      if (state === 'passed') counts.passed += 1;
      else if (state === 'failed') counts.failed += 1;
      else counts.skipped += 1;
    }
    // Killed, or out of memory: it has neither tests nor errors.
    if (module.state() === 'pending' || module.state() === 'queued') counts.failed += 1;
  }
  return counts;
}

export default class CountReporter {
  onTestRunEnd(modules, unhandledErrors) {
    const file = process.env.WINNOW_TEST_COUNTS;
    if (file !== undefined) writeFileSync(file, JSON.stringify(count(modules, unhandledErrors)));
  }
}
