/** Real programs start linked and do the same: by winnow verify, and 20 starts each. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PROGRAMS as ALL } from './programs.ts';
import { ShareScene } from './share-scene.ts';
import { isThere } from './support/files.ts';
import { expectSameFromImage } from './support/real-program.ts';

const scene = new ShareScene();
afterAll(() => scene.remove());
const input = join(scene.folder, 'input');

const PYTHON = `import ctypes, json, ssl, sys, threading, os
t = threading.Thread(target=print, args=(json.dumps({"a": 1}),)); t.start(); t.join()
print(ctypes.CDLL(None).abs(-3), ssl.OPENSSL_VERSION, sys.executable, sys.argv)
pid = os.fork()
if pid == 0: os._exit(4)
print(os.waitpid(pid, 0)[1] >> 8)
try: ctypes.CDLL("libnone.so")
except OSError as error: print(error)
sys.exit(6)
`;

const PROGRAMS: readonly (readonly [string, number, readonly string[]])[] = [
  ['git', 1, ['git', '-c', 'core.pager=cat', 'diff', '--no-index', 'a.py', 'b.txt']],
  ['python3', 6, ['/usr/bin/python3', 'a.py', 'x']],
  ['sqlite3', 0, ['sqlite3', ':memory:', 'create table t(a); insert into t values(6); select a * 7 from t;']],
  ['gcc', 0, ['gcc', '-O2', '-o', 'hello', 'hello.c']],
];

beforeAll(() => {
  mkdirSync(input);
  writeFileSync(join(input, 'a.py'), PYTHON);
  writeFileSync(join(input, 'b.txt'), 'text\n');
  writeFileSync(join(input, 'hello.c'), '#include <stdio.h>\nint main(void) { return puts("hello") < 0; }\n');
});

const run = (command: string, words: readonly string[]) =>
  spawnSync(command, words, { cwd: input, encoding: 'utf8', env: scene.env });

describe.each(PROGRAMS)('%s', (name, status, [command = '', ...words]) => {
  const store = ['--store', scene.store];
  const winnow = join(import.meta.dirname, '..', 'bin', 'winnow');

  beforeAll(() => {
    const recorded = run(winnow, ['record', '-q', ...store, '--name', name, '--', command, ...words]);
    expect(recorded.status, recorded.stderr).toBe(status);
    scene.good('build', '--name', name, '--only', 'share');
  });

  it('is linked, with all that it executes', () => {
    const { manifest, programs } = JSON.parse(scene.good('image show', name, '--json').stdout);
    expect(manifest.share.kept).toEqual([]);
    expect(programs.map((one: { refused?: string }) => one.refused)).toEqual(programs.map(() => undefined));
    const linked = manifest.share.programs.map(({ path }: { path: string }) => path.replace(/.*\//, ''));
    const wanted = name === 'gcc' ? ['cc1', 'collect2'] : [];
    expect(linked).toEqual(expect.arrayContaining(wanted));
  });

  it('does the same as ever', () => {
    const verified = scene.good('verify', '--in', input, '--name', name, '--', command, ...words);
    expect(verified.stdout).toMatch(/^same: /);
  });

  it('starts 20 times the same', () => startsTheSame(name, 20));

  // Each of gcc's starts is five.
  const times = name === 'gcc' ? 10 : 50;
  it(`starts ${times} times the same at other addresses`, () => {
    scene.good('build', '--name', name, '--only', 'share', '--slide');
    startsTheSame(name, times);
  });

  function startsTheSame(image: string, count: number): void {
    const plain = spawnSync(command, words, { cwd: input, env: scene.env });
    for (let i = 0; i < count; i += 1) {
      const ran = spawnSync(scene.launcher(image), words, { argv0: command, cwd: input, env: scene.env });
      expect([ran.status, ran.stdout, ran.stderr]).toEqual([plain.status, plain.stdout, plain.stderr]);
    }
  }
});

/** inkscape has 138 modules, and is not everywhere. */
const VERSIONS = ['/usr/bin/gdb', ...['/usr/bin/inkscape'].filter(isThere)];
describe.each(VERSIONS)('%s, at other addresses at each start', (program) => {
  it('says the same 20 times', () => {
    const name = `version-${basename(program)}`;
    scene.good('record', '-q', '--name', name, '--', program, '--version');
    scene.good('build', '--name', name, '--only', 'share', '--slide');
    const plain = spawnSync(program, ['--version'], { env: scene.env });
    for (let i = 0; i < 20; i += 1) {
      const ran = spawnSync(scene.launcher(name), ['--version'], { argv0: program, env: scene.env });
      expect([ran.status, ran.stdout, ran.stderr]).toEqual([plain.status, plain.stdout, plain.stderr]);
    }
    const { programs } = JSON.parse(scene.good('image show', name, '--json').stdout);
    for (const { misses } of programs) expect(misses.starts).toBe(0);
  });
});

