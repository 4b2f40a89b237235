/** Copies of a program's libraries at planned addresses, and what their judges need. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Closure } from '../../src/share/closure/modules.ts';
import type { PrelinkOptions } from '../../src/share/prelink/model.ts';
import { type AddressScheme, FIRST_ADDRESS } from '../../src/share/prelink/plan-addresses.ts';
import { type PrelinkedClosure, prelinkClosure } from '../../src/share/prelink/prelink.ts';
import { closureOf } from './linked-scene.ts';

export const SCHEMES = {
  named: { how: 'by name', bits: 16 },
  dense: { how: 'side by side', from: FIRST_ADDRESS },
} as const satisfies Readonly<Record<string, AddressScheme>>;

export interface Copies extends PrelinkedClosure {
  readonly program: string;
  readonly closure: Closure;
  /** For LD_LIBRARY_PATH. */
  readonly folder: string;
}

/** Writes the copies into `folder` under the names by which they are asked for. */
export function writeCopies(
  program: string,
  folder: string,
  relocations: PrelinkOptions['relocations'] = 'applied',
  addresses: AddressScheme = { how: 'by name', bits: 16 },
  stubs: 'through the table' | 'direct' = 'through the table',
): Copies {
  const closure = closureOf(program);
  const prelinked = prelinkClosure(closure, { relocations, addresses, stubs });
  mkdirSync(folder, { recursive: true });
  for (const { module, bytes } of prelinked.modules) {
    writeFileSync(join(folder, basename(module.name)), bytes, { mode: 0o755 });
  }
  return { ...prelinked, program, closure, folder };
}

export interface Outcome {
  readonly end: number | string | null;
  readonly stdout: string;
  readonly stderr: string;
}

export function run(argv: readonly string[], env: Readonly<Record<string, string>> = {}): Outcome {
  const [file = '', ...args] = argv;
  const done = spawnSync(file, args, {
    encoding: 'utf8',
    env: { PATH: '/usr/bin:/bin', ...env },
    timeout: 60_000,
  });
  return { end: done.signal ?? done.status, stdout: done.stdout, stderr: done.stderr };
}

/** Where the loader maps each copy, by name. */
export function mappedAt({ closure, folder }: Copies): ReadonlyMap<string, number> {
  const text = execFileSync(closure.interp, ['--list', closure.program], {
    encoding: 'utf8',
    env: { LD_LIBRARY_PATH: folder },
  });
  const lines = text.matchAll(/^\t(\S+) => (\S+) \(0x([0-9a-f]+)\)$/gm);
  return new Map(
    [...lines]
      .filter(([, , path = '']) => path.startsWith(folder))
      .map(([, name = '', , at = '']) => [name, Number.parseInt(at, 16)]),
  );
}

/**
 * The writable memory of each copy when the loader has done its work, as gdb reads it: `name` to bytes. The dynamic sections,
 * which differ with what is left to do, are zeroed.
 */
export function memoryWhenLinked({ folder, modules, program }: Copies, scratch: string): Map<string, Buffer> {
  const spans = modules.flatMap(({ module, base }) => {
    const writable = module.image.segments.filter(({ type, flags }) => type === 1 && (flags & 2) !== 0);
    return writable.map(({ rva, memSize, index }) => ({
      name: `${module.name}:${index}`,
      file: join(scratch, `${basename(module.name)}-${index}`),
      start: base + rva,
      end: base + rva + memSize,
      dynamic: module.image.segments.find(({ type }) => type === 2),
      rva,
    }));
  });
  mkdirSync(scratch, { recursive: true });
  const commands = [
    'set startup-with-shell off',
    `set environment LD_LIBRARY_PATH ${folder}`,
    'set environment LD_BIND_NOW 1',
    'starti',
    // The loader’s entry: mov, call, and what it goes on with. gdb computes places anew when it sees a library.
    'set $linked = $pc + 8',
    'tbreak *$linked',
    'continue',
    ...spans.map(({ file, start, end }) => `dump binary memory ${file} ${start} ${end}`),
    'kill',
  ];
  execFileSync('gdb', ['-q', '-nx', '-batch', ...commands.flatMap((command) => ['-ex', command]), program], {
    stdio: 'pipe',
    env: { PATH: '/usr/bin:/bin', HOME: scratch },
  });
  return new Map(
    spans.map(({ name, file, rva, dynamic }) => {
      const bytes = readFileSync(file);
      if (dynamic !== undefined && dynamic.rva >= rva && dynamic.rva < rva + bytes.length) {
        bytes.fill(0, dynamic.rva - rva, dynamic.rva - rva + dynamic.memSize);
      }
      return [name, bytes];
    }),
  );
}

/** What a tool says of a file. */
export function remarks(tool: 'readelf' | 'eu-elflint', file: string): string[] {
  const args = tool === 'readelf' ? ['-aW', file] : ['--gnu-ld', file];
  const done = spawnSync(tool, args, {
    encoding: 'latin1',
    maxBuffer: 2 ** 29,
    env: { ...process.env, LC_ALL: 'C' },
  });
  const lines = `${done.stdout}\n${done.stderr}`.split('\n');
  const isRemark = tool === 'readelf' ? /<corrupt|^readelf: / : /./;
  return (
    lines
      .filter((line) => isRemark.test(line) && line !== 'No errors')
      // eu-elflint takes the entry for an address; it has no value, and 0 is one that is loaded in most libraries.
      .filter((line) => !line.includes('SYMBOLIC value must point into loaded segment'))
      .map((line) => line.replaceAll(file, 'FILE').replace(/0x[0-9a-f]+|\d+/g, 'N'))
  );
}
