/**
 * Modules whose runtime finds its code by address: it looks program counters up in tables that say where functions
 * were linked, and ends the program if one is not there. Such a module stays as it is.
 *
 * Recognised by what the runtime itself needs, so that stripping does not remove it: sections (whose headers
 * may be gone, though) and exported symbols; Go also by the note of its linker.
 */
import type { ElfImage } from '../elf/image.ts';
import { notesIn } from '../elf/notes.ts';
import * as spec from '../elf/spec.ts';

/** `.gopclntab`: Go. `.llvm_stackmaps`: precise garbage collectors. `__managedcode`: .NET. `.svm_heap`: GraalVM. */
const SECTIONS: ReadonlySet<string> = new Set([
  '.gopclntab',
  '.data.rel.ro.gopclntab',
  '.llvm_stackmaps',
  '__managedcode',
  '.svm_heap',
]);

/** OCaml's table of return addresses. */
const SYMBOLS: ReadonlySet<string> = new Set(['caml_frametable', 'caml_system__frametable']);

const GO_NOTE = 'Go';

export function hasManagedCode(image: ElfImage): boolean {
  if (image.sections.some(({ name }) => SECTIONS.has(name))) return true;
  if (image.symbols.some(({ name }) => SYMBOLS.has(name))) return true;
  return image.segments.some(({ type, offset, fileSize, align }) => {
    if (type !== spec.PT_NOTE) return false;
    for (const { name } of notesIn(image.bytes.subarray(offset, offset + fileSize), align)) {
      if (name === GO_NOTE) return true;
    }
    return false;
  });
}
