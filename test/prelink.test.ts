/** Prelinked copies: judged by readelf, eu-elflint, gdb and the dynamic loader; and programs run as before with them. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { rva } from '../src/base/brands.ts';
import type { ElfImage } from '../src/elf/image.ts';
import { readElf, readElfFile } from '../src/elf/read.ts';
import * as spec from '../src/elf/spec.ts';
import { pagesOf } from '../src/share/notes/layouts.ts';
import { whyNotSlid } from '../src/share/prelink/slide.ts';
import { LINKED_MAKES, LinkedScene } from './support/linked-scene.ts';
import {
  type Copies,
  mappedAt,
  memoryWhenLinked,
  remarks,
  run,
  SCHEMES,
  writeCopies,
} from './support/prelink-scene.ts';

const scene = new LinkedScene();
afterAll(() => scene.remove());

const REAL: readonly (readonly string[])[] = [
  ['/usr/bin/git', '--version'],
  [
    '/usr/bin/python3.11',
    '-c',
    'import ssl, sqlite3, ctypes, threading; print(ssl.OPENSSL_VERSION, sqlite3.sqlite_version)',
  ],
  ['/usr/bin/gdb', '-nx', '-batch', '-ex', 'info line main', '/usr/bin/git'],
  ['/usr/bin/perl', '-MPOSIX', '-e', 'print POSIX::strftime("%Y", gmtime(0)), "\\n"'],
].filter(([program = '']) => existsSync(program));

/** Every copy is mapped where it was planned. */
function expectPlaced(copies: Copies): void {
  const mapped = mappedAt(copies);
  expect(copies.modules.length).toBeGreaterThan(0);
  for (const { module, base } of copies.modules) {
    expect(mapped.get(module.name), module.name).toBe(base + pagesOf(module.image).first);
  }
}

describe('a program made', () => {
  for (const make of LINKED_MAKES) {
    it(`${make.name} runs as before with prelinked libraries`, () => {
      const program = scene.make(make);
      const before = run([program]);
      expect(before).toMatchObject({ end: 0, stderr: '' });
      expect(before.stdout).toContain('three');
      for (const relocations of ['applied', 'relative', 'references', 'kept'] as const) {
        for (const [name, scheme] of Object.entries(SCHEMES)) {
          const folder = scene.path(`${make.name}-${relocations}-${name}`);
          const copies = writeCopies(program, folder, relocations, scheme);
          expectPlaced(copies);
          expect(run([program], { LD_LIBRARY_PATH: folder })).toEqual(before);
        }
      }
    });
  }
});

describe('a program of the system', () => {
  for (const argv of REAL) {
    it(`${basename(argv[0] ?? '')} runs as before with prelinked libraries`, () => {
      const folder = scene.path(`real-${basename(argv[0] ?? '')}`);
      const copies = writeCopies(argv[0] ?? '', folder);
      expectPlaced(copies);
      expect(copies.kept.map(({ module }) => module.role).sort()).toEqual(['loader', 'program']);
      expect(run(argv, { LD_LIBRARY_PATH: folder })).toEqual(run(argv));
    });
  }
});

describe('what is written in advance', () => {
  // The same addresses with all relocations kept: what the loader makes of them is right.
  // gdb starts twice for each, so not every make is taken.
  it.each(['lazy', 'relr', 'symbolic', 'large-pages', 'tls-descriptors', 'fixed', '/usr/bin/git'])(
    'is what the loader would have written: %s',
    (name) => {
      const make = LINKED_MAKES.find((one) => one.name === name);
      const program = make === undefined ? name : scene.make(make);
      const at = (text: string): string => scene.path(`memory-${basename(name)}`, text);
      const kept = memoryWhenLinked(writeCopies(program, at('copies'), 'kept'), at('dump-kept'));
      for (const relocations of ['applied', 'relative', 'references'] as const) {
        const copies = writeCopies(program, at('copies'), relocations);
        const memory = memoryWhenLinked(copies, at(`dump-${relocations}`));
        expect([...memory.keys()]).toEqual([...kept.keys()]);
        for (const [span, bytes] of memory) {
          expect(bytes.length).toBeGreaterThan(0);
          expect(differences(bytes, kept.get(span) ?? Buffer.alloc(0)), span).toEqual([]);
        }
      }
    },
  );
});

