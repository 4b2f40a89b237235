/** The tables of `share`: data, and Markdown. */
import type { RatioSummary, Summary } from '../../src/bench/stats.ts';
import { formatInterval, renderMachine } from '../../src/bench/terminal.ts';
import { formatBytes, formatMs } from '../../src/term/format.ts';
import { markdownTable } from './markdown.ts';
import type { SuiteReport } from './program-suite.ts';
import type { LazyFigures } from './share-lazy.ts';
import type { OwnMemory, SideBySide } from './share-memory.ts';
import type { PageInFigures } from './share-page-in.ts';
import type { StartResult } from './share-start.ts';

export interface ShareResult {
  readonly name: string;
  readonly title: string;
  readonly kind: 'start' | 'work';
  readonly buildMs: number;
  readonly modules: number;
  readonly relocatedPages: number;
  readonly maps: number;
  readonly bytes: number;
  /** Small libraries that stand in it. */
  readonly taken: number;
  /** Of the image with `--variant files`. */
  readonly filesBytes?: number;
  readonly joined?: { readonly bytes: number; readonly buildMs: number };
  readonly prelinked?: {
    readonly bytes: number;
    readonly applied: number;
    readonly left: number;
    readonly buildMs: number;
  };
  readonly start?: StartResult;
  readonly wall: {
    readonly plainMs: Summary;
    readonly imageMs: Summary;
    readonly ratio: RatioSummary;
    readonly slidMs?: Summary;
    readonly slidRatio?: RatioSummary;
    readonly slidCpuMs?: Summary;
    /** With --page-in, and slid over it, round by round. */
    readonly pagedMs?: Summary;
    readonly pagedCpuMs?: Summary;
    readonly pagedRatio?: RatioSummary;
    readonly prelinkedMs?: Summary;
    /** Plain over prelinked, round by round. */
    readonly prelinkedRatio?: RatioSummary;
  };
  readonly own: OwnMemory;
  readonly side?: SideBySide;
  readonly lazy?: LazyFigures;
  readonly pageIn?: PageInFigures;
}

export type ShareReport = SuiteReport<ShareResult>;

const percentLess = (before: number, after: number): string => `${(100 * (1 - after / before)).toFixed(1)} %`;
const ratioText = (ratio: RatioSummary): string => `${ratio.median.toFixed(2)}x (${formatInterval(ratio)})`;
const mib = (value: number): string => `${value.toFixed(1)} MiB`;

/** The report's tables in Markdown. */
export function renderShare(report: ShareReport): string {
  const parts = [
    `Measured ${report.date.slice(0, 10)} with \`${report.command}\`, ${report.rounds} rounds, modes in random order within each round.\n`,
    `\`\`\`\n${renderMachine(report.machine)}\`\`\`\n`,
    startTable(report.programs),
    slidTable(report.programs),
    wallTable(report.programs),
    memoryTable(report.programs),
    sideTable(report.programs),
    lazyTable(report.programs),
    pageInTable(report.programs),
    costTable(report.programs),
  ];
  if (report.unmeasured.length > 0)
    parts.push(`Not measured:\n\n${report.unmeasured.map((text) => `- ${text}\n`).join('')}`);
  return `${parts.filter((part) => part !== '').join('\n')}\n`;
}

