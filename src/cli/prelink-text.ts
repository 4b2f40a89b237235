/** Programs with prelinked libraries, in words and tables. */
import type { PrelinkManifest } from '../image/manifest.ts';
import type { CheckedPrelink } from '../image/prelink-check.ts';
import type { PrelinkMiss, PrelinkMisses } from '../image/prelink-misses.ts';
import { formatTime } from '../report/usage-text.ts';
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
  check: CheckedPrelink | undefined,
): string {
  if (check === undefined) return '';
  const lines = check.programs.map(({ path, refused, area }) => {
    const program = programs.find((one) => one.path === path);
    return [
      `${printable(path)}: ${refused === undefined ? `would start with its copies now, from 0x${area} on` : `would start plainly now: ${printable(refused)}`}`,
      ...(program?.left ?? []).map(({ reason, count }) => `  left       ${formatCount(count)} ${reason}`),
      ...(program?.keptModules ?? []).map((one) => `  kept       ${printable(one.path)}: ${one.reason}`),
      '',
    ].join('\n');
  });
  return `${lines.join('')}${renderMisses(check.misses)}`;
}

const WHY: Readonly<Record<PrelinkMiss['cause'], string>> = {
  environment: 'LD_… or GLIBC_TUNABLES was set',
  file: 'a module had changed',
  copy: 'its copy was damaged, or could not be opened',
  area: 'its addresses were taken',
  module: 'the loader came to another module in its place, or mapped it elsewhere',
  unknown: 'a cause that this winnow does not know',
};

/** How often programs started without their copies, and why. */
function renderMisses(misses: PrelinkMisses | undefined): string {
  if (misses === undefined) return 'misses     are not counted\n';
  if (misses.newest === undefined) return 'misses     none noted\n';
  const count = `${misses.isFull ? 'at least ' : ''}${formatPlural(misses.starts, 'start')}`;
  const lines = misses.causes.map(({ cause, path, starts }) => {
    const about = path === undefined ? '' : `: ${printable(path)}`;
    return `           ${formatCount(starts)}: ${WHY[cause]}${about}\n`;
  });
  return `misses     ${count} without the copies, the last one at ${formatTime(misses.newest)}\n${lines.join('')}`;
}
