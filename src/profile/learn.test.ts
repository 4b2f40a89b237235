import { describe, expect, it } from 'vitest';
import { gitRun } from '../../test/profile-samples.ts';
import { pageIndex } from '../base/brands.ts';
import { newsOf, nextRecording } from './learn.ts';
import type { FileIdentity, Run } from './model.ts';

const THOROUGH = gitRun(0).method;
const LIGHT = { ...THOROUGH, pages: 'fault-around', lookups: 'unseen' } as const;
const { command, startedAt } = gitRun(0);
const HOUR = 3_600_000;

interface Used {
  readonly path?: string;
  readonly identity?: Pick<FileIdentity, 'buildId' | 'hash'>;
  readonly from?: number;
  readonly count?: number;
}

/** A run that used pages of some files. */
function run(age: number, method: Run['method'], ...used: readonly Used[]): Run {
  const files = used.map(({ path = '/f', identity = { buildId: 'aaaaaaaa' } }) => ({
    path,
    identity: { size: 4096 * 4096, mtimeNs: 1n, inode: 1n, ...identity },
  }));
  const pages = used.map(({ from = 0, count = 100 }, file) => ({
    file,
    how: 'mapped' as const,
    extents: [{ page: pageIndex(from), count }],
  }));
  const process = { program: '/p', argvShape: ['p'], ended: { kind: 'exited' as const, code: 0 }, pages };
  return gitRun(age, { method, files, processes: [process], lookups: [] });
}

const next = (runs: readonly Run[], now = startedAt + HOUR) =>
  nextRecording({ name: 'x', runs }, command, now);
const learnt = (age: number, ...used: readonly Used[]) =>
  [0, 1, 2].map((more) => run(age + more, THOROUGH, ...used));

describe('nextRecording', () => {
  it('is thorough until the command is learnt, then light', () => {
    expect(nextRecording(undefined, command)).toEqual({ how: 'thorough', why: 'learning', missing: 3 });
    expect(next([run(0, THOROUGH, {}), run(1, LIGHT, {})])).toMatchObject({ why: 'learning', missing: 2 });
    expect(next(learnt(0, {}))).toEqual({ how: 'light' });
  });

  it('is learnt by two runs that agree', () => {
    const many = { count: 2000 };
    expect(next([run(0, THOROUGH, many), run(1, THOROUGH, many)])).toEqual({ how: 'light' });
    expect(next([run(0, THOROUGH, { count: 2002 }), run(1, THOROUGH, many)])).toEqual({ how: 'light' });
  });

  it.each<[string, readonly Used[]]>([
    ['more pages', [{ count: 2003 }]],
    ['fewer pages', [{ count: 1997 }]],
    ['other pages', [{ from: 2, count: 2000 }]],
    ['another content', [{ count: 2000, identity: { buildId: 'bbbbbbbb' } }]],
    ['a file more', [{ count: 2000 }, { path: '/g', count: 1 }]],
    ['another file', [{ count: 2000, path: '/g' }]],
  ])('is not learnt by two runs, one of which used %s', (_what, used) => {
    const runs = [run(0, THOROUGH, ...used), run(1, THOROUGH, { count: 2000 })];
    expect(next(runs)).toMatchObject({ why: 'learning', missing: 1 });
    expect(next([...runs, run(2, THOROUGH, ...used)])).toEqual({ how: 'light' });
  });

  it('counts runs of the same command only', () => {
    const other = { ...command, argv: ['git', 'log'] };
    const runs = learnt(0, {}).map((one, n) => (n < 2 ? { ...one, command: other } : one));
    expect(next(runs)).toMatchObject({ why: 'learning', missing: 2 });
  });

  it.each<[string, Used, object]>([
    ['a new file', { path: '/new' }, { newFiles: ['/new'] }],
    ['another content', { identity: { buildId: 'bbbbbbbb' } }, { changedFiles: ['/f'] }],
    ['many new pages', { count: 300 }, { pages: 185 }],
  ])('is thorough after a light run that saw %s, once', (_what, used, news) => {
    const light = run(0, LIGHT, used);
    expect(next([light, ...learnt(5, {})])).toMatchObject({ how: 'thorough', why: 'news', news });
    // Whatever the thorough run makes of it: it was looked at.
    expect(next([run(0, THOROUGH, {}), run(1, LIGHT, used), ...learnt(5, {})])).toEqual({ how: 'light' });
    const again = [run(0, LIGHT, used), run(1, THOROUGH, {}), run(2, LIGHT, used), ...learnt(5, {})];
    expect(next(again)).toEqual({ how: 'light' });
  });

  it.each<[string, Used]>([
    ['what fault-around adds', { from: 500, count: 131 }],
    ['a few pages more', { from: 515, count: 170 }],
  ])('stays light after %s', (_what, used) => {
    expect(next([run(0, LIGHT, used), ...learnt(5, { from: 515, count: 101 })])).toEqual({ how: 'light' });
  });

  it('is thorough once a week', () => {
    const week = 7 * 24 * HOUR;
    expect(next(learnt(0, {}), startedAt + week + 1)).toEqual({ how: 'thorough', why: 'stale' });
    expect(next([run(0, LIGHT, {}), ...learnt(1, {})], startedAt + week / 2)).toEqual({ how: 'light' });
  });
});

describe('newsOf', () => {
  it('expects a data file that changes to change, and no program', () => {
    const data = (hash: string): Used => ({ identity: { hash: `sha256:${hash.repeat(64)}` } });
    const news = newsOf(run(0, LIGHT, data('c')), [run(1, THOROUGH, data('a')), run(2, THOROUGH, data('b'))]);
    expect(news).toEqual({ newFiles: [], changedFiles: [], pages: 0 });
    const program = (buildId: string): Used => ({ identity: { buildId } });
    const earlier = [run(1, THOROUGH, program('aa')), run(2, THOROUGH, program('bb'))];
    expect(newsOf(run(0, LIGHT, program('cc')), earlier).changedFiles).toEqual(['/f']);
  });
});
