/** Words and tables for `winnow report`. */
import type { Colors } from '../term/color.ts';
import { formatBytes, formatCount, formatPlural, formatShare } from '../term/format.ts';
import { type Column, renderTable } from '../term/table.ts';
import { commandLine, printable } from '../term/text.ts';
import type { FileState, FileUsage, Usage } from './usage.ts';

export interface UsageTextOptions {
  readonly processes?: boolean;
  readonly lookups?: boolean;
}

const right = (title: string): Column => ({ title, align: 'right' });

/** `2026-01-20 12:00 UTC` */
export function formatTime(milliseconds: number): string {
  return `${new Date(milliseconds).toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}

const STATES: Readonly<Record<FileState, string>> = {
  same: '',
  changed: 'changed',
  missing: 'gone',
  unreadable: 'unreadable',
};

function how({ mappedPages, readPages }: FileUsage): string {
  if (readPages === 0) return 'mapped';
  return mappedPages === 0 ? 'read' : 'both';
}

function heading({ name, command, method, runs, setAside, newestRun }: Usage): string {
  if (command === undefined || newestRun === undefined) return `${name}: no runs\n`;
  const words = commandLine(command.argv);
  const rounded = method?.pages === 'fault-around' ? 'Pages are rounded up to 64 KiB by fault-around.\n' : '';
  const unseen = method?.lookups === 'unseen' ? 'Look-ups and read() were not seen.\n' : '';
  const aside =
    setAside === 0 ? '' : `Not counted: ${formatPlural(setAside, 'run')} recorded less thoroughly.\n`;
  const when = formatTime(newestRun);
  return `${name}: ${words}\n${formatPlural(runs, 'run')}, the last one at ${when}\n${aside}${rounded}${unseen}`;
}

function files({ files, runs }: Usage, colors: Colors): string {
  const columns = [
    right('pages'),
    right('of'),
    right('used'),
    right('size'),
    { title: 'how' },
    right('runs'),
    right('always'),
    { title: 'now' },
    { title: 'file' },
  ];
  const rows = files.map((file) => [
    formatCount(file.pages),
    formatCount(file.filePages),
    formatShare(file.pages, file.filePages),
    formatBytes(file.bytes),
    how(file),
    `${file.runs}/${runs}`,
    formatShare(file.steadyPages, file.pages),
    colors.yellow(STATES[file.state]),
    printable(file.path),
  ]);
  return renderTable(columns, rows);
}

function summary({ totals }: Usage): string {
  const pages = `${formatPlural(totals.pages, 'page')} (${formatBytes(totals.bytes)})`;
  const whole = `${formatCount(totals.filePages)} (${formatBytes(totals.fileBytes)})`;
  const ways = `${formatCount(totals.mappedPages)} mapped, ${formatCount(totals.readPages)} read`;
  const always = `${formatShare(totals.steadyPages, totals.pages)} of them in every run`;
  const lookups = `${formatPlural(totals.lookups, 'path')} looked up, ${formatCount(totals.lookupsMissing)} of them not there`;
  return (
    `${formatPlural(totals.files, 'file')}: ${pages} of ${whole}, ${formatShare(totals.pages, totals.filePages)}\n` +
    `${ways}; ${always}\n${lookups}\n`
  );
}

function processes({ processes, runs }: Usage): string {
  const columns = [
    right('pages'),
    right('mapped'),
    right('read'),
    right('files'),
    right('runs'),
    right('times'),
    { title: 'process' },
  ];
  const rows = processes.map((one) => [
    formatCount(one.pages),
    formatCount(one.mappedPages),
    formatCount(one.readPages),
    formatCount(one.files),
    `${one.runs}/${runs}`,
    formatCount(one.times),
    [one.program, ...one.argvShape.slice(1)].map(printable).join(' '),
  ]);
  return renderTable(columns, rows);
}

function lookups({ lookups }: Usage): string {
  const columns = [{ title: 'found' }, right('weight'), { title: 'path' }];
  const rows = lookups.map(({ path, found, weight }) => [
    found ? 'yes' : 'no',
    weight.toFixed(2),
    printable(path),
  ]);
  return renderTable(columns, rows);
}

function leftOut({ leftOut }: Usage): string {
  if (leftOut.length === 0) return '';
  const lines = leftOut.map(({ path, reason }) => `  ${printable(path)} ${reason}\n`);
  return `Left out of images:\n${lines.join('')}`;
}

function notes({ notes, runs }: Usage): string {
  if (notes.length === 0) return '';
  const lines = notes.map((note) => `  ${note.code} (${note.runs}/${runs} runs): ${printable(note.text)}\n`);
  return `Notes:\n${lines.join('')}`;
}

/** The report as text that ends with a line end. */
export function renderUsage(usage: Usage, options: UsageTextOptions, colors: Colors): string {
  return [
    heading(usage),
    files(usage, colors),
    options.processes === true ? processes(usage) : '',
    options.lookups === true ? lookups(usage) : '',
    leftOut(usage),
    notes(usage),
    summary(usage),
  ]
    .filter((part) => part !== '')
    .join('\n');
}
