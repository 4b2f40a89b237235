/** Tables of what programs did with copies, linked and prelinked: whatever is not as before stands out, and every cause is named. */
import { expect, it } from 'vitest';
import { openReport, renderCopied, renderLinked, renderTests } from './differential-report.ts';

const program = { name: 'git', kind: 'a tree', differences: [] };

it('counts places by their reasons, and marks those that nobody explains', () => {
  const place = { module: 'm', at: '0x1', name: 'f', programs: ['git'], explained: true };
  const leaks = [
    { ...place, reason: 'a trampoline' },
    { ...place, at: '0x2', reason: 'nobody knows', explained: false },
    { ...place, at: '0x3', reason: 'a trampoline' },
  ];
  const copied = { ...program, modules: 3, shown: 2, copiedFunctions: 100, leaks: 3 };
  const text = renderCopied({ ...openReport('select'), programs: [copied] }, leaks);
  expect(text).toContain('with `npm run bench:all-cloned-programs`.');
  expect(text).toContain('| git: a tree | 3 | 100 | 3 | the same |\n');
  expect(text).toContain('| a trampoline | 2 |\n| **not explained:** nobody knows | 1 |\n| all | 3 |\n');
});

it('tells of linked programs why they are kept and why starts were plain', () => {
  const linked = {
    ...program,
    linked: ['/bin/a', '/bin/b'],
    kept: [{ path: '/bin/c', reason: 'musl' }],
    differences: ['it ended with 1, not 0'],
    missed: [
      { cause: 'environment', path: '/bin/a', starts: 3 },
      { cause: 'file', path: '/lib/l', starts: 1 },
    ],
  };
  const text = renderLinked({ ...openReport('prelink'), programs: [linked] });
  expect(text).toContain('with `npm run bench:all-cloned-programs -- --technique prelink`.');
  expect(text).toContain('| git: a tree | 2 | 1 | 4 | **it ended with 1, not 0** |\n');
  expect(text).toContain('| kept: musl | 1 |\n| plain starts: environment, /bin/a (git) | 3 |\n');
  expect(text).toContain('| plain starts: file, /lib/l (git) | 1 |\n');
});

it('tells of tests how many passed, and which ended otherwise', () => {
  const module = { module: 'test_re', end: '2', unsteady: ['c'] };
  const outcomes = { ok: 5, skipped: 2, FAIL: 1 };
  const text = renderTests({
    ...openReport('share'),
    modules: [
      { ...module, tests: 8, outcomes, differences: [] },
      { ...module, tests: 8, outcomes, differences: ['a: ok became FAIL'] },
    ],
    missed: [{ cause: 'stack', path: '/usr/bin/python3.11', starts: 2 }],
  });
  expect(text).toContain('2 modules, 16 tests,');
  expect(text).toContain('| test_re | 8 | 5 | 2 | 1 | 0 | 1 |\n');
  expect(text).toContain('| test_re | 8 | 5 | 2 | 1 | **1: a: ok became FAIL** | 1 |\n');
  expect(text).toContain('| stack, /usr/bin/python3.11 | 2 |\n');
});