describe.skipIf(process.env.CI !== '1' && !isThere('/usr/bin/Rscript'))('R', () => {
  it('starts linked under the LD_LIBRARY_PATH that its script sets', () => {
    const words = [
      '-e',
      'cat(sum(1:4), Sys.getenv("LD_LIBRARY_PATH"), R.home(), grepl("linked", readLines("/proc/self/maps")) |> any(), "\\n")',
    ];
    scene.good('record', '-q', '--name', 'r', '--', 'Rscript', ...words);
    scene.good('build', '--name', 'r', '--only', 'share');
    const plain = spawnSync('Rscript', words, { encoding: 'utf8', env: scene.env });
    expect(plain.stdout).toMatch(/^10 \S*\/lib\S* \/\S+ FALSE \n$/);
    for (let i = 0; i < 3; i += 1) {
      const ran = spawnSync(scene.launcher('r'), words, {
        argv0: 'Rscript',
        encoding: 'utf8',
        env: scene.env,
      });
      const wanted = scene.mountable ? plain.stdout.replace('FALSE', 'TRUE') : plain.stdout;
      expect([ran.status, ran.stdout, ran.stderr]).toEqual([0, wanted, plain.stderr]);
    }
    const { manifest, programs } = JSON.parse(scene.good('image show', 'r', '--json').stdout);
    const isR = ({ path }: { path: string }): boolean => path.endsWith('/exec/R');
    expect(manifest.share.programs.find(isR).libraryPath).toBe(plain.stdout.split(' ')[1]);
    expect(programs.find(isR).misses.starts).toBe(0);
  });
});

/** Programs that do what an image of a process could lose. */
const KINDS = [
  'C++ exceptions',
  'python3 subprocess',
  'a program that prints what it was given',
  '/proc/self/fd',
  'forks',
  'threads',
  'dlopen',
  'killed by a signal',
  'traps',
];

const WAYS: readonly (readonly [way: string, options: readonly string[]])[] = [
  ['auto', []],
  ['joined', ['--variant', 'joined']],
  ['direct', ['--variant', 'direct']],
  ['slid', ['--slide', '--variant', 'files']],
];

describe.each(WAYS)('linked programs of many kinds behave like themselves (%s)', (variant, options) => {
  const wanted = ALL.filter(({ name }) => KINDS.includes(name));

  it('are all there', () => {
    expect(wanted.map(({ name }) => name).sort()).toEqual([...KINDS].sort());
  });

  for (const [index, program] of wanted.entries()) {
    const missing = program.needs.filter((need) => !isThere(need));
    it.skipIf(!process.env.CI && missing.length > 0)(`${program.name}: ${program.kind}`, () => {
      const name = `${variant}-${index}`;
      // So that they can be mounted, with their children.
      for (const path of [`${name}.store`, `${name}.store/images`])
        mkdirSync(join(scene.folder, path), { mode: 0o755 });
      expectSameFromImage(program, {
        root: scene.folder,
        name,
        build: ['--only', 'share', ...options],
      });
    });
  }
});
