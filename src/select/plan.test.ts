import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { profileOf } from '../../test/launch-scene.ts';
import { rva } from '../base/brands.ts';
import { elfError } from '../elf/errors.ts';
import { readElfFile } from '../elf/read.ts';
import { identifyFile } from '../profile/identity.ts';
import { analyseModule } from '../rewrite/analyse.ts';
import type { Kept, ModuleAnalysis } from '../rewrite/model.ts';
import { rewriteModule } from '../rewrite/rewrite.ts';
import type { ModuleUse } from './model.ts';
import { type ModuleJob, moduleFile, NOTHING_TO_GAIN, workOn } from './module-work.ts';
import { contextOf, examineModule, KEPT, type SelectOptions } from './plan.ts';

const folder = mkdtempSync(join(tmpdir(), 'winnow-plan-'));
const library = join(folder, 'libx.so');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Every third function is used; each has a page of its own. */
const FUNCTIONS = 12;
const SOURCE = Array.from(
  { length: FUNCTIONS },
  (_, i) => `__attribute__((aligned(4096))) int f${i}(int x) { return x + ${i}; }`,
).join('\n');

beforeEach(() => {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  writeFileSync(join(folder, 'x.c'), SOURCE);
  const done = spawnSync('gcc', ['-O1', '-shared', '-fPIC', '-nostdlib', '-o', library, join(folder, 'x.c')]);
  if (done.status !== 0) throw new Error(String(done.stderr));
});

function useOf(path: string): ModuleUse {
  const entered = readElfFile(library).staticSymbols.flatMap(({ name, rva: at }) =>
    at !== undefined && /^f(?:0|3|6|9)$/.test(name) ? [at] : [],
  );
  return { path, identity: identifyFile(path), entered, touched: [] };
}

const profile = (program: string) => profileOf({ program, argv: ['x'], files: [] });
const context = (options: Partial<SelectOptions> = {}) =>
  contextOf(profile('/bin/true'), { cold: 'file', ...options });

/** Why a module is kept. */
const reason = (
  use: ModuleUse,
  analyse: () => ModuleAnalysis | Kept = () => ({ kind: 'kept', reason: 'of the analysis' }),
) => {
  const examined = examineModule(use, context(), analyse);
  return examined.kind === 'kept' ? examined.module.reason : 'none';
};

describe('examineModule', () => {
  it('says why a module stays as it is', () => {
    const use = useOf(library);
    expect(reason(use)).toBe('of the analysis');
    const text = join(folder, 'text');
    writeFileSync(text, 'no ELF file');
    expect(reason({ ...use, path: text, identity: identifyFile(text) })).toBe(KEPT.notElf);
    const loader = realpathSync('/lib64/ld-linux-x86-64.so.2');
    expect(reason({ ...use, path: loader, identity: identifyFile(loader) })).toBe(KEPT.loader);
    chmodSync(library, 0o4755);
    expect(reason(use)).toBe(KEPT.privileged);
    expect(reason({ ...use, path: folder })).toBe(KEPT.changed);
    writeFileSync(library, 'other content');
    expect(reason(use)).toBe(KEPT.changed);
    rmSync(library);
    expect(reason(use)).toBe(KEPT.missing);
  });

  it('takes up a module that was installed anew with the same content', () => {
    const use = useOf(library);
    copyFileSync(library, `${library}.new`);
    spawnSync('mv', [`${library}.new`, library]);
    const examined = examineModule(use, context(), analyseModule);
    expect(examined.kind).toBe('planned');
    if (examined.kind === 'planned') expect(examined.module.inode).toBe(identifyFile(library).inode);
  });

  it('knows a loader by the programs that name it', () => {
    const use = useOf(library);
    const other = { ...context(), loaders: [library] };
    const examined = examineModule(use, other, analyseModule);
    expect(examined).toMatchObject({ kind: 'kept', module: { reason: KEPT.loader } });
    expect(context().loaders).toEqual([realpathSync('/lib64/ld-linux-x86-64.so.2')]);
  });

  it('tells used from unused code, and orders copies by first use', () => {
    const use = useOf(library);
    const reversed = use.entered.toReversed();
    const examined = examineModule({ ...use, entered: [...reversed, rva(0)] }, context(), analyseModule);
    if (examined.kind === 'kept') throw new Error(examined.module.reason);
    expect(examined.module.hot).toEqual(reversed);
    expect(examined.module).toMatchObject({
      textPages: FUNCTIONS,
      usedPages: 4,
      functions: FUNCTIONS,
      usedFunctions: 4,
      stayed: [{ reason: 'an address in code that belongs to no unit', count: 1 }],
    });
    const all = examineModule(use, context({ all: true }), analyseModule);
    expect(all).toMatchObject({ module: { usedFunctions: 4 } });
    expect(all.kind === 'planned' ? all.module.hot : []).toHaveLength(FUNCTIONS);
  });

  it('looks modules up in another root', () => {
    const root = join(folder, 'root');
    mkdirSync(join(root, 'real'), { recursive: true });
    symlinkSync('/real', join(root, 'lib'));
    copyFileSync(library, join(root, 'real', 'libx.so'));
    const use = { ...useOf(library), path: '/lib/libx.so' };
    const examined = examineModule(use, context({ root }), analyseModule);
    expect(examined).toMatchObject({ kind: 'planned', module: { path: '/lib/libx.so', usedPages: 4 } });
  });
});