function startTable(programs: readonly ShareResult[]): string {
  const rows = programs.flatMap(({ title, start }) => {
    if (start === undefined) return [];
    const of = (name: string) => start.modes.find((mode) => mode.name === name);
    const [plain, now, image, joined] = [of('plain'), of('bind-now'), of('image'), of('joined')];
    const [files, prelinked] = [of('files'), of('prelinked')];
    if (plain === undefined || now === undefined || image === undefined) return [];
    return [
      [
        title,
        formatMs(plain.ms.median),
        formatMs(now.ms.median),
        formatMs(image.ms.median),
        formatMs(image.ms.min),
        ratioText(start.ratio),
        files === undefined ? '' : formatMs(files.ms.median),
        files === undefined ? '' : formatMs(files.ms.min),
        joined === undefined ? '' : formatMs(joined.ms.median),
        joined === undefined ? '' : formatMs(joined.ms.min),
        prelinked === undefined ? '' : formatMs(prelinked.ms.median),
        prelinked === undefined ? '' : formatMs(prelinked.ms.min),
        [plain, image, joined, prelinked].map((one) => one?.mappings ?? '').join(' / '),
        [plain, image, joined, prelinked].map((one) => one?.fileKib ?? '').join(' / '),
      ],
    ];
  });
  if (rows.length === 0) return '';
  return (
    'From the end of exec to where the dynamic loader has mapped and linked everything and would start the first constructor, guards included; and what the process has then: mappings, and KiB of pages of files that are its own. Image: small libraries stand in it (`--variant auto`); files: the same with `--variant files`, all are mapped from their files. Joined: the same image with `--variant joined`. Prelinked: the stock loader with copies of `--share prelink`. Mappings and KiB: plain / image / joined / prelinked.\n\n' +
    markdownTable(
      [
        'program',
        'plain',
        'LD_BIND_NOW',
        'image',
        'least',
        'faster (95 %)',
        'files',
        'least',
        'joined',
        'least',
        'prelinked',
        'least',
        'mappings',
        'own KiB',
      ],
      rows,
    )
  );
}

function slidTable(programs: readonly ShareResult[]): string {
  const rows = programs.flatMap(({ title, start, wall, own, side }) => {
    const of = (name: string) => start?.modes.find((mode) => mode.name === name);
    if (wall.slidMs === undefined || wall.slidRatio === undefined) return [];
    const [slid, joined] = [of('slid'), of('slid-joined')];
    return [
      [
        title,
        ...[slid, joined].flatMap((mode) =>
          mode === undefined ? ['', ''] : [formatMs(mode.ms.median), formatMs(mode.ms.min)],
        ),
        slid === undefined ? '' : String(slid.fileKib),
        formatMs(wall.slidMs.median),
        ratioText(wall.slidRatio),
        String(own.slidPages ?? ''),
        side?.slidMib === undefined ? '' : mib(side.slidMib),
      ],
    ];
  });
  if (rows.length === 0) return '';
  return (
    'The same from images that slide (`--slide`): other addresses at each start, for which all pages with addresses are written. Columns as above and below; faster: the whole run, than plain.\n\n' +
    markdownTable(
      [
        'program',
        'start',
        'least',
        'joined',
        'least',
        'own KiB',
        'run',
        'faster (95 %)',
        'own pages at exit',
        'side by side',
      ],
      rows,
    )
  );
}

const wallTable = (programs: readonly ShareResult[]): string =>
  'The whole run, warm, the launcher’s part included.\n\n' +
  markdownTable(
    ['program', 'plain', 'image', 'faster (95 %)', 'prelinked', 'faster (95 %)'],
    programs.map(({ title, wall }) => [
      title,
      formatMs(wall.plainMs.median),
      formatMs(wall.imageMs.median),
      ratioText(wall.ratio),
      wall.prelinkedMs === undefined ? '' : formatMs(wall.prelinkedMs.median),
      wall.prelinkedRatio === undefined ? '' : ratioText(wall.prelinkedRatio),
    ]),
  );

const memoryTable = (programs: readonly ShareResult[]): string =>
  'Pages of files that are no longer the file’s, at exit, summed over the process tree.\n\n' +
  markdownTable(
    ['program', 'plain', 'image', 'less', 'prelinked', 'less'],
    programs.map(({ title, own: { plainPages, imagePages, prelinkedPages } }) => [
      title,
      String(plainPages),
      String(imagePages),
      percentLess(plainPages, imagePages),
      prelinkedPages === undefined ? '' : String(prelinkedPages),
      prelinkedPages === undefined ? '' : percentLess(plainPages, prelinkedPages),
    ]),
  );

