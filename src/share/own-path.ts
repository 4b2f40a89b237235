/**
 * Whether a program may ask under which path it runs.
 *
 * Problem. Where nothing can be mounted, the copy of a program is executed by its own path in the image, which
 * /proc/self/exe and the memory map then show. Most programs never look; chromium starts its children by
 * that name, others look for their data beside it.
 *
 * Method. Every module of the program is searched for the names by which one can ask. libc and the loader
 * know them all, for who asks them to.
 *
 * Limits. A script that asks is not seen, nor a library that no recording saw.
 */
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { errnoOf } from '../base/errors.ts';
import { mentionsOrigin } from '../elf/origin.ts';

/** A file of /proc from which one learns the path, of this process or one whose number or name is put in. */
const QUESTION = /^\/proc\/(?:self|thread-self|%[^/\0]{1,8})\/(?:exe|maps|smaps|map_files|%)/;
const MAP = /^\/proc\/(?:self|thread-self|%[^/\0]{1,8})\/(?:maps|smaps|map_files|task|%)/;
const LONGEST = 48;
const KNOWS_ALL = /^(?:ld-linux-x86-64\.so\.2|libc(?:-[\d.]+)?\.so(?:\.6)?)$/;

/** @param modules the program first. @returns the first module that may ask. */
export function findQuestion(modules: readonly string[]): string | undefined {
  return modules.find((path, index) => {
    if (KNOWS_ALL.test(basename(path))) return false;
    const bytes = readModule(path);
    if (bytes === undefined) return false;
    return asks(bytes, QUESTION) || (index === 0 && mentionsOrigin(bytes));
  });
}

/** Whether a module may look into the memory map of its process; libc and the loader, which know all names, may too. */
export function asksForMap(path: string): boolean {
  const bytes = readModule(path);
  return bytes !== undefined && asks(bytes, MAP);
}

function asks(bytes: Buffer, question: RegExp): boolean {
  for (let at = bytes.indexOf('/proc/'); at >= 0; at = bytes.indexOf('/proc/', at + 1)) {
    if (question.test(bytes.toString('latin1', at, at + LONGEST))) return true;
  }
  return false;
}

/** Undefined where it is gone, or no ELF file. */
function readModule(path: string): Buffer | undefined {
  try {
    const bytes = readFileSync(path);
    return bytes.readUInt32BE(0) === 0x7f454c46 ? bytes : undefined;
  } catch (error) {
    if (errnoOf(error) !== undefined) return undefined;
    throw error;
  }
}
