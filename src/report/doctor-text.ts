/** The checks of `winnow doctor` as a table. */
import type { Colors } from '../term/color.ts';
import { renderTable } from '../term/table.ts';
import { printable } from '../term/text.ts';
import type { Check, State } from './doctor-check.ts';

const WORDS: Readonly<Record<State, string>> = { good: 'ok', less: 'less', bad: 'NO', fact: '' };

export function renderDoctor(checks: readonly Check[], colors: Colors): string {
  const paint: Readonly<Record<State, (text: string) => string>> = {
    good: colors.green,
    less: colors.yellow,
    bad: colors.red,
    fact: (text) => text,
  };
  const columns = [{ title: '' }, { title: 'what' }, { title: 'found' }, { title: 'what follows' }];
  const rows = checks.map(({ what, state, found, means }) => [
    paint[state](WORDS[state]),
    what,
    printable(found),
    printable(means),
  ]);
  return renderTable(columns, rows);
}
