/** Tables of cold starts: one with everything for a few modes, several for many. */
import type { ModeResult } from '../../src/bench/model.ts';
import { geometricMean, pairedRatio, type RatioSummary } from '../../src/bench/stats.ts';
import { formatInterval } from '../../src/bench/terminal.ts';
import { formatBytes, formatMs } from '../../src/term/format.ts';
import { markdownTable } from './markdown.ts';
import { TOGETHER } from './modes.ts';
import type { Setting } from './throttle.ts';

export interface ColdSetting {
  readonly setting: Setting;
  /** What a process of the control group really got; undefined where nothing limits. */
  readonly probe: { readonly iops: number; readonly bytesPerSecond: number };
  readonly programs: readonly {
    readonly title: string;
    /** Pages that the builds chose to read over. */
    readonly gaps: readonly number[];
    readonly modes: readonly ModeResult[];
  }[];
}

type ColdProgram = ColdSetting['programs'][number];

/** More would make a table that nobody can read. */
const MOST_IN_ONE = 3;

export const withInterval = (ratio: RatioSummary | undefined): string =>
  ratio === undefined ? '' : `${ratio.median.toFixed(2)}x (${formatInterval(ratio)})`;

const times = (ratio: RatioSummary | undefined): string =>
  ratio === undefined ? '' : `${ratio.median.toFixed(2)}x`;

const modeOf = (program: ColdProgram, name: string): ModeResult | undefined =>
  program.modes.find((one) => one.name === name);

const plainMs = ({ modes }: ColdProgram): string => formatMs(modes[0]?.wallMs.median ?? Number.NaN);
const plainBytes = ({ modes }: ColdProgram): string => formatBytes(modes[0]?.diskBytes?.median ?? 0);

/** Of the programs that have the ratio. */
function meanOf(ratios: readonly (RatioSummary | undefined)[]): string {
  const medians = ratios.flatMap((ratio) => (ratio === undefined ? [] : [ratio.median]));
  return medians.length === 0 ? '' : `**${geometricMean(medians).toFixed(2)}x**`;
}

export function coldTables(cold: ColdSetting): string {
  const others = [...new Set(cold.programs.flatMap(({ modes }) => modes.slice(1).map(({ name }) => name)))];
  const { iops, bytesPerSecond } = cold.probe;
  const got = `${Math.round(iops)} random 4 KiB reads/s and ${Math.round(bytesPerSecond / 1e6)} MB/s measured`;
  const gaps = [...new Set(cold.programs.flatMap((program) => program.gaps))].sort((a, b) => a - b);
  const chosen = gaps.length === 0 ? '' : ` Gaps that the builds chose: ${gaps.join(', ')} pages.`;
  const head = `Cold start, ${cold.setting.title} (${got}).${chosen}`;
  return others.length <= MOST_IN_ONE ? oneTable(head, cold, others) : severalTables(head, cold, others);
}

function oneTable(head: string, { programs }: ColdSetting, others: readonly string[]): string {
  const rows = programs.map((program) => [
    program.title,
    plainMs(program),
    ...others.flatMap((name) => {
      const one = modeOf(program, name);
      const ms = one === undefined ? '' : formatMs(one.wallMs.median);
      return [ms, withInterval(one?.speedup), times(one?.diskRatio)];
    }),
    plainBytes(program),
  ]);
  const means = others.flatMap((name) => ['', meanOf(programs.map((one) => modeOf(one, name)?.speedup)), '']);
  const titles = [
    'program',
    'plain',
    ...others.flatMap((name) => [name, 'speed-up (95 %)', 'read']),
    'plain reads',
  ];
  return `${head} Speed-up: median of paired ratios; read: bytes read over those of plain.\n\n${markdownTable(titles, [...rows, ['geometric mean', '', ...means, '']])}`;
}

function severalTables(head: string, { programs }: ColdSetting, others: readonly string[]): string {
  const table = (
    first: readonly [string, (program: ColdProgram) => string],
    names: readonly string[],
    of: (program: ColdProgram, name: string) => RatioSummary | undefined,
    word: (ratio: RatioSummary | undefined) => string,
  ): string =>
    markdownTable(
      ['program', first[0], ...names],
      [
        ...programs.map((one) => [one.title, first[1](one), ...names.map((name) => word(of(one, name)))]),
        ['geometric mean', '', ...names.map((name) => meanOf(programs.map((one) => of(one, name))))],
      ],
    );
  const parts = [
    `${head} How many times faster than plain: median of paired ratios (95 %).\n\n${table(['plain', plainMs], others, (program, name) => modeOf(program, name)?.speedup, withInterval)}`,
    `Bytes read, over those of plain.\n\n${table(['plain reads', plainBytes], others, (program, name) => modeOf(program, name)?.diskRatio, times)}`,
  ];
  if (others.includes(TOGETHER.name)) {
    const rest = others.filter((name) => name !== TOGETHER.name);
    const ms = (program: ColdProgram): string => {
      const wall = modeOf(program, TOGETHER.name)?.wallMs.median;
      return wall === undefined ? '' : formatMs(wall);
    };
    parts.push(
      `How many times faster ${TOGETHER.name} is than each of the others, likewise.\n\n${table([TOGETHER.name, ms], rest, togetherOver, withInterval)}`,
    );
  }
  return parts.join('\n');
}

function togetherOver(program: ColdProgram, name: string): RatioSummary | undefined {
  const [alone, together] = [name, TOGETHER.name].map((one) => modeOf(program, one)?.samples);
  if (alone === undefined || together === undefined) return undefined;
  return pairedRatio(
    alone.map(({ wallMs }) => wallMs),
    together.map(({ wallMs }) => wallMs),
  );
}
