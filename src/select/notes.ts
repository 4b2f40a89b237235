/** What a person should know about a recording of functions. */
import { basename } from 'node:path';
import type { Note } from '../profile/model.ts';

/** Names that are told of each reason. */
const SHOWN = 3;

export function codeNotes(seen: {
  /** Files by the reason why they have no breakpoints. */
  readonly kept: ReadonlyMap<string, readonly string[]>;
  /** Memories that could not be written. */
  readonly refused: number;
  /** Programs that map code only to read it. */
  readonly translators: readonly string[];
}): Note[] {
  const notes: Note[] = [];
  if (seen.kept.size > 0) {
    const reasons = [...seen.kept].map(([reason, paths]) => `${namesOf(paths)} (${reason})`).join('; ');
    notes.push({
      code: 'N_CODE_KEPT',
      text: `functions of these files are not in the profile, as their code could not be analysed: ${reasons}`,
    });
  }
  if (seen.refused > 0) {
    notes.push({
      code: 'N_CODE_REFUSED',
      text: `the kernel did not let ${seen.refused} mapping(s) of code be written: their functions are not in the profile`,
    });
  }
  if (seen.translators.length > 0) {
    notes.push({
      code: 'N_CODE_TRANSLATED',
      text: `these programs are static and map the code of others, as translators do: what runs in them is not in the profile: ${namesOf(seen.translators)}`,
    });
  }
  return notes;
}

function namesOf(paths: readonly string[]): string {
  const shown = paths.slice(0, SHOWN).map((path) => basename(path));
  return paths.length > SHOWN ? `${shown.join(', ')} and ${paths.length - SHOWN} more` : shown.join(', ');
}
