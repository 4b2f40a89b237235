/**
 * The modules that a program starts with, as its own dynamic loader finds them.
 *
 * Problem: where DT_NEEDED leads depends on RPATH, RUNPATH, ld.so.cache, LD_LIBRARY_PATH, LD_PRELOAD and hardware folders.
 * Example: git: itself, libpcre2-8, libz, libc, and the loader.
 * Method: the loader that PT_INTERP names is asked for its list (`--list`). It maps the modules in the order of the
 * global scope and ends before any of their code is run, resolvers of IFUNCs too.
 * Limits: what the program opens later with dlopen is not among them. The caller's LD_ variables count, as at a start.
 */
import { spawnSync } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { WinnowError } from '../../base/errors.ts';
import type { ElfImage } from '../../elf/image.ts';
import { probeProgram } from '../../elf/probe.ts';
import { readElfFile } from '../../elf/read.ts';

export interface ClosureModule {
  /** Place in the global scope; the program is 0. */
  readonly index: number;
  /** As DT_NEEDED asks for it; of the program its path. */
  readonly name: string;
  /** Where the loader found it. */
  readonly path: string;
  readonly role: 'program' | 'library' | 'loader';
  readonly image: ElfImage;
}

export interface Closure {
  /** Absolute path of the file that is executed: of a script its interpreter. */
  readonly program: string;
  readonly interp: string;
  /** In the order of the global scope. */
  readonly modules: readonly ClosureModule[];
}

/** A program that has no modules to link: a result, not an error. */
export interface NotDynamic {
  readonly kind: 'kept';
  readonly reason: string;
}

/** A script's interpreter can be a script; the kernel follows five. */
const MOST_SCRIPTS = 5;

/**
 * @param program absolute path.
 * @param env the environment in which the program would be started.
 * @throws WinnowError E_CLOSURE where the loader does not find a module; E_ELF_… for damaged ones.
 */
export function readClosure(
  program: string,
  env: Readonly<Record<string, string | undefined>> = process.env,
): Closure | NotDynamic {
  const file = executedFile(program);
  const image = readElfFile(file);
  const { interp } = image;
  if (interp === undefined) return { kind: 'kept', reason: 'not dynamically linked' };
  const loader = realpathSync(interp);
  const found = parseList(askLoader(interp, file, env), file);
  const modules = found.map(({ name, path }, index): ClosureModule => {
    const role = index === 0 ? 'program' : realpathSync(path) === loader ? 'loader' : 'library';
    return { index, name, path, role, image: index === 0 ? image : readElfFile(path) };
  });
  return { program: file, interp, modules };
}

function executedFile(path: string): string {
  let file = path;
  for (let i = 0; i < MOST_SCRIPTS; i++) {
    const kind = probeProgram(file);
    if (kind.kind !== 'script') return file;
    file = kind.interpreter;
  }
  throw closureError(path, 'its interpreters are scripts, one behind the other');
}

function askLoader(interp: string, file: string, env: Readonly<Record<string, string | undefined>>): string {
  // $ORIGIN is the folder of the file itself, as after exec: java's libraries lie beside it, and not beside its link.
  const done = spawnSync(interp, ['--list', realpathSync(file)], {
    encoding: 'utf8',
    env: { ...env, LC_ALL: 'C' },
    maxBuffer: 1 << 24,
  });
  if (done.status === 0) return done.stdout;
  throw closureError(file, (done.stderr || String(done.error ?? done.signal)).trim().split('\n')[0] ?? '');
}

/**
 * The lines of `ld.so --list`, the program in front.
 * @throws WinnowError E_CLOSURE for a module that was not found.
 */
export function parseList(text: string, program: string): { readonly name: string; readonly path: string }[] {
  const found = [{ name: program, path: program }];
  for (const line of text.split('\n')) {
    const missing = /^\t(.+) => not found$/.exec(line)?.[1];
    if (missing !== undefined) throw closureError(program, `the loader does not find ${missing}`);
    const [, name, path] = /^\t(?:(.+) => )?(\/.+) \(0x[0-9a-f]+\)$/.exec(line) ?? [];
    // The vDSO, which has no path, is in the list and not in the scope.
    if (path !== undefined) found.push({ name: name ?? path, path });
  }
  return found;
}

const closureError = (program: string, what: string): WinnowError =>
  new WinnowError({
    code: 'E_CLOSURE',
    kind: 'input',
    what: `the program’s modules cannot be listed: ${what}`,
    where: program,
    next: 'does the program start? ldd shows what the loader finds',
  });
