/** The suite's report: data, JSON file, and the table in docs/measurements.md. */
import type { Machine } from '../../src/bench/machine.ts';
import type { RatioSummary, Summary } from '../../src/bench/stats.ts';
import { formatInterval, renderMachine } from '../../src/bench/terminal.ts';
import { formatMs, formatShare } from '../../src/term/format.ts';
import { type ColdSetting, coldTables, withInterval } from './cold-report.ts';
import type { LinkedCount } from './linked.ts';
import { markdownTable } from './markdown.ts';

export interface LinkedResult {
  readonly title: string;
  readonly modes: readonly ({ readonly name: string } & LinkedCount)[];
}

export interface WarmResult {
  readonly title: string;
  readonly plainMs: Summary;
  readonly imageMs: Summary;
  /** Median of image minus plain, round by round, in milliseconds. */
  readonly overheadMs: RatioSummary;
}

export interface ExactnessResult {
  readonly title: string;
  readonly method: string;
  readonly truthPages: number;
  readonly recordedPages: number;
  readonly commonPages: number;
  readonly recall: number;
  readonly precision: number;
  /** The files with most pages that were missed or recorded in excess. */
  readonly worst: readonly { readonly path: string; readonly missed: number; readonly excess: number }[];
}

export interface RecorderResult {
  readonly title: string;
  readonly plainMs: Summary;
  readonly modes: readonly {
    readonly name: string;
    readonly ms: Summary;
    /** What it is compared with. */
    readonly against: string;
    readonly ratio: RatioSummary;
  }[];
  /** How many of the default recordings of a learnt command were light, 0 to 1. */
  readonly light: number;
}

export interface SuiteReport {
  readonly date: string;
  readonly command: string;
  readonly rounds: number;
  readonly machine: Machine;
  readonly cold: readonly ColdSetting[];
  /** Of modes with linked programs. */
  readonly linked: readonly LinkedResult[];
  readonly warm: readonly WarmResult[];
  readonly exactness: readonly ExactnessResult[];
  readonly recorder: readonly RecorderResult[];
  readonly unmeasured: readonly string[];
}

/** The report's tables in Markdown. */
export function renderMarkdown(report: SuiteReport): string {
  const parts = [
    `Measured ${report.date.slice(0, 10)} with \`${report.command}\`, ${report.rounds} rounds, modes in random order within each round.\n`,
    `\`\`\`\n${renderMachine(report.machine)}\`\`\`\n`,
  ];
  for (const cold of report.cold) parts.push(coldTables(cold));
  if (report.linked.length > 0) parts.push(linkedTable(report.linked));
  if (report.warm.length > 0) parts.push(warmTable(report.warm));
  if (report.exactness.length > 0) parts.push(exactnessTable(report.exactness));
  if (report.recorder.length > 0) parts.push(recorderTable(report.recorder));
  if (report.unmeasured.length > 0) {
    parts.push(`Not measured:\n\n${report.unmeasured.map((text) => `- ${text}\n`).join('')}`);
  }
  return `${parts.join('\n')}\n`;
}

function linkedTable(results: readonly LinkedResult[]): string {
  const modes = [...new Set(results.flatMap((one) => one.modes.map(({ name }) => name)))];
  const rows = results.map(({ title, modes: counts }) => [
    title,
    ...modes.map((name) => {
      const one = counts.find((count) => count.name === name);
      return one === undefined ? '' : `${one.linked} of ${one.processes}`;
    }),
  ]);
  return `Processes whose program started linked, of all that each command runs.\n\n${markdownTable(['program', ...modes], rows)}`;
}

function warmTable(results: readonly WarmResult[]): string {
  const rows = results.map((one) => [
    one.title,
    formatMs(one.plainMs.median),
    formatMs(one.imageMs.median),
    `${one.overheadMs.median.toFixed(2)} ms (${formatInterval(one.overheadMs)})`,
    formatShare(Math.max(0, one.overheadMs.median), one.plainMs.median),
  ]);
  return `Warm start: what the launcher adds when everything is in memory.\n\n${markdownTable(['program', 'plain', 'winnow', 'difference (95 %)', 'of plain'], rows)}`;
}

function exactnessTable(results: readonly ExactnessResult[]): string {
  const rows = results.map((one) => [
    one.title,
    String(one.truthPages),
    String(one.recordedPages),
    one.recall.toFixed(3),
    one.precision.toFixed(3),
    one.method,
  ]);
  return `Recorded pages against the truth (what a cold run without read-ahead brings into memory).\n\n${markdownTable(['program', 'true pages', 'recorded', 'recall', 'precision', 'method'], rows)}`;
}

function recorderTable(results: readonly RecorderResult[]): string {
  const names = [...new Set(results.flatMap(({ modes }) => modes.map(({ name }) => name)))];
  const against = (name: string): string =>
    results.flatMap(({ modes }) => modes).find((mode) => mode.name === name)?.against ?? '';
  const rows = names.map((name) => [
    name,
    against(name),
    ...results.flatMap(({ modes }) => {
      const mode = modes.find((one) => one.name === name);
      return mode === undefined ? ['', ''] : [formatMs(mode.ms.median), withInterval(mode.ratio)];
    }),
  ]);
  const plain = ['plain', '', ...results.flatMap(({ plainMs }) => [formatMs(plainMs.median), ''])];
  const titles = ['', 'compared with', ...results.flatMap(({ title }) => [title, 'ratio (95 %)'])];
  const light = results.map(({ title, light: part }) => `${title} ${Math.round(part * 100)} %`).join(', ');
  return `The program's own time while it is recorded (warm). Of the default recordings of a learnt command were light: ${light}.\n\n${markdownTable(titles, [plain, ...rows])}`;
}
