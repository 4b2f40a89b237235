/** Exceptions, cancelled threads, backtraces and debuggers in rewritten programs. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readElfFile } from '../src/elf/read.ts';
import { analyseModule } from '../src/rewrite/analyse.ts';
import type { RewriteOptions } from '../src/rewrite/model.ts';
import { rewriteModule } from '../src/rewrite/rewrite.ts';

const FIXTURES = join(import.meta.dirname, 'fixtures', 'unwind');
const PROGRAMS = ['thrower', 'fixed', 'static'];
/** Both ways to treat originals, each a folder of rewritten programs. */
const SCENES = [
  { cold: 'file', programs: PROGRAMS },
  // Where addresses are fixed those of functions stay the originals', which run when they are called by address.
  { cold: 'deny', programs: ['thrower'] },
] as const;
/** What the fixture can be asked to do, and a line that it says then. */
const WAYS: readonly (readonly [way: string, says: string])[] = [
  ['plain', 'caught Deep: at the bottom'],
  ['rethrow', 'not mine'],
  ['callback', 'caught: logic 2'],
  ['thread', 'caught Deep: at the bottom'],
  ['cancel', 'left sleeper 0\ncancelled 1'],
  ['terminate', 'left dive 1'],
  ['nested', 'nested: at the bottom'],
  ['many', 'caught 1000'],
];

const folder = mkdtempSync(join(tmpdir(), 'winnow-unwinding-'));
const original = join(folder, 'original');
afterAll(() => rmSync(folder, { recursive: true }));

const source = (name: string): string => join(FIXTURES, name);
const compile = (...args: readonly string[]): void => {
  execFileSync('g++', ['-std=c++17', '-g', '-O2', '-pthread', ...args], { cwd: original, stdio: 'pipe' });
};

beforeAll(() => {
  mkdirSync(original);
  const library = ['-Wl,-rpath,$ORIGIN', '-L.', '-l:libdeep.so'];
  compile('-fPIC', '-shared', '-Wl,-z,lazy', '-o', 'libdeep.so', source('deep.cc'));
  compile('-rdynamic', '-o', 'thrower', source('thrower.cc'), ...library);
  compile('-rdynamic', '-no-pie', '-fno-pie', '-o', 'fixed', source('thrower.cc'), ...library);
  compile('-static', '-o', 'static', source('thrower.cc'), source('deep.cc'));
  for (const { cold, programs } of SCENES) rewritten(cold, ['libdeep.so', ...programs], cold);
}, 120_000);

/** Rewrites a file with everything in it cloned. */
function rewrite(from: string, to: string, cold: RewriteOptions['cold']): void {
  const image = readElfFile(from);
  const analysis = analyseModule(image);
  if ('kind' in analysis) throw new Error(`${from}: ${analysis.reason}`);
  const result = rewriteModule(image, analysis, { hot: analysis.units.map(({ start }) => start), cold });
  if (result.kind === 'kept') throw new Error(`${from}: ${result.reason}`);
  writeFileSync(to, result.bytes);
  chmodSync(to, 0o755);
}

/** A copy of the folder with these files rewritten. */
function rewritten(name: string, files: readonly string[], cold: RewriteOptions['cold']): string {
  const to = join(folder, name);
  cpSync(original, to, { recursive: true });
  for (const file of files) rewrite(join(original, file), join(to, file), cold);
  return to;
}

