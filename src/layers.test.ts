import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const SRC = import.meta.dirname;

/** Rooms by layer: an import goes down, or stays in its room. */
const LAYERS: readonly (readonly string[])[] = [
  ['base', 'term'],
  ['elf', 'x86', 'sys'],
  ['profile'],
  ['rewrite', 'record'],
  ['prefetch', 'select', 'share', 'regions', 'calls'],
  ['image'],
  ['report', 'verify', 'bench'],
  ['cli'],
];

/** Libraries that only one room may import. */
const OWNED: Readonly<Record<string, string>> = {
  koffi: 'sys',
  'iced-x86': 'x86',
  commander: 'cli',
  picocolors: 'term',
};

const layerOf = (room: string): number => LAYERS.findIndex((rooms) => rooms.includes(room));
const roomOf = (file: string): string => relative(SRC, file).split('/')[0] ?? '';

function sources(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return sources(path);
    return entry.name.endsWith('.ts') && !entry.name.endsWith('.test.ts') ? [path] : [];
  });
}

function importsOf(file: string): string[] {
  const text = readFileSync(file, 'utf8');
  const found = text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g);
  return [...found].map((match) => match[1] ?? '');
}

describe('the layers', () => {
  const files = sources(SRC);

  it('finds the sources', () => {
    expect(files.length).toBeGreaterThan(20);
  });

  it('puts every file in a room that has a layer', () => {
    expect(files.filter((file) => layerOf(roomOf(file)) < 0)).toEqual([]);
  });

  it('lets imports go down only', () => {
    const wrong: string[] = [];
    for (const file of files) {
      const from = roomOf(file);
      for (const name of importsOf(file)) {
        if (!name.startsWith('.')) continue;
        const target = resolve(dirname(file), name);
        const to = roomOf(target);
        if (to !== from && layerOf(to) >= layerOf(from)) wrong.push(`${relative(SRC, file)} -> ${name}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it('lets one room own each library', () => {
    const wrong: string[] = [];
    for (const file of files) {
      for (const name of importsOf(file)) {
        const owner = OWNED[name];
        if (owner !== undefined && owner !== roomOf(file)) wrong.push(`${relative(SRC, file)} -> ${name}`);
      }
    }
    expect(wrong).toEqual([]);
  });
});
