/** Errors about ELF files: one factory, so that every one names the file, the part and a hint. */
import { WinnowError } from '../base/errors.ts';

export interface ElfErrorAbout {
  readonly path: string;
  readonly what: string;
  /** The header, segment, section or table at fault: `segment 3 (PT_LOAD)`. */
  readonly part?: string;
  readonly hint?: string;
}

const DAMAGED = 'is the file damaged or truncated? Install its package again';
const UNSUPPORTED: readonly string[] = ['E_ELF_CLASS', 'E_ELF_DATA', 'E_ELF_MACHINE'];

/** A WinnowError of kind input, or unsupported where the file is sound and winnow cannot use it. */
export function elfError(code: string, about: ElfErrorAbout): WinnowError {
  return new WinnowError({
    code,
    kind: UNSUPPORTED.includes(code) ? 'unsupported' : 'input',
    what: about.what,
    where: about.part === undefined ? about.path : `${about.path}: ${about.part}`,
    next: about.hint ?? DAMAGED,
  });
}
