/** Programs with prelinked libraries, in words and tables. */
import type { PrelinkManifest } from '../image/manifest.ts';
import type { CheckedPrelinked } from '../image/prelink-check.ts';
import { formatBytes, formatCount, formatPlural } from '../term/format.ts';
import { type Column, renderTable } from '../term/table.ts';
import { printable } from '../term/text.ts';

const right = (title: string): Column => ({ title, align: 'right' });

/** What `winnow build` says, and `winnow image show` after its head. */
export function renderPrelinked({ programs, kept }: PrelinkManifest): string {
  const columns = [
    right('prelinked'),
    right('kept'),
    right('written'),
    right('left'),
    right('on pages'),
    right('copies'),
    { title: 'program' },
  ];
  const rows = programs.map(({ path, figures }) => [
    ...[figures.prelinked, figures.kept, figures.applied, figures.left, figures.leftPages].map(formatCount),
    formatBytes(figures.bytes),
    printable(path),
  ]);
  const bytes = programs.reduce((sum, { figures }) => sum + figures.bytes, 0);
  return [
    `${formatPlural(programs.length, 'program')} prelinked, ${formatBytes(bytes)} of copies\n`,
    rows.length === 0 ? '' : renderTable(columns, rows),
    kept.length === 0 ? '' : `started as ever:\n${keptLines(kept).join('')}`,
  ].join('');
}

function keptLines(kept: PrelinkManifest['kept']): string[] {
  return kept.map(
    ({ path, reason, detail }) =>
      `  ${printable(path)}: ${reason}${detail === undefined ? '' : ` (${printable(detail)})`}\n`,
  );
}

/** What `winnow image show` adds: what is left to the loader, and whether the copies would be shown now. */
export function renderPrelinkChecks(
  { programs }: PrelinkManifest,
  checks: readonly CheckedPrelinked[],
): string {
  return checks
    .map(({ path, refused, area }) => {
      const program = programs.find((one) => one.path === path);
      return [
        `${printable(path)}: ${refused === undefined ? `would start with its copies now, from 0x${area} on` : `would start plainly now: ${printable(refused)}`}`,
        ...(program?.left ?? []).map(({ reason, count }) => `  left       ${formatCount(count)} ${reason}`),
        ...(program?.keptModules ?? []).map((one) => `  kept       ${printable(one.path)}: ${one.reason}`),
        '',
      ].join('\n');
    })
    .join('');
}