describe('workOn', () => {
  const tools = { analyse: analyseModule, rewrite: rewriteModule };
  const job = (use: ModuleUse, options: Partial<SelectOptions> = {}): ModuleJob => ({
    use,
    context: context(options),
    file: '00-libx.so',
    folder,
  });

  it('writes a module whose copies take less room, and says which pages a start needs of it', () => {
    const result = workOn(job(useOf(library)), tools);
    if (result.kind === 'kept') throw new Error(result.module.reason);
    const { module } = result;
    expect(module.figures).toMatchObject({ hotPages: 1, clonedUnits: 4 });
    const written = readElfFile(join(folder, '00-libx.so'));
    const original = readElfFile(library);
    expect(module.fileSize).toBe(written.bytes.length);
    const code = original.segments.find(({ flags }) => (flags & 1) !== 0);
    // Every third function is used, each on a page of its own; what lies between was not copied from anywhere.
    const first = (code?.offset ?? 0) / 4096;
    expect(module.pages.dropped).toEqual([0, 3, 6, 9].map((index) => ({ page: first + index, count: 1 })));
    const hot = written.sections.find(({ name }) => name.startsWith('.text.'));
    const page = Math.floor((hot?.offset ?? 0) / 4096);
    expect(module.pages.added.some((one) => one.page <= page && page < one.page + one.count)).toBe(true);
    for (const one of module.pages.added) {
      expect(one.page * 4096).toBeLessThan(written.bytes.length);
      expect((one.page + one.count) * 4096).toBeGreaterThan(original.bytes.length);
    }
    const frames = Math.floor(
      (written.sections.find(({ name }) => name === '.eh_frame')?.offset ?? 0) / 4096,
    );
    expect(frames).toBeGreaterThan(page);
    expect(module.pages.added.some((one) => one.page <= frames && frames < one.page + one.count)).toBe(false);
  });

  it('keeps a module with a damaged table', () => {
    const damaged = () => {
      throw elfError('E_ELF_RELOCATION', { path: library, what: 'damaged' });
    };
    expect(workOn(job(useOf(library)), { ...tools, rewrite: damaged })).toMatchObject({
      kind: 'kept',
      module: { path: library, reason: 'damaged: E_ELF_RELOCATION' },
    });
    const bug = () => {
      throw new RangeError('of ours');
    };
    expect(() => workOn(job(useOf(library)), { ...tools, rewrite: bug })).toThrow('of ours');
  });

  it('writes nothing where nothing is gained, or only figures are asked for', () => {
    const use = useOf(library);
    const one = { ...use, entered: use.entered.slice(0, 1) };
    expect(workOn(job(one), tools)).toMatchObject({
      kind: 'kept',
      module: { reason: NOTHING_TO_GAIN, code: { usedPages: 1, textPages: FUNCTIONS } },
    });
    expect(workOn({ ...job(use), folder: undefined }, tools).kind).toBe('built');
    expect(() => readElfFile(join(folder, '00-libx.so'))).toThrow();
    // What may not be executed has to be copied, gain or not.
    expect(workOn(job(one, { cold: 'deny' }), tools).kind).toBe('built');
  });
});

describe('moduleFile', () => {
  it('is a name that tells the module, where the file system takes it', () => {
    expect(moduleFile(3, '/lib/libfoo.so.1')).toBe('03-libfoo.so.1');
    expect(basename(moduleFile(123, `/lib/${'x'.repeat(245)}`))).toHaveLength(249);
    expect(moduleFile(123, `/lib/${'ü'.repeat(126)}`)).toBe('123');
  });
});
