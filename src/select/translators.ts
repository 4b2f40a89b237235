/**
 * Programs that map code in order to read it.
 *
 * Problem: what translates machine code (valgrind) maps programs and libraries like a dynamic loader, but only reads
 * them. It would translate our int3 into a signal for its guest.
 * Method: a program with an interpreter leaves the mapping of modules to that; a static one has no modules, and what it maps
 * as code all the same is a guest's. Dynamic loaders that are started as programs are static too, but have a DT_SONAME.
 * Limits: modules that a static program loads for itself (glibc's static dlopen, for NSS) are taken for guests: their
 * functions are not seen. A translator that is linked dynamically is taken for a program.
 */
import { errnoOf, WinnowError } from '../base/errors.ts';
import { probeProgram } from '../elf/probe.ts';
import { readElfFile } from '../elf/read.ts';

export class Translators {
  readonly #known = new Map<string, boolean>();

  /** Whether what this program maps as code is left as it is. */
  has(program: string): boolean {
    const known = this.#known.get(program);
    if (known !== undefined) return known;
    const found = isTranslator(program);
    this.#known.set(program, found);
    return found;
  }
}

function isTranslator(program: string): boolean {
  try {
    const probed = probeProgram(program);
    return probed.kind === 'elf' && probed.interp === undefined && readElfFile(program).soname === undefined;
  } catch (error) {
    // Gone, or not to be read, or damaged.
    if (error instanceof WinnowError || errnoOf(error) !== undefined) return false;
    throw error;
  }
}
