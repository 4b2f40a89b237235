/** Images whose unused code is denied or stored: what a program that comes to such code has of it. */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { COLD_HEADER } from '../src/select/cold-layout.ts';
import { compile } from './modules-scene.ts';
import { codeOf, type Ran, winnowOn } from './support/winnow.ts';

const isRoot = process.geteuid?.() === 0;
// Not under /tmp: what lies there is temporary, and temporary files are left out of a profile.
const folder = mkdtempSync(join(import.meta.dirname, '.programs-cold-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const program = join(folder, 'cold');
const library = join(folder, 'libcold.so');
const image = join(folder, 'store', 'images', 'cold');
const environment = { ...process.env, XDG_CACHE_HOME: join(folder, 'cache') };
const winnow = (command: string, ...words: readonly string[]): Ran =>
  winnowOn(join(folder, 'store'))(command, words, { cwd: folder, env: environment });

function build(...words: readonly string[]): void {
  const built = winnow('build', '--name', 'cold', '--only', 'select', ...words);
  expect(built.status, built.stderr).toBe(0);
}

/** What the program says and how it ends, from the image's launcher or plainly. */
function ends(show: string | undefined, words: readonly string[], front: readonly string[] = []) {
  const [file = '', ...args] = [...front, show === undefined ? program : join(image, 'launch'), ...words];
  const env = { ...environment, ...(show === undefined ? {} : { WINNOW_SHOW: show }) };
  const { stdout, stderr, status, signal } = spawnSync(file, args, { encoding: 'utf8', env });
  return { stdout, stderr, status, signal };
}

beforeAll(() => {
  compile(library, 'cold-library.c', '-shared', '-fPIC');
  compile(program, 'cold.c', '-pthread', library);
  const recorded = winnow('record', '--functions', '--name', 'cold', '--', program);
  expect(recorded.status, recorded.stderr).toBe(0);
  // The first analysis of the C library, on a machine that does something else as well.
}, 120_000);

const WAYS = [
  ['call'],
  ['threads'],
  ['forks'],
  ['handlers'],
  ['waits'],
  ['blocked'],
  ['faults'],
  ['stacks'],
  ['reads'],
  ['unwinds'],
];
const DEATHS = [['die'], ['die-blocked']];
const INHERITED = ['--block-signal=SEGV', '--ignore-signal=SEGV'];

describe.each([
  ['store', ['--cold', 'store'], ['audit']],
  ['deny, logged', ['--cold', 'deny', '--on-miss', 'log'], isRoot ? ['audit', 'mounts'] : ['audit']],
])('winnow build --cold %s', (_, words, shows) => {
  beforeAll(() => build(...words), 60_000);

  describe.each(shows)('shown by %s', (show) => {
    it.each([...WAYS, WAYS.flat()])('runs %s as before', (...way) => {
      expect(ends(show, way)).toEqual(ends(undefined, way));
    });

    it.each(DEATHS)('dies as before: %s', (way) => {
      expect(ends(show, [way])).toEqual({ stdout: '', stderr: '', status: null, signal: 'SIGSEGV' });
    });

    it('hands down and takes over what is done with SIGSEGV', () => {
      const inherited = ends(show, ['exec']);
      expect(inherited).toEqual(ends(undefined, ['exec']));
      expect(inherited.stdout).toContain('ignored 1');
      const under = (option: string) => ends(show, ['signals', 'call'], ['env', option]);
      for (const option of INHERITED)
        expect(under(option)).toEqual(ends(undefined, ['signals', 'call'], ['env', option]));
      expect(under(INHERITED[0] ?? '').stdout).toContain('default 1');
      expect(under(INHERITED[1] ?? '').stdout).toContain('ignored 0');
    });
  });
});

describe('winnow build --cold store', () => {
  beforeAll(() => build('--cold', 'store'), 60_000);
  const copy = (): string =>
    join(image, readdirSync(image).find((name) => name.endsWith('libcold.so')) ?? '');

  it('leaves holes where the code was, and never mounts such modules', () => {
    const { size, blocks } = statSync(copy());
    expect(blocks * 512).toBeLessThan(size - 65_536);
    expect(statSync(`${copy()}.cold`).size).toBeLessThan(24_576);
    expect(ends('mounts', ['call'])).toEqual(ends(undefined, ['call']));
    expect(codeOf(winnow('build', '--name', 'cold', '--cold', 'store', '--show', 'mounts'))).toBe('E_USAGE');
    expect(codeOf(winnow('build', '--name', 'cold', '--cold', 'file', '--on-miss', 'log'))).toBe('E_USAGE');
  });

  /** What a program says of a store that it cannot do without. */
  const saying = (what: string) => ({
    stdout: '',
    stderr: `winnow: E_COLD_STORE: the store of unused code ${realpathSync(copy())}.cold ${what}; build the image again: winnow build\n`,
    status: null,
    signal: 'SIGABRT',
  });

  /** Runs `work` on a store, which is put back afterwards. */
  function damaged(damage: (store: string, bytes: Buffer) => void, work: () => void): void {
    const store = `${copy()}.cold`;
    const bytes = readFileSync(store);
    try {
      damage(store, bytes);
      work();
    } finally {
      rmSync(store, { recursive: true, force: true });
      writeFileSync(store, bytes, { mode: 0o755 });
      chmodSync(store, 0o755);
    }
    expect(ends('audit', ['call'])).toEqual(ends(undefined, ['call']));
    expect(winnow('image show', 'cold').stdout).not.toContain('its store of unused code');
  }

  const flip = (at: number) => (store: string, bytes: Buffer) => {
    const changed = Buffer.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ 1;
    writeFileSync(store, changed);
  };
  const replaced = (make: (store: string) => void) => (store: string) => {
    rmSync(store);
    make(store);
  };
  const cut = (size: (whole: number) => number) => (store: string, bytes: Buffer) =>
    truncateSync(store, size(bytes.length));

  it.each<[string, (store: string, bytes: Buffer) => void, string]>([
    ['missing', (store) => rmSync(store), 'is missing'],
    ['short of a byte', cut((whole) => whole - 1), 'is cut off'],
    ['cut off in its head', cut(() => 40), 'is cut off'],
    ['empty', cut(() => 0), 'is cut off'],
    ['another kind of file', flip(0), 'is damaged'],
    ['of another version', flip(COLD_HEADER.version + 1), 'was written by another version of winnow'],
    ['damaged in its head', flip(COLD_HEADER.size + 4), 'is damaged'],
    ['a folder', replaced((store) => mkdirSync(store, 0o755)), 'is no file'],
    ['a pipe', replaced((store) => spawnSync('mkfifo', ['-m', '755', store])), 'is no file'],
    ['a link', replaced((store) => symlinkSync(program, store)), 'cannot be opened'],
    ['open to others', (store) => chmodSync(store, 0o777), 'could have been written by others'],
    [
      'another module’s',
      (store) => {
        const other = readdirSync(image).find((name) => name.endsWith('.cold') && !store.endsWith(name));
        writeFileSync(store, readFileSync(join(image, other ?? '')));
      },
      'belongs to another module',
    ],
  ])('ends the program before it begins where a store is %s', (_, damage, what) => {
    damaged(damage, () => {
      expect(ends('audit', [])).toEqual(saying(what));
      expect(winnow('image show', 'cold').stdout).toContain(`1: its store of unused code ${what}: a program`);
      expect(ends('audit', ['call'], ['env', '--ignore-signal=ABRT', '--block-signal=ABRT'])).toEqual(
        saying(what),
      );
    });
  });

  it('ends it where the user may not read a store', () => {
    damaged(
      (store) => chmodSync(store, 0),
      () => {
        // Root reads everything as long as it may.
        const front = isRoot ? ['setpriv', '--bounding-set', '-dac_override,-dac_read_search', '--'] : [];
        expect(ends('audit', [], front)).toEqual(saying('cannot be read by this user'));
      },
    );
  });

  it('ends it where it comes to a chunk with one wrong bit, and not before', () => {
    const firstChunk = readFileSync(`${copy()}.cold`).readUInt32LE(COLD_HEADER.head_size);
    damaged(flip(firstChunk + 30), () => {
      expect(ends('audit', [])).toEqual(ends(undefined, []));
      expect(ends('audit', ['call'])).toEqual(saying('is damaged: what the program came to cannot be had'));
      expect(ends('audit', ['handlers'])).toEqual(
        saying('is damaged: what the program came to cannot be had'),
      );
    });
  });

  it.each([
    ['loses-half', 'was cut off while the program ran'],
    ['loses-rest', 'was cut off while the program ran'],
  ])('ends children of fork for a store that was cut off meanwhile: %s', (how, what) => {
    damaged(
      () => undefined,
      () => {
        const front = ['env', `STORE=${copy()}.cold`];
        expect(ends('audit', [how], front)).toEqual({
          ...saying(what),
          stdout: 'child 6\n',
          status: 0,
          signal: null,
        });
      },
    );
  });

  it('ends children of exec for a store that is gone; who has it open goes on', () => {
    damaged(
      () => undefined,
      () => {
        const front = ['env', `STORE=${copy()}.cold`];
        const { stdout, stderr, status } = ends('audit', ['loses-all', 'cold', 'call'], front);
        expect([stdout, stderr, status]).toEqual(['child 6\n', saying('is missing').stderr, 0]);
      },
    );
    damaged(
      () => undefined,
      () => expect(ends('audit', ['loses-all'], ['env', `STORE=${copy()}.cold`]).stdout).toBe('child 0\n'),
    );
  });

  it('shows the original where that has changed, whatever became of the store', () => {
    const { atime, mtime } = statSync(library);
    damaged(
      replaced(() => undefined),
      () => {
        utimesSync(library, atime, new Date(mtime.getTime() + 5000));
        try {
          expect(ends('audit', ['call'])).toEqual(ends(undefined, ['call']));
        } finally {
          utimesSync(library, atime, mtime);
        }
      },
    );
  });
});

describe('winnow build --cold deny', () => {
  it('says what was called from where, and ends the program', () => {
    build('--cold', 'deny');
    for (const show of isRoot ? ['audit', 'mounts'] : ['audit']) {
      expect(ends(show, [])).toEqual(ends(undefined, []));
      const { signal, stderr } = ends(show, ['stacks']);
      expect([show, signal, stderr.slice(0, 21)]).toEqual([show, 'SIGABRT', 'winnow: E_COLD_CODE: ']);
    }
  });

  it('ends the program where nobody can say any more what is denied', () => {
    build('--cold', 'deny');
    const cold = readdirSync(image).find((name) => name.endsWith('libcold.so.cold'));
    rmSync(join(image, cold ?? ''));
    for (const show of isRoot ? ['audit', 'mounts'] : ['audit']) {
      const { signal, stderr } = ends(show, []);
      expect([show, signal]).toEqual([show, 'SIGABRT']);
      expect(stderr).toMatch(
        /^winnow: E_COLD_STORE: the store of unused code .+libcold\.so\.cold is missing; [^\n]*\n$/,
      );
    }
  });

  it('notes it in the image and lets it through with --on-miss log', () => {
    build('--cold', 'deny', '--on-miss', 'log');
    const log = join(image, 'misses.log');
    expect(existsSync(log)).toBe(false);
    expect(ends('audit', ['call'])).toEqual(ends(undefined, ['call']));
    const lines = readFileSync(log, 'utf8').trimEnd().split('\n');
    const [first = ''] = lines.filter((line) => line.includes('cold24'));
    expect(first.split('\t')).toEqual([
      library,
      expect.stringMatching(/^0x[0-9a-f]+$/),
      'cold24',
      expect.stringContaining('+0x'),
    ]);
    const learnt = winnow('record', '--from-misses', '--name', 'cold', '--', program);
    expect(learnt.stderr).toContain(`${library}: cold24`);
    expect(existsSync(log)).toBe(false);
  });
});
