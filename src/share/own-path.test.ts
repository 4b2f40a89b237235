/** Programs that may ask for their own path are told from those that do not. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { asksForMap, findQuestion } from './own-path.ts';

const folder = mkdtempSync(join(tmpdir(), 'winnow-own-path-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function module(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, `\x7fELF and some code, then \0${text}\0`);
  return path;
}

it.each([
  '/proc/self/exe',
  '/proc/self/maps',
  '/proc/thread-self/exe',
  '/proc/%d/exe',
  '/proc/%.20g/exe',
  '/proc/%ld/%s',
  'x/proc/stat\0/proc/self/exe',
])('%j is a question', (text) => {
  const asking = module('asking', text);
  expect(findQuestion([module('main', 'nothing'), asking])).toBe(asking);
});

it.each(['/proc/%d/stat', '/proc/self/status', '/proc/meminfo', 'self/exe', '/proc/'])(
  '%j is none',
  (text) => {
    expect(findQuestion([module('main', text)])).toBeUndefined();
  },
);

it('asks about $ORIGIN of the program alone, and of libc and the loader nothing', () => {
  const main = module('main', '$ORIGIN/../lib');
  expect(findQuestion([main])).toBe(main);
  expect(findQuestion([module('other', ''), main])).toBeUndefined();
  for (const name of ['libc.so.6', 'ld-linux-x86-64.so.2'])
    expect(findQuestion([module(name, '/proc/self/exe')])).toBeUndefined();
});

it.each([
  ['/proc/self/maps', true],
  ['/proc/%d/smaps', true],
  ['/proc/%ld/task/%ld/maps', true],
  ['/proc/%d/%s', true],
  ['/proc/self/exe', false],
  ['/proc/meminfo', false],
])('%j asks for the memory map: %s', (text, asks) => {
  expect(asksForMap(module('map', text))).toBe(asks);
});

it('leaves out what is gone, and what is no module', () => {
  writeFileSync(join(folder, 'script'), '#!/bin/sh\nreadlink /proc/self/exe\n');
  expect(findQuestion([join(folder, 'none'), join(folder, 'script')])).toBeUndefined();
});
