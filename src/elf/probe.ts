/** What a file is that someone wants to start: ELF, script or neither, and whether winnow can start it. */
import { accessSync, closeSync, constants, fstatSync, openSync, type Stats, statSync } from 'node:fs';
import { errnoOf, WinnowError } from '../base/errors.ts';
import { machineName } from './machines.ts';
import { identOf, prefixSegments, readBytes } from './prefix.ts';
import { EM_386, EM_X86_64, ET_DYN, ET_EXEC, PT_INTERP } from './spec.ts';

export type ProgramKind =
  | {
      readonly kind: 'elf';
      readonly class: 64 | 32;
      /** `e_machine` */
      readonly machine: number;
      /** `e_type` */
      readonly type: number;
      /** Path of the dynamic loader; static programs and 32-bit ones have none here. */
      readonly interp?: string;
    }
  | { readonly kind: 'script'; readonly interpreter: string; readonly argument?: string }
  | { readonly kind: 'other' };

/** What the kernel reads of a script (BINPRM_BUF_SIZE). The last byte can end the line, not belong to it. */
const LINE_BYTES = 256;
const MAX_INTERP_BYTES = 4096;

/**
 * What the first bytes of a file say. Content never makes it throw.
 *
 * @throws Node's error of open, fstat or read (ENOENT, EACCES, …).
 */
export function probeProgram(path: string): ProgramKind {
  // O_NONBLOCK: opening a FIFO that nobody writes would wait for ever.
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stats = fstatSync(fd);
    if (!stats.isFile()) return { kind: 'other' };
    const start = readBytes(fd, 0, LINE_BYTES);
    const ident = identOf(start);
    if (ident === undefined) return scriptOf(start);
    const { machine, type } = ident;
    const interp = interpOf(fd, stats.size, start);
    return { kind: 'elf', class: ident.class, machine, type, ...(interp === undefined ? {} : { interp }) };
  } finally {
    closeSync(fd);
  }
}

function interpOf(fd: number, size: number, start: Uint8Array): string | undefined {
  const segment = prefixSegments(fd, size, start).find(({ type }) => type === PT_INTERP);
  if (segment === undefined || segment.fileSize > MAX_INTERP_BYTES) return undefined;
  const text = Buffer.from(readBytes(fd, segment.offset, segment.fileSize)).toString();
  const path = text.split('\0', 1)[0] ?? '';
  return path === '' ? undefined : path;
}

/**
 * The `#!` line by the kernel's rules (fs/binfmt_script.c): blanks are spaces and tabs; everything
 * after the interpreter is one argument; a line too long for the buffer is cut in its argument, and
 * refused where the cut would fall into the interpreter's path.
 */
function scriptOf(start: Uint8Array): ProgramKind {
  const text = Buffer.from(start).toString('latin1');
  if (!text.startsWith('#!')) return { kind: 'other' };
  const end = text.search(/[\n\0]/);
  const cut = end < 0 && start.length === LINE_BYTES;
  if (cut && !/^[ \t]*[^ \t]+[ \t]/.test(text.slice(2))) return { kind: 'other' };
  const line = text.slice(2, cut ? LINE_BYTES - 1 : end < 0 ? undefined : end).replace(/^[ \t]+/, '');
  const blank = line.search(/[ \t]/);
  if (line === '') return { kind: 'other' };
  // Paths are bytes; latin1 kept them apart from each other until here.
  const utf8 = (bytes: string): string => Buffer.from(bytes, 'latin1').toString();
  const interpreter = utf8(blank < 0 ? line : line.slice(0, blank));
  const argument = utf8(blank < 0 ? '' : line.slice(blank).replace(/^[ \t]+|[ \t]+$/g, ''));
  return argument === '' ? { kind: 'script', interpreter } : { kind: 'script', interpreter, argument };
}

/**
 * What the program is, where the kernel can start it and winnow knows its machine.
 *
 * @throws WinnowError E_PROGRAM_NOT_FOUND (exit code 127); E_PROGRAM_NOT_EXECUTABLE,
 *   E_PROGRAM_NOT_READABLE, E_PROGRAM_FORMAT (126); E_ELF_MACHINE, E_ELF_CLASS.
 */
export function requireRunnable(path: string): ProgramKind {
  checkExecutable(path, found(path));
  const program = probeReadable(path);
  if (program.kind === 'other') {
    throw cannotStart(path, 'E_PROGRAM_FORMAT', 'the file is neither an ELF program nor a script with #!', {
      next: 'begin the script with a line such as #!/bin/sh, or name the interpreter: sh SCRIPT',
    });
  }
  if (program.kind === 'elf') checkElf(path, program);
  return program;
}

function found(path: string): Stats {
  try {
    return statSync(path);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'EACCES') {
      throw cannotStart(
        path,
        'E_PROGRAM_NOT_EXECUTABLE',
        'a folder on the way to the program cannot be searched',
        {
          next: 'ask its owner for the right to search (x) every folder of the path',
        },
      );
    }
    throw new WinnowError({
      code: 'E_PROGRAM_NOT_FOUND',
      kind: 'input',
      what:
        errno === 'ENOENT'
          ? 'there is no such program'
          : `the program cannot be looked up (${errno ?? 'unknown'})`,
      where: path,
      next: 'check the spelling and PATH',
      exitCode: 127,
      cause: error,
    });
  }
}

function checkExecutable(path: string, stats: Stats): void {
  if (!stats.isFile()) {
    const what = stats.isDirectory() ? 'a folder' : 'a device, pipe or socket';
    throw cannotStart(path, 'E_PROGRAM_NOT_EXECUTABLE', `this is ${what}, not a program`, {
      next: 'name the program itself',
    });
  }
  try {
    accessSync(path, constants.X_OK);
  } catch {
    throw cannotStart(path, 'E_PROGRAM_NOT_EXECUTABLE', 'the file may not be executed by this user', {
      next: 'chmod +x, if it is a program; a file system mounted noexec says the same',
    });
  }
}

function probeReadable(path: string): ProgramKind {
  try {
    return probeProgram(path);
  } catch (error) {
    throw cannotStart(
      path,
      'E_PROGRAM_NOT_READABLE',
      `the program cannot be read (${errnoOf(error) ?? 'unknown'})`,
      {
        next: 'winnow must read what it records: ask the owner of the file for the right to read it',
      },
    );
  }
}

function checkElf(path: string, program: Extract<ProgramKind, { kind: 'elf' }>): void {
  const unsupported = (code: string, what: string): WinnowError =>
    new WinnowError({
      code,
      kind: 'unsupported',
      what,
      where: path,
      next: 'winnow works on x86-64, 64-bit ELF programs',
    });
  // i386 is refused for its class: people know it as "32-bit", and x32 programs share the reason.
  if (program.machine !== EM_X86_64 && !(program.machine === EM_386 && program.class === 32)) {
    throw unsupported('E_ELF_MACHINE', `the program is for ${machineName(program.machine)}, not for x86-64`);
  }
  if (program.class !== 64) throw unsupported('E_ELF_CLASS', 'the program is a 32-bit ELF file');
  if (program.type !== ET_EXEC && program.type !== ET_DYN) {
    throw cannotStart(path, 'E_PROGRAM_FORMAT', 'the ELF file is an object or core file, not a program', {
      next: 'link it first',
    });
  }
}

function cannotStart(path: string, code: string, what: string, { next }: { next: string }): WinnowError {
  return new WinnowError({ code, kind: 'input', what, where: path, next, exitCode: 126 });
}