function differences(one: Buffer, other: Buffer): string[] {
  if (one.length !== other.length) return [`${one.length} bytes, ${other.length} bytes`];
  const found: string[] = [];
  for (let at = 0; at + 8 <= one.length; at += 8) {
    const [a, b] = [one.readBigUInt64LE(at), other.readBigUInt64LE(at)];
    if (a !== b) found.push(`+${at.toString(16)}: ${a.toString(16)} ${b.toString(16)}`);
  }
  return found;
}

describe('a library that is bound lazily', () => {
  it('may call what nothing defines until a library is opened', () => {
    const folder = scene.path('later');
    execFileSync('mkdir', ['-p', folder]);
    const file = (name: string, text: string): string => {
      writeFileSync(`${folder}/${name}`, text);
      return name;
    };
    const gcc = (...words: readonly string[]): void => {
      execFileSync('gcc', ['-O1', ...words], { cwd: folder, stdio: 'pipe' });
    };
    const plugin = 'int later(int x) { return x + 5; }\nint perhaps(int x) { return x + 6; }\n';
    const calls = `#include <stdlib.h>
      int later(int), other(int), perhaps(int) __attribute__((weak));
      int call_later(int x) { return later(x) + perhaps(x); }
      int call_other(int x) { return other(abs(x)); }
      int never(int x) { return later(other(x)); }`;
    const main = `#include <dlfcn.h>
      #include <stdio.h>
      int call_later(int), call_other(int);
      int other(int x) { return 3 * x; }
      int main(int argc, char **argv) {
        printf("%d\\n", call_other(-2));
        if (argc > 1) dlopen(argv[1], RTLD_LAZY | RTLD_GLOBAL);
        if (argc > 1) printf("%d\\n", call_later(1));
        return 0;
      }`;
    gcc('-shared', '-fPIC', '-o', 'plugin.so', file('plugin.c', plugin));
    gcc(
      '-shared',
      '-fPIC',
      '-Wl,-z,lazy',
      '-Wl,-soname,libcalls.so',
      '-o',
      'libcalls.so',
      file('calls.c', calls),
    );
    const unresolved = '-Wl,--unresolved-symbols=ignore-in-shared-libs';
    gcc(
      '-Wl,-z,lazy',
      unresolved,
      file('main.c', main),
      '-rdynamic',
      '-L.',
      '-lcalls',
      '-Wl,-rpath,$ORIGIN',
      '-o',
      'main',
    );
    const program = `${folder}/main`;
    const copies = writeCopies(program, `${folder}/copies`);
    const library = copies.modules.find(({ module }) => module.name === 'libcalls.so');
    const slots = readElf(library?.bytes ?? new Uint8Array(), 'libcalls.so').relocations.filter(
      ({ type }) => type === spec.R_X86_64_JUMP_SLOT,
    );
    // `abs` is written, and stood in front of others.
    expect(slots).toHaveLength(3);
    expect(library?.reasons.get('nothing defines it')).toBe(2);
    for (const words of [[], [`${folder}/plugin.so`]]) {
      const argv = [program, ...words];
      const plain = run(argv);
      expect(plain).toEqual({ end: 0, stdout: words.length > 0 ? '6\n13\n' : '6\n', stderr: '' });
      expect(run(argv, { LD_LIBRARY_PATH: `${folder}/copies` })).toEqual(plain);
    }
  });
});