interface Run {
  readonly status: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

function run(where: string, program: string, ...args: readonly string[]): Run {
  const { status, signal, stdout, stderr } = spawnSync(join(where, program), args, { encoding: 'utf8' });
  return { status, signal, stdout, stderr };
}

/** All that gdb says of a run up to a breakpoint in `fail`. */
const debug = (where: string, program: string, ...commands: readonly string[]): string =>
  execFileSync(
    'gdb',
    [
      ...['-nx', '-batch', '-ex', 'set breakpoint pending on', '-ex', 'break fail(int)', '-ex', 'run'],
      ...commands.flatMap((command) => ['-ex', command]),
      ...['--args', `./${program}`, 'plain'],
    ],
    { cwd: where, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
  );

/** Names of the frames of gdb's last backtrace: `fail`, `dive`, … */
const framesIn = (text: string): string[] =>
  [...text.slice(text.lastIndexOf('\n#0 ')).matchAll(/^#\d+ +(?:0x[0-9a-f]+ in )?([\w:]+)/gm)].map(
    ([, name = '']) => name,
  );

/** The stacks of a run step by step, each as long as it stays; stubs of a PLT have no names in copies. */
function stacksOf(where: string): string[] {
  const out = join(where, 'stacks');
  execFileSync('gdb', ['-nx', '-batch', '-x', source('step.py'), '--args', './thrower', 'plain'], {
    cwd: where,
    stdio: 'ignore',
    env: { ...process.env, STEPS: '2000', STEPS_OUT: out },
  });
  const name = (text: string): string =>
    /^_init$|^\?\?$|@plt$/.test(text) ? 'stub' : text.replace(/\(.*\)$|\[cold\]$/, '');
  const stacks = readFileSync(out, 'utf8').trimEnd().split('\n');
  const named = stacks.map((stack) => stack.split('\t').map(name).join(' > '));
  return named.filter((stack, i) => stack !== named[i - 1]);
}

describe('a rewritten program', () => {
  for (const { cold, programs } of SCENES) {
    it(`throws, cleans up and catches as before (cold: ${cold})`, { timeout: 120_000 }, () => {
      const to = join(folder, cold);
      for (const program of programs) {
        for (const [way, says] of WAYS) {
          const before = run(original, program, way);
          expect(before.stdout).toContain(says);
          expect({ program, way, ...run(to, program, way) }).toEqual({ program, way, ...before });
        }
      }
    });
  }

  it('finds its frames and their names by backtrace(3)', () => {
    for (const [program, cold] of [
      ['thrower', 'deny'],
      ['fixed', 'file'],
    ] as const) {
      const to = join(folder, cold);
      const before = run(original, program, 'backtrace');
      expect(before.stdout).toMatch(/^\(\)\n\(look\)\n.*\(main\)\n.*depth \d+\n$/s);
      expect(run(to, program, 'backtrace')).toEqual(before);
    }
  });

  it('shows a debugger the names of all frames, and where they return to', { timeout: 120_000 }, () => {
    const to = join(folder, 'file');
    for (const program of PROGRAMS) {
      const frames = framesIn(debug(to, program, 'backtrace'));
      expect({ program, frames: frames.slice(0, 8) }).toEqual({
        program,
        frames: ['fail', ...Array.from({ length: 7 }, () => 'dive')],
      });
      expect(frames).toContain('main');
      // Nothing returns: gdb stops where the exception lands, in a copy.
      expect(framesIn(debug(to, program, 'finish', 'backtrace'))[0]).toBe('dive');
    }
  });

  it('can be unwound from each instruction: of copies, of their PLT stubs, of what they call', {
    timeout: 120_000,
  }, () => {
    // Without line numbers, which only originals have: gdb would show frames of inlined functions there.
    const files = ['libdeep.so', 'thrower'];
    const bare = join(folder, 'bare');
    const copies = join(folder, 'bare-copies');
    for (const where of [bare, copies]) cpSync(original, where, { recursive: true });
    for (const file of files) {
      execFileSync('strip', ['-g', join(bare, file)]);
      rewrite(join(bare, file), join(copies, file), 'deny');
    }
    const [before, after] = [stacksOf(bare), stacksOf(copies)];
    const common = Math.min(before.length, after.length);
    expect(common).toBeGreaterThan(40);
    expect(after.slice(0, common)).toEqual(before.slice(0, common));
    expect(before.some((stack) => stack.startsWith('stub > fail > dive >'))).toBe(true);
  });

  it('throws through copies of the unwinder, the C++ library and libc', { timeout: 120_000 }, () => {
    const to = rewritten('system', ['libdeep.so', 'thrower'], 'file');
    for (const name of ['libstdc++.so.6', 'libgcc_s.so.1', 'libc.so.6', 'libm.so.6']) {
      rewrite(realpathSync(`/usr/lib/x86_64-linux-gnu/${name}`), join(to, name), 'file');
    }
    for (const [way] of WAYS)
      expect({ way, ...run(to, 'thrower', way) }).toEqual({ way, ...run(original, 'thrower', way) });
  });

  it('lands on original pads where an LSDA says where they are', () => {
    const to = rewritten('pads', [], 'file');
    const assembly = join(to, 'deep.s');
    compile('-fPIC', '-S', '-o', assembly, source('deep.cc'));
    const text = readFileSync(assembly, 'utf8');
    const changed = text.replaceAll(
      /^\.LLSDA(\d+):\n\t\.byte\t0xff$/gm,
      '.LLSDA$1:\n\t.byte\t0x1b\n\t.long\t.LFB$1-.',
    );
    expect(changed).not.toBe(text);
    writeFileSync(assembly, changed);
    const library = join(to, 'libdeep.so');
    compile('-shared', '-o', library, assembly);
    rewrite(library, library, 'file');
    for (const [way] of WAYS) expect(run(to, 'thrower', way)).toEqual(run(original, 'thrower', way));
  });
});
