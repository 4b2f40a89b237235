/** Words and tables about the code of modules, for `report --functions`, `build` and `image show`. */
import type { ModuleRow, SelectExplanation, SelectTotals } from '../select/explain.ts';
import { formatCount, formatPlural } from '../term/format.ts';
import { type Column, renderTable } from '../term/table.ts';
import { commandLine, printable } from '../term/text.ts';
import type { FunctionsReport } from './functions.ts';

const right = (title: string): Column => ({ title, align: 'right' });
const figure = (count: number | undefined): string => (count === undefined ? '' : formatCount(count));

const COLUMNS: readonly Column[] = [
  right('text'),
  right('touched'),
  right('used'),
  right('needed'),
  right('saved'),
  right('added'),
  right('functions'),
  right('of'),
  { title: 'module' },
];

/** With one digit more than elsewhere: savings of 97 % differ by tenths. */
function saved({ textPages, neededPages }: { textPages: number; neededPages: number }): string {
  const share = textPages === 0 ? 0 : Math.max(0, textPages - neededPages) / textPages;
  return `${(share * 100).toFixed(1)} %`;
}

/** One line a module: pages of code before and after, functions used. */
export function renderModules({ modules, totals }: SelectExplanation): string {
  const rows = modules.map((row) => [
    formatCount(row.textPages),
    figure(row.touchedPages),
    figure(row.usedPages),
    formatCount(row.neededPages),
    row.kept === undefined ? saved(row) : 'kept',
    figure(row.kept === undefined ? row.addedPages : undefined),
    figure(row.usedFunctions),
    figure(row.functions),
    printable(row.path),
  ]);
  return renderTable(COLUMNS, [...rows, totalCells(totals, modules)]);
}

const totalCells = (totals: SelectTotals, rows: readonly ModuleRow[]): string[] => [
  formatCount(totals.textPages),
  formatCount(rows.reduce((sum, { touchedPages }) => sum + (touchedPages ?? 0), 0)),
  formatCount(totals.usedPages),
  formatCount(totals.neededPages),
  saved(totals),
  formatCount(totals.addedPages),
  formatCount(totals.usedFunctions),
  formatCount(totals.functions),
  'all',
];

/** The totals in words. */
export function renderTotals({ totals }: SelectExplanation): string {
  const { modules, rewrittenModules, textPages, usedPages, neededPages, addedPages } = totals;
  const functions = `${formatCount(totals.usedFunctions)} of ${formatPlural(totals.functions, 'function')}`;
  return (
    `${formatPlural(modules, 'module')}, ${formatCount(rewrittenModules)} of them rewritten; ${functions} used\n` +
    `${formatPlural(textPages, 'page')} of code: used ones lie on ${formatCount(usedPages)} as it is, ` +
    `on ${formatCount(neededPages)} in the image: ${saved(totals)} saved, ` +
    `${saved({ textPages, neededPages: neededPages + addedPages })} with ${formatPlural(addedPages, 'page')} added that are no code\n`
  );
}

/** Why modules and parts of them stay; nothing where none do. */
export function renderKept({ kept, stayed }: SelectExplanation): string {
  const modules = kept.map(
    ({ reason, modules: count, textPages, example }) =>
      `  ${formatPlural(count, 'module')}, ${formatPlural(textPages, 'page')}: ${printable(reason)} (${printable(example)})\n`,
  );
  const parts = stayed.map(({ reason, count }) => `  ${formatCount(count)}: ${printable(reason)}\n`);
  return [
    modules.length > 0 ? `kept as they are:\n${modules.join('')}` : '',
    parts.length > 0 ? `used and not copied, in rewritten modules:\n${parts.join('')}` : '',
  ].join('');
}

/** The report as text that ends with a line end. */
export function renderFunctions(report: FunctionsReport): string {
  const command = report.command === undefined ? 'no runs' : commandLine(report.command.argv);
  return [
    `${report.name}: ${command}\n${formatPlural(report.runs, 'run')} with functions\n`,
    renderModules(report),
    renderKept(report),
    renderTotals(report),
  ]
    .filter((part) => part !== '')
    .join('\n');
}
