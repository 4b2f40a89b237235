/**
 * Programs whose runtime allows memory in certain ranges of addresses only: ThreadSanitizer and others keep a shadow
 * of it at an offset, and end the program where something lies elsewhere.
 */
import { readFileSync } from 'node:fs';
import { errnoOf, WinnowError } from '../base/errors.ts';
import { readElf } from '../elf/read.ts';
import { STB_WEAK } from '../elf/spec.ts';

const INITIALISERS = ['__tsan_init', '__msan_init', '__hwasan_init', '__dfsan_init'];

/** @param modules paths. @returns the first that is made for such a runtime, or is one. */
export const findSanitizer = (modules: readonly string[]): string | undefined => modules.find(isSanitized);

function isSanitized(path: string): boolean {
  try {
    const bytes = readFileSync(path);
    // Compilers hold the names as text, so symbols decide; most modules need not be parsed for that.
    if (!INITIALISERS.some((name) => bytes.includes(name))) return false;
    return readElf(bytes, path).symbols.some(
      ({ name, binding }) => binding !== STB_WEAK && INITIALISERS.includes(name),
    );
  } catch (error) {
    // Gone or changed since it was linked: its guard finds that out.
    if (errnoOf(error) !== undefined || error instanceof WinnowError) return false;
    throw error;
  }
}
