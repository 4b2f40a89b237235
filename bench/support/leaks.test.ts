/** Places of a program's originals that are come to although everything is copied: which of them are explained, and by what. */
import { writeFileSync } from 'node:fs';
import { afterAll, expect, it } from 'vitest';
import { readElfFile } from '../../src/elf/read.ts';
import { RewriteScene } from '../../test/support/rewrite-scene.ts';
import { FIXED_ADDRESS, LeakExplainer, Leaks } from './leaks.ts';

const scene = new RewriteScene();
afterAll(() => scene.remove());

const SOURCE = `
#define F __attribute__((noinline, noclone, noipa))
F int called(int x) { return x + 1; }
F int pointed(int x) { return called(x) + 2; }
int (*volatile pointer)(int) = pointed;
int main(void) { return pointer(1) + called(2); }`;

function made(name: string, ...flags: readonly string[]) {
  writeFileSync(scene.path('leaks.c'), SOURCE);
  scene.compile('gcc', '-O1', ...flags, '-o', name, scene.path('leaks.c'));
  const path = scene.path(name);
  const { staticSymbols } = readElfFile(path);
  const at = (symbol: string): number => staticSymbols.find((one) => one.name === symbol)?.rva ?? 0;
  return { path, at };
}

it('explains what is called by its address in a program with fixed addresses, wherever in it a page begins', () => {
  const { path, at } = made('fixed', '-no-pie', '-fno-pie');
  const explainer = new LeakExplainer(path);
  const explained = { reason: FIXED_ADDRESS, explained: true };
  expect(explainer.explain(at('pointed'))).toEqual(explained);
  expect(explainer.explain(at('pointed') + 4)).toEqual(explained);
  expect(explainer.explain(at('called'))).toMatchObject({ explained: false });
});

it('explains nothing of what is copied in other programs', () => {
  const { path, at } = made('pie', '-fpie', '-pie');
  const explainer = new LeakExplainer(path);
  expect(explainer.explain(at('pointed'))).toMatchObject({ explained: false });
});

it('names places in files that were stripped by where their function begins', () => {
  const { at } = made('named', '-fpie', '-pie', '-rdynamic');
  const { path } = made('stripped', '-fpie', '-pie', '-rdynamic', '-s');
  const leaks = new Leaks();
  leaks.add('a', scene.folder, { module: path, at: at('pointed') + 4 });
  leaks.add('b', scene.folder, { module: path, at: at('pointed') + 4 });
  const start = `0x${at('pointed').toString(16)}`;
  expect(leaks.all).toMatchObject([
    { module: 'stripped', name: `${start}+0x4, behind pointed`, programs: ['a', 'b'] },
  ]);
});