describe('stubs that jump directly', () => {
  const makes = [
    { name: 'direct-lazy', library: ['-Wl,-z,lazy'] },
    { name: 'direct-now', library: ['-Wl,-z,now'] },
    { name: 'direct-ibt', library: ['-fcf-protection=full', '-Wl,-z,ibtplt', '-Wl,-z,lazy'] },
  ];

  it.each(makes)('lead where the table does: $name', (make) => {
    const program = scene.make(make);
    const before = run([program]);
    const folder = scene.path(`${make.name}-stubs`);
    const copies = writeCopies(program, folder, 'applied', SCHEMES.dense, 'direct');
    expectPlaced(copies);
    expect(run([program], { LD_LIBRARY_PATH: folder })).toEqual(before);
    const two = copies.modules.find(({ module }) => module.name === 'libtwo.so');
    expect(two?.stubs.direct).toBeGreaterThanOrEqual(3);
    expect(two?.stubs.far).toBe(0);
    // objdump names what the jumps of the copy lead to by nothing but their addresses.
    const jumps = (file: string, kind: RegExp): string[] => {
      const sections = ['-j', '.plt', '-j', '.plt.got', '-j', '.plt.sec'];
      const text = spawnSync('objdump', ['-d', ...sections, file], { encoding: 'utf8' }).stdout;
      return [...text.matchAll(kind)].map(([, to = '']) => to);
    };
    const file = `${folder}/libtwo.so`;
    const table = jumps(scene.path(make.name, 'libtwo.so'), /jmp +\*0x[0-9a-f]+\(%rip\) +# ([0-9a-f]+)/g);
    const direct = jumps(file, /\t(?:bnd )?jmp +([0-9a-f]+) ?$/gm).concat(
      jumps(file, /\tjmp +([0-9a-f]{9,})/g),
    );
    const image = readElf(two?.bytes ?? new Uint8Array(), file);
    const words = new Set(
      table.map((at) => {
        const offset = image.offsetOf(rva(Number.parseInt(at, 16) + (two?.base ?? 0))) ?? 0;
        return Buffer.from(image.bytes).readBigUInt64LE(offset).toString(16);
      }),
    );
    expect(new Set(direct).size).toBeGreaterThanOrEqual(two?.stubs.direct ?? 0);
    for (const target of direct.filter((to) => !inPlt(image, Number.parseInt(to, 16)))) {
      expect(words.has(target), target).toBe(true);
    }
  });

  function inPlt({ sections }: ElfImage, at: number): boolean {
    return sections.some((one) => one.name === '.plt' && at >= one.rva && at < one.rva + one.size);
  }

  it('stay where the target is too far', () => {
    const program = scene.make({ name: 'far' });
    const folder = scene.path('far-stubs');
    const { modules } = writeCopies(program, folder, 'applied', SCHEMES.named, 'direct');
    const two = modules.find(({ module }) => module.name === 'libtwo.so');
    expect(two?.stubs.far).toBeGreaterThan(0);
    expect(run([program], { LD_LIBRARY_PATH: folder })).toEqual(run([program]));
  });

  it.each(REAL)('leave %s as it was', (...argv) => {
    const folder = scene.path(`direct-${basename(argv[0] ?? '')}`);
    const copies = writeCopies(argv[0] ?? '', folder, 'applied', SCHEMES.dense, 'direct');
    expectPlaced(copies);
    expect(copies.modules.reduce((sum, { stubs }) => sum + stubs.direct, 0)).toBeGreaterThan(10);
    expect(run(argv, { LD_LIBRARY_PATH: folder })).toEqual(run(argv));
  });
});

describe('a prelinked library', () => {
  const makes = LINKED_MAKES.filter(({ name }) => name !== 'fixed');

  it.each(makes.map(({ name }) => name))(
    'is as good as the original for readelf and eu-elflint: %s',
    (name) => {
      const make = makes.find((one) => one.name === name);
      const program = scene.make(make ?? { name });
      const copies = writeCopies(program, scene.path(`${name}-judged`));
      for (const { module } of copies.modules) {
        const copy = `${copies.folder}/${basename(module.name)}`;
        for (const tool of ['readelf', 'eu-elflint'] as const) {
          const known = new Set(remarks(tool, module.path));
          expect(
            remarks(tool, copy).filter((text) => !known.has(text)),
            `${tool} ${module.name}`,
          ).toEqual([]);
        }
      }
    },
  );

  it('reads back as the original, higher by its base', () => {
    const program = scene.make({ name: 'read-back' });
    const { modules } = writeCopies(program, scene.path('read-back-copies'));
    for (const { module, base, bytes, left } of modules) {
      const { image } = module;
      const copy = readElf(bytes, module.path);
      expect(copy.segments).toHaveLength(image.segments.length);
      for (const [i, segment] of image.segments.entries()) {
        const slid = segment.type === spec.PT_GNU_STACK ? 0 : base;
        // Zeros behind the data, up to the end of the page.
        const fileSize = copy.segments[i]?.fileSize ?? 0;
        const added = fileSize - segment.fileSize;
        if (added > 0) {
          const most = segment.memSize - segment.fileSize;
          const page = 4096 - ((segment.rva + segment.fileSize) % 4096);
          expect([segment.type, added]).toEqual([spec.PT_LOAD, Math.min(most, page)]);
          const zeros = bytes.subarray(segment.offset + segment.fileSize, segment.offset + fileSize);
          expect(zeros.every((byte) => byte === 0)).toBe(true);
        }
        expect(copy.segments[i]).toEqual({
          ...segment,
          fileSize: segment.fileSize + Math.max(0, added),
          rva: segment.rva + slid,
          physical: segment.physical + slid,
        });
      }
      for (const [i, section] of image.sections.entries()) {
        const slid = (section.flags & spec.SHF_ALLOC) === 0 ? 0 : base;
        expect(copy.sections[i]?.rva).toBe(section.rva + slid);
        const before = Buffer.from(sectionBytes(image, section.index));
        // Stubs say which record is theirs.
        if (section.name === '.plt') continue;
        if ((section.flags & spec.SHF_WRITE) === 0 && !/^\.rela|sym|^\.relr/.test(section.name))
          expect(Buffer.compare(Buffer.from(sectionBytes(copy, section.index)), before), section.name).toBe(
            0,
          );
      }
      const tables = [
        [image.symbols, copy.symbols],
        [image.staticSymbols, copy.staticSymbols],
      ] as const;
      for (const [before, after] of tables) {
        expect(after).toHaveLength(before.length);
        for (const [i, symbol] of before.entries()) {
          const loaded = ((image.sections[symbol.section ?? 0]?.flags ?? 0) & spec.SHF_ALLOC) !== 0;
          const slid = loaded && symbol.type !== spec.STT_TLS ? BigInt(base) : 0n;
          expect(after[i]?.value, symbol.name).toBe(symbol.value + slid);
          expect(after[i]).toMatchObject({ name: symbol.name, size: symbol.size, shndx: symbol.shndx });
        }
      }
      expect(copy.relocations).toHaveLength(left);
      const places = new Set(image.relocations.map(({ rva }) => rva + base));
      for (const { rva, type } of copy.relocations) {
        expect(places.has(rva)).toBe(true);
        expect([spec.R_X86_64_RELATIVE, spec.R_X86_64_COPY]).not.toContain(type);
      }
      expect([copy.needed, copy.soname, copy.buildId]).toEqual([image.needed, image.soname, image.buildId]);
    }
  });

  function sectionBytes({ sections, bytes }: ElfImage, index: number): Uint8Array {
    const section = sections[index];
    if (section === undefined || section.type === spec.SHT_NOBITS) return new Uint8Array();
    return bytes.subarray(section.offset, section.offset + section.size);
  }

  it('keeps the original untouched', () => {
    const program = scene.make({ name: 'pure' });
    const copies = writeCopies(program, scene.path('pure-copies'));
    for (const { module, bytes } of copies.modules) {
      expect(Buffer.compare(module.image.bytes, readFileSync(module.path))).toBe(0);
      expect(Buffer.compare(module.image.bytes, bytes)).not.toBe(0);
    }
  });

  it('stays where it cannot be slid', () => {
    const reasonOf = (change: (bytes: Buffer) => void): string | undefined => {
      const bytes = readFileSync(scene.path('pure', 'libone.so'));
      change(bytes);
      return whyNotSlid(readElf(bytes, 'libone.so'));
    };
    const image = readElf(readFileSync(scene.path('pure', 'libone.so')), 'libone.so');
    const dynamic = image.segments.find(({ type }) => type === spec.PT_DYNAMIC)?.offset ?? 0;
    const entryOf = (tag: number): number =>
      dynamic + image.dynamic.entries.findIndex((entry) => entry.tag === tag) * spec.DYN_SIZE;
    expect(reasonOf(() => {})).toBeUndefined();
    expect(reasonOf((bytes) => bytes.writeUInt16LE(spec.ET_EXEC, 16))).toBe('linked to fixed addresses');
    const tag = entryOf(spec.DT_VERDEFNUM);
    expect(reasonOf((bytes) => bytes.writeBigUInt64LE(0x60000001n, tag))).toBe(
      'an unknown entry of the dynamic section (DT_0x60000001)',
    );
    const fini = entryOf(spec.DT_FINI) + 8;
    expect(reasonOf((bytes) => bytes.writeBigUInt64LE(0x7000000n, fini))).toBe(
      'an entry of the dynamic section leads nowhere (DT_FINI)',
    );
    const debug = scene.path('pure', 'debug.so');
    execFileSync('gcc', ['-g', '-shared', '-fPIC', '-o', debug, scene.path('pure', 'two.c')]);
    expect(whyNotSlid(readElfFile(debug))).toBe('carries debugging information');
  });
});
