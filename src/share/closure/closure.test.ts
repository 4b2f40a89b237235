import { existsSync, symlinkSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { closureOf, LINKED_MAKES, LinkedScene, loaderBindings } from '../../../test/support/linked-scene.ts';
import { WinnowError } from '../../base/errors.ts';
import { Binder } from './bindings.ts';
import { type Closure, parseList, readClosure } from './modules.ts';
import { Scope } from './scope.ts';

const scene = new LinkedScene();
afterAll(() => scene.remove());

/** As `loaderBindings`: what is visible in other modules too, as the loader looks for nothing else. */
function ourBindings({ modules }: Closure): string[] {
  const scope = new Scope(modules);
  const found = new Set<string>();
  // When it only lists, the loader does not relocate itself a second time.
  for (const module of modules.filter(({ role }) => role !== 'loader')) {
    const binder = new Binder(scope, module);
    for (const relocation of module.image.relocations) {
      const binding = binder.bind(relocation);
      if (binding?.definition === undefined) continue;
      const { symbol, definition } = binding;
      if (symbol.binding === 0 || symbol.visibility === 1 || symbol.visibility === 2) continue;
      found.add([module.path, definition.module.path, symbol.name, symbol.version?.name ?? ''].join('|'));
    }
  }
  return [...found].sort();
}

describe('the modules of a program', () => {
  it('are what the loader lists, in its order', () => {
    const text =
      '\tlinux-vdso.so.1 (0x00007ffd)\n\tliba.so.1 => /lib/liba.so.1 (0x00007f01)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f02)\n';
    expect(parseList(text, '/bin/x')).toEqual([
      { name: '/bin/x', path: '/bin/x' },
      { name: 'liba.so.1', path: '/lib/liba.so.1' },
      { name: '/lib64/ld-linux-x86-64.so.2', path: '/lib64/ld-linux-x86-64.so.2' },
    ]);
  });

  it('must all be there', () => {
    expect(() => parseList('\tlibgone.so => not found\n', '/bin/x')).toThrow(WinnowError);
    expect(() => parseList('\tlibgone.so => not found\n', '/bin/x')).toThrow('E_CLOSURE');
  });

  it('are none where the program is static', () => {
    const path = scene.path('static');
    scene.compileStatic(path);
    expect(readClosure(path)).toEqual({ kind: 'kept', reason: 'not dynamically linked' });
  });

  it('are found beside the program itself, where it is started by a link', () => {
    const program = scene.make({ name: 'origin' });
    const link = scene.path('link-to-origin');
    symlinkSync(program, link);
    const paths = (path: string) =>
      closureOf(path)
        .modules.slice(1)
        .map((module) => module.path);
    expect(paths(link)).toEqual(paths(program));
  });

  it('have roles', () => {
    const { modules } = closureOf(scene.make({ name: 'roles' }));
    expect(modules.map(({ role }) => role)).toEqual(['program', 'library', 'library', 'library', 'loader']);
  });
});

describe('references are bound as the loader binds them', () => {
  for (const make of LINKED_MAKES) {
    it(`in a program made ${make.name}`, () => {
      const program = scene.make(make);
      const bindings = loaderBindings(program);
      expect(bindings.length).toBeGreaterThan(30);
      expect(ourBindings(closureOf(program))).toEqual(bindings);
    });
  }

  for (const program of ['/usr/bin/git', '/usr/bin/python3.11', '/usr/bin/gdb'].filter(existsSync)) {
    it(`in ${program}`, () => {
      expect(ourBindings(closureOf(program))).toEqual(loaderBindings(program));
    });
  }
});