function sideTable(programs: readonly ShareResult[]): string {
  const rows = programs.flatMap(({ title, side }) =>
    side === undefined
      ? []
      : [
          [
            title,
            String(side.processes),
            mib(side.plainMib),
            mib(side.imageMib),
            percentLess(side.plainMib, side.imageMib),
          ],
        ],
  );
  return rows.length === 0
    ? ''
    : `Processes of one program side by side, waiting for input: their proportional set sizes together.\n\n${markdownTable(['program', 'processes', 'plain', 'image', 'less'], rows)}`;
}

function lazyTable(programs: readonly ShareResult[]): string {
  const rows = programs.flatMap(({ title, lazy }) =>
    lazy === undefined
      ? []
      : [[title, ...[lazy.own, lazy.touched, lazy.readOnly, lazy.provable].map(String)]],
  );
  return rows.length === 0
    ? ''
    : `What relocating page by page when touched could save of images that slide: pages of the image that are the process’s own, those that the run touched; relocated pages that are read-only afterwards, and those of them that provably no system call is given.\n\n${markdownTable(['program', 'own', 'touched', 'read-only', 'provable'], rows)}`;
}

function pageInTable(programs: readonly ShareResult[]): string {
  const rows = programs.flatMap(({ title, wall, pageIn }) => {
    const { slidMs, slidCpuMs, pagedMs, pagedCpuMs, pagedRatio } = wall;
    if (pageIn === undefined || slidMs === undefined || slidCpuMs === undefined) return [];
    if (pagedMs === undefined || pagedCpuMs === undefined || pagedRatio === undefined) return [];
    const { leaves, imageFaults, slidFaults, pagedFaults } = pageIn;
    return [
      [
        title,
        ...[leaves, imageFaults, slidFaults, pagedFaults].map(String),
        ...[slidCpuMs, pagedCpuMs, slidMs, pagedMs].map(({ median }) => formatMs(median)),
        ratioText(pagedRatio),
      ],
    ];
  });
  if (rows.length === 0) return '';
  return (
    'Pages slid when they are touched (`--slide --page-in`), against all at the start (`--slide`): pages that a start may leave; page faults of a whole run from an image of fixed addresses, with `--slide`, with `--page-in`; processor time and run time of both; faster: than with `--slide`.\n\n' +
    markdownTable(
      [
        'program',
        'may be left',
        'faults: fixed',
        'slide',
        'page-in',
        'processor: slide',
        'page-in',
        'run: slide',
        'page-in',
        'faster (95 %)',
      ],
      rows,
    )
  );
}

const costTable = (programs: readonly ShareResult[]): string =>
  'The image of the program itself, and how many small libraries stand in it; files: with `--variant files`. The time to build is that of all programs of the recorded tree. Relocations of its libraries: written into the prelinked copies / left to the loader.\n\n' +
  markdownTable(
    [
      'program',
      'modules',
      'relocated pages',
      'mappings',
      'image',
      'taken',
      'build',
      'files',
      'joined',
      'build',
      'prelinked',
      'build',
      'relocations',
    ],
    programs.map(
      ({ title, modules, relocatedPages, maps, bytes, taken, filesBytes, buildMs, joined, prelinked }) => [
        title,
        String(modules),
        String(relocatedPages),
        String(maps),
        formatBytes(bytes),
        String(taken),
        formatMs(buildMs),
        filesBytes === undefined ? '' : formatBytes(filesBytes),
        joined === undefined ? '' : formatBytes(joined.bytes),
        joined === undefined ? '' : formatMs(joined.buildMs),
        prelinked === undefined ? '' : formatBytes(prelinked.bytes),
        prelinked === undefined ? '' : formatMs(prelinked.buildMs),
        prelinked === undefined ? '' : `${prelinked.applied} / ${prelinked.left}`,
      ],
    ),
  );
