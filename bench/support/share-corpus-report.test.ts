/** The table of all programs: starts that were plain although the program has an image are named. */
import { expect, it } from 'vitest';
import { openReport } from './differential-report.ts';
import { renderCorpus } from './share-corpus-report.ts';

const same = { kind: 'same', args: '--version', ms: 1 } as const;

it('names programs of whose starts some were plain, and why', () => {
  const text = renderCorpus({
    ...openReport('prelink'),
    share: 'prelink',
    starts: 20,
    packages: 100,
    results: [
      { path: '/usr/bin/a', ...same },
      { path: '/usr/bin/b', ...same, plain: { 'environment 0': 20 } },
      { path: '/usr/bin/c', kind: 'kept', reason: 'musl' },
      { path: '/usr/bin/d', kind: 'kept', reason: 'musl' },
    ],
  });
  expect(text).toContain('| start with prelinked libraries | 2 (50.0 %) |\n');
  expect(text).toContain('in 20 starts each | 2 |\n');
  expect(text).toContain('with a plain start among them | 1 |\n');
  expect(text).toContain('| kept as they are | 2 (50.0 %) |\n| &nbsp;&nbsp;musl | 2 |\n');
  expect(text).toContain('\n- /usr/bin/b: plain starts: environment 0 20 times\n');
});
