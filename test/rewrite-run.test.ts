/** Programs and libraries of every make run as before with all their code copied, or with any part of it. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { analysed, type HowToRewrite, type Outcome, RewriteScene } from './support/rewrite-scene.ts';

const scene = new RewriteScene();
afterAll(() => scene.remove());

interface Make {
  readonly name: string;
  /** What library and program are compiled and linked with. */
  readonly flags: readonly string[];
  /** For the program alone. */
  readonly program?: readonly string[];
  /** Done to both files when they are linked. */
  readonly afterwards?: (path: string) => void;
  /** With addresses as plain numbers, calls by address run originals. */
  readonly fixed?: true;
}

const MAKES: readonly Make[] = [
  { name: 'lazy', flags: ['-Wl,-z,lazy'] },
  { name: 'now', flags: ['-Wl,-z,now', '-Wl,-z,relro'] },
  { name: 'one-segment', flags: ['-Wl,-z,noseparate-code', '-Wl,-z,norelro'] },
  { name: 'large-pages', flags: ['-Wl,-z,max-page-size=0x200000', '-DFAR'] },
  { name: 'large-pages-joined', flags: ['-Wl,-z,max-page-size=0x200000', '-Wl,-z,noseparate-code', '-DFAR'] },
  { name: 'medium-pages', flags: ['-Wl,-z,max-page-size=0x10000'] },
  { name: 'relr', flags: ['-Wl,-z,pack-relative-relocs'] },
  { name: 'ibt', flags: ['-fcf-protection=full', '-Wl,-z,ibtplt', '-Wl,-z,lazy'] },
  { name: 'no-plt', flags: ['-fno-plt'] },
  { name: 'plain', flags: ['-O0', '-g'] },
  { name: 'sysv-hash', flags: ['-Wl,--hash-style=sysv'] },
  { name: 'kept-relocations', flags: ['-Wl,--emit-relocs'] },
  { name: 'stripped', flags: ['-s'] },
  { name: 'no-sections', flags: [], afterwards: dropSections },
  { name: 'exported', flags: ['-Wl,-z,lazy'], program: ['-rdynamic'] },
  { name: 'large-bss', flags: [], program: ['-DSPACE=(64<<20)', '-DFAR'] },
  { name: 'fixed', flags: [], program: ['-no-pie', '-fno-pie'], fixed: true },
  {
    name: 'fixed-large-pages',
    flags: ['-Wl,-z,max-page-size=0x200000', '-DFAR'],
    program: ['-no-pie', '-fno-pie'],
    fixed: true,
  },
];

/** As if the file had never had section headers. */
function dropSections(path: string): void {
  const bytes = readFileSync(path);
  bytes.writeBigUInt64LE(0n, 40);
  bytes.writeUInt16LE(0, 60);
  bytes.writeUInt16LE(0, 62);
  writeFileSync(path, bytes);
}

function build({ name, flags, program = [], afterwards }: Make, compiler = 'gcc'): void {
  const folder = scene.path(name);
  mkdirSync(folder);
  scene.compile(compiler, '-O2', '-shared', '-fPIC', ...flags, '-o', `${name}/lib.so`, 'lib.c');
  scene.compile(
    compiler,
    ...['-O2', '-o', `${name}/main`, 'main.c', ...flags, ...program],
    ...[`-L${folder}`, '-l:lib.so', '-Wl,-rpath,$ORIGIN'],
  );
  for (const file of ['lib.so', 'main']) afterwards?.(`${folder}/${file}`);
}

/** The outcome with both files rewritten, in a folder of their own. */
function runRewritten(name: string, to: string, how: HowToRewrite = {}): Outcome {
  mkdirSync(scene.path(to), { recursive: true });
  for (const file of ['lib.so', 'main']) scene.rewrite(`${name}/${file}`, `${to}/${file}`, how);
  return scene.run(`${to}/main`);
}

describe('a program and a library', () => {
  for (const make of MAKES) {
    it(`made ${make.name} run as before`, () => {
      build(make);
      const before = scene.run(`${make.name}/main`);
      expect(before).toMatchObject({ status: 42, signal: null });
      expect(before.stdout).toContain('loads seen');
      expect(runRewritten(make.name, `${make.name}-copied`)).toEqual(before);
      if (make.fixed) return;
      expect(runRewritten(make.name, `${make.name}-denied`, { cold: 'deny' })).toEqual(before);
    });
  }

  it('run as before whatever is copied, in any order', () => {
    build({ name: 'any', flags: ['-Wl,-z,lazy'] });
    build({ name: 'any-fixed', flags: [], program: ['-no-pie', '-fno-pie'] });
    const { units } = analysed(scene.path('any/lib.so'));
    expect(units.filter(({ kind }) => kind === 'part').length).toBeGreaterThan(0);
    for (const name of ['any', 'any-fixed']) {
      const before = scene.run(`${name}/main`);
      fc.assert(
        fc.property(fc.infiniteStream(fc.nat(99)), fc.nat(99), (keys, share) => {
          const how: HowToRewrite = {
            hot: ({ units }) =>
              units
                .map(({ start }) => ({ start, key: keys.next().value, share: keys.next().value }))
                .filter((row) => row.share <= share)
                .toSorted((a, b) => a.key - b.key)
                .map(({ start }) => start),
          };
          expect(runRewritten(name, `${name}-copied`, how)).toEqual(before);
        }),
        { numRuns: 15 },
      );
    }
  });
});

describe('a static program', () => {
  for (const [name, flag] of [
    ['static', '-static'],
    ['static-pie', '-static-pie'],
  ] as const) {
    it(`linked ${flag} runs as before`, () => {
      scene.compile('gcc', '-O2', '-DALONE', flag, '-o', name, 'main.c', 'lib.c');
      const before = scene.run(name);
      expect(before).toMatchObject({ status: 42, signal: null });
      scene.rewrite(name, `${name}-copied`);
      expect(scene.run(`${name}-copied`)).toEqual(before);
    });
  }
});

describe.runIf(existsSync('/usr/bin/musl-gcc'))('musl’s loader', () => {
  it('takes a rewritten program and library', () => {
    build({ name: 'musl', flags: [], program: ['-DALONE'] }, 'musl-gcc');
    const before = scene.run('musl/main');
    expect(before).toMatchObject({ status: 42, signal: null });
    expect(runRewritten('musl', 'musl-copied')).toEqual(before);
  });
});
