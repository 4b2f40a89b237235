/** Words and a table for a measurement. */
import { formatBytes, formatMs, formatPlural, formatRatio } from '../term/format.ts';
import { type Column, renderTable } from '../term/table.ts';
import { commandLine } from '../term/text.ts';
import type { Machine } from './machine.ts';
import type { BenchReport, ModeResult, Section } from './model.ts';
import type { RatioSummary } from './stats.ts';

const COLUMNS: readonly Column[] = [
  { title: '' },
  { title: 'median', align: 'right' },
  { title: 'spread', align: 'right' },
  { title: 'min', align: 'right' },
  { title: 'cpu', align: 'right' },
  { title: 'speed-up', align: 'right' },
  { title: '95 %', align: 'right' },
  { title: 'read', align: 'right' },
];

/** The report as text that ends with a line end. */
export function renderBench(report: BenchReport): string {
  const command = commandLine(report.command);
  const parts = [`${command}\n${formatPlural(report.rounds, 'round')}, modes in random order in each\n`];
  for (const section of report.sections) parts.push(renderSection(section));
  for (const text of report.unmeasured) parts.push(`not measured: ${text}\n`);
  parts.push(renderMachine(report.machine));
  return parts.join('\n');
}

function renderSection(section: Section): string {
  const how = section.cold === undefined ? '' : ` (${COLD_WORDS[section.cold.method]})`;
  const rows = section.modes.map(row);
  return `${section.temperature}${how}\n${renderTable(COLUMNS, rows)}`;
}

const COLD_WORDS = {
  'drop-caches': 'all caches dropped before each run',
  fadvise: 'the files of the profile dropped before each run, path look-ups warm',
  remount: 'the file system mounted afresh before each run',
};

function row(mode: ModeResult): string[] {
  const { wallMs, speedup, diskBytes } = mode;
  return [
    mode.name,
    formatMs(wallMs.median),
    `±${formatMs(wallMs.mad)}`,
    formatMs(wallMs.min),
    formatMs(mode.cpuMs.median),
    speedup === undefined ? '' : formatRatio(speedup.median),
    speedup === undefined ? '' : formatInterval(speedup),
    diskBytes === undefined ? '' : formatBytes(diskBytes.median),
  ];
}

/** `1.48-1.61`. */
export const formatInterval = ({ interval: [low, high] }: RatioSummary): string =>
  `${low.toFixed(2)}-${high.toFixed(2)}`;

/** The machine in a few lines. */
export function renderMachine(machine: Machine): string {
  const virtual = machine.virtual ? ', virtual machine' : '';
  const lines = [
    `machine: ${machine.cpu}, ${machine.cores} cores${virtual}, ${formatBytes(machine.memoryBytes)}`,
    `system:  ${machine.system}, Linux ${machine.kernel}, Node ${machine.node}`,
  ];
  for (const device of machine.devices) {
    const facts = [
      device.fileSystem,
      ...(device.readAheadKib === undefined ? [] : [`read-ahead ${device.readAheadKib} KiB`]),
      ...(device.maxRequestKib === undefined ? [] : [`requests up to ${device.maxRequestKib} KiB`]),
      ...(device.scheduler === undefined ? [] : [`scheduler ${device.scheduler}`]),
      ...(device.rotational === true ? ['rotational'] : []),
    ];
    lines.push(`storage: ${device.name}: ${facts.join(', ')}`);
  }
  return `${lines.join('\n')}\n`;
}
