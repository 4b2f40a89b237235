/** Which programs have a loader that can be followed, told before anything is started. */
import { closeSync, fstatSync, openSync, realpathSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { WinnowError } from '../../base/errors.ts';
import { prefixSegments, readBytes } from '../../elf/prefix.ts';
import { type ProgramKind, requireRunnable } from '../../elf/probe.ts';
import { DYN_SIZE, EHDR_SIZE, ET_EXEC, PT_DYNAMIC } from '../../elf/spec.ts';
import { hasFileCapabilities } from '../../sys/capabilities.ts';
import { Refusal } from './refusal.ts';

export interface EligibleProgram {
  /** Absolute, links resolved. */
  readonly path: string;
  /** Linked to fixed addresses (ET_EXEC). */
  readonly isFixed: boolean;
  /** `e_entry` */
  readonly entry: number;
}

/** In what surroundings it is linked. */
export interface ProgramToLink extends EligibleProgram {
  /** LD_LIBRARY_PATH; undefined: not set. */
  readonly libraryPath: string | undefined;
}

const SETUID_SETGID = 0o6000;
const DT_AUDIT = 0x6ffffefcn;
const DT_DEPAUDIT = 0x6ffffefbn;

/**
 * @throws Refusal for programs that get no image.
 * @throws WinnowError E_PROGRAM_NOT_FOUND, E_PROGRAM_NOT_EXECUTABLE, E_PROGRAM_FORMAT.
 */
export function requireEligible(path: string): EligibleProgram {
  checkKind(kindOf(path));
  const program = realpathSync(path);
  if ((statSync(program).mode & SETUID_SETGID) !== 0) throw new Refusal('a set-user-id program');
  if (hasFileCapabilities(program)) throw new Refusal('a program with file capabilities');
  const fd = openSync(program, 'r');
  try {
    const start = readBytes(fd, 0, EHDR_SIZE);
    const header = Buffer.from(start);
    const dynamic = prefixSegments(fd, fstatSync(fd).size, start).find(({ type }) => type === PT_DYNAMIC);
    if (dynamic === undefined) throw new Refusal('not dynamically linked');
    if (namesAuditor(Buffer.from(readBytes(fd, dynamic.offset, dynamic.fileSize)))) {
      throw new Refusal('an audit module', 'its code runs before the program is linked');
    }
    const isFixed = header.readUInt16LE(16) === ET_EXEC;
    return { path: program, isFixed, entry: Number(header.readBigUInt64LE(24)) };
  } finally {
    closeSync(fd);
  }
}

function kindOf(path: string): ProgramKind {
  try {
    return requireRunnable(path);
  } catch (error) {
    if (!(error instanceof WinnowError)) throw error;
    if (error.code === 'E_ELF_CLASS') throw new Refusal('a 32-bit program');
    if (error.code === 'E_ELF_MACHINE') throw new Refusal('a program for another machine', error.what);
    if (error.code === 'E_PROGRAM_NOT_READABLE') throw new Refusal('a program that may not be read');
    throw error;
  }
}

function checkKind(program: ProgramKind): void {
  if (program.kind === 'script')
    throw new Refusal('a script', `link its interpreter: ${program.interpreter}`);
  if (program.kind !== 'elf') return;
  const { interp } = program;
  if (interp === undefined) throw new Refusal('not dynamically linked');
  if (/^ld-musl-/.test(basename(interp))) throw new Refusal('musl', `its loader is ${interp}`);
}

function namesAuditor(entries: Buffer): boolean {
  for (let at = 0; at + DYN_SIZE <= entries.length; at += DYN_SIZE) {
    const tag = entries.readBigUInt64LE(at);
    if (tag === DT_AUDIT || tag === DT_DEPAUDIT) return true;
  }
  return false;
}
