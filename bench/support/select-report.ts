/** The tables of `select`: data, and Markdown. */
import type { RatioSummary, Summary } from '../../src/bench/stats.ts';
import { formatInterval, renderMachine } from '../../src/bench/terminal.ts';
import { formatMs } from '../../src/term/format.ts';
import type { ResidentPages } from '../resident.ts';
import { markdownTable } from './markdown.ts';
import type { SuiteReport } from './program-suite.ts';
import type { FunctionsReport } from './select-json.ts';
import { PARTS, type StoredSizes } from './stored.ts';
import { WORKLOADS } from './workloads.ts';

export interface WorkloadResult {
  readonly name: string;
  readonly title: string;
  readonly functions: FunctionsReport;
  readonly recording: { readonly nativeMs: number; readonly firstMs: number; readonly warmMs: number };
  readonly building: { readonly firstMs: number; readonly againMs: number; readonly peakMib: number };
  readonly resident?: { readonly original: ResidentPages; readonly image: ResidentPages };
  readonly time?: { readonly originalMs: Summary; readonly imageMs: Summary; readonly ratio: RatioSummary };
  /** With `--cold store`: sizes, pages of code brought in the recorded run, whether the program did and said the same. */
  readonly stored?: { readonly sizes: StoredSizes; readonly broughtPages: number; readonly isSame: boolean };
  readonly misses?: { readonly pages: number; readonly functions: number };
}

export type SelectReport = SuiteReport<WorkloadResult>;

const percent = (part: number): string => `${(part * 100).toFixed(2)} %`;
const saved = (needed: number, before: number): string => percent(1 - needed / before);

/** The report's tables in Markdown. */
export function renderSelect(report: SelectReport): string {
  const parts = [
    `Measured ${report.date.slice(0, 10)} with \`${report.command}\`, ${report.rounds} rounds, modes in random order within each round.\n`,
    `\`\`\`\n${renderMachine(report.machine)}\`\`\`\n`,
    pagesTable(report.programs),
    paperTable(report.programs),
    residentTable(report.programs),
    timeTable(report.programs),
    storedTable(report.programs),
    partsTable(report.programs),
    costTable(report.programs),
  ];
  if (report.unmeasured.length > 0) {
    parts.push(`Not measured:\n\n${report.unmeasured.map((text) => `- ${text}\n`).join('')}`);
  }
  return `${parts.filter((part) => part !== '').join('\n')}\n`;
}

function pagesTable(programs: readonly WorkloadResult[]): string {
  const rows = programs
    .filter(({ resident }) => resident !== undefined)
    .map(({ title, functions: { totals }, misses }) => [
      title,
      String(totals.modules),
      String(totals.textPages),
      String(totals.usedPages),
      String(totals.neededPages),
      saved(totals.neededPages, totals.textPages),
      misses === undefined ? '' : String(misses.pages),
    ]);
  if (rows.length === 0) return '';
  return `Text pages (4 KiB) of all modules: before, executed in the original layout, needed by the image; and the pages of cold code that the recorded run still asked for when all of it was forbidden.\n\n${markdownTable(
    ['program', 'modules', 'before', 'executed', 'needed', 'saved', 'unexpected'],
    rows,
  )}`;
}

function paperTable(programs: readonly WorkloadResult[]): string {
  const rows = programs.flatMap(({ name, title, functions }) => {
    const paper = WORKLOADS.find((one) => one.name === name)?.paper;
    if (paper === undefined) return [];
    const ours = functions.modules.filter(({ path }) => paper.libraries.test(path));
    const each = ours.map((one) => [
      `${title}: ${one.path.replace(/.*\//, '')}`,
      String(one.textPages),
      String(one.neededPages),
      saved(one.neededPages, one.textPages),
      '',
    ]);
    const sum = (of: (one: (typeof ours)[number]) => number): number =>
      ours.reduce((total, one) => total + of(one), 0);
    const [before, needed] = [sum((one) => one.textPages), sum((one) => one.neededPages)];
    return [
      ...each,
      [
        `**${title}: PETSc and MPI**`,
        String(before),
        String(needed),
        saved(needed, before),
        percent(paper.saved),
      ],
    ];
  });
  if (rows.length === 0) return '';
  return `Beside the paper (PETSc 3.x of 2010, debug build, its own rewriter), on libraries of the same kind.\n\n${markdownTable(
    ['libraries', 'text pages', 'needed', 'saved', 'paper'],
    rows,
  )}`;
}

function residentTable(programs: readonly WorkloadResult[]): string {
  const rows = programs.flatMap(({ title, resident }) => {
    if (resident === undefined) return [];
    const { original, image } = resident;
    const net = image.executable + Math.max(0, image.readOnly - original.readOnly);
    return [
      [
        title,
        `${original.processes} / ${image.processes}`,
        String(original.executable),
        String(image.executable),
        String(original.readOnly),
        String(image.readOnly),
        saved(net, original.executable),
      ],
    ];
  });
  if (rows.length === 0) return '';
  return `Resident pages of files at exit, plain demand paging from a page cache that such a run has filled, summed over the process tree. Net: executable pages and what was added in read-only ones, against the original's executable pages.\n\n${markdownTable(
    ['program', 'processes', 'executable', 'image', 'read-only', 'image', 'less, net'],
    rows,
  )}`;
}

function timeTable(programs: readonly WorkloadResult[]): string {
  const rows = programs.flatMap(({ title, time }) =>
    time === undefined
      ? []
      : [
          [
            title,
            formatMs(time.originalMs.median),
            formatMs(time.imageMs.median),
            `${time.ratio.median.toFixed(3)}x (${formatInterval(time.ratio)})`,
          ],
        ],
  );
  if (rows.length === 0) return '';
  return `Run time, warm, the launcher's included.\n\n${markdownTable(['program', 'original', 'image', 'ratio (95 %)'], rows)}`;
}

const mb = (bytes: number): string => (bytes / 1e6).toFixed(1);
const part = (bytes: number, of: number): string => `${((100 * bytes) / of).toFixed(1)} %`;

function storedTable(programs: readonly WorkloadResult[]): string {
  const rows = programs.flatMap(({ title, stored }) => {
    if (stored === undefined) return [];
    const { modules, kept, originals, copies, stores, others } = stored.sizes;
    const image = copies.disk + stores.disk;
    return [
      [
        title,
        `${modules} / ${kept}`,
        mb(originals.disk),
        mb(copies.disk),
        mb(stores.disk),
        part(image, originals.disk),
        part(copies.apparent + stores.apparent, originals.apparent),
        part(image + others.disk, originals.disk + others.disk),
        String(stored.broughtPages),
        stored.isSame ? 'the same' : '**differs**',
      ],
    ];
  });
  if (rows.length === 0) return '';
  return `Unused code stored (\`--cold store\`), MB on disk (blocks): the modules that have a copy in the image and those that stay as they are, the originals, copies and stores; the image's part of the originals, by file sizes (holes counted), and with the modules that stay counted on both sides. Brought: 4 KiB pages of stored code in the recorded run. The program's end and output, on a run that prints its result.\n\n${markdownTable(
    ['program', 'modules', 'originals', 'copies', 'stores', 'part', 'by size', 'of all', 'brought', 'output'],
    rows,
  )}`;
}

function partsTable(programs: readonly WorkloadResult[]): string {
  const rows = programs.flatMap(({ title, stored }) => {
    if (stored === undefined) return [];
    const { parts, stores, originals } = stored.sizes;
    const all = [stores.disk, ...PARTS.map((one) => parts[one] ?? 0)];
    return [[title, ...all.map((bytes) => part(bytes, originals.disk))]];
  });
  if (rows.length === 0) return '';
  return `The same by what it is: each as a part of the originals' bytes.\n\n${markdownTable(['program', 'stores', ...PARTS], rows)}`;
}

function costTable(programs: readonly WorkloadResult[]): string {
  const rows = programs.map(({ title, recording, building }) => [
    title,
    formatMs(recording.nativeMs),
    formatMs(recording.firstMs),
    formatMs(recording.warmMs),
    `${(recording.warmMs / recording.nativeMs).toFixed(1)}x`,
    formatMs(building.firstMs),
    formatMs(building.againMs),
    `${Math.round(building.peakMib)} MiB`,
  ]);
  return `What it costs: the first \`record --functions\` with all analysis, the program's own time in the last one, and building with and without the analysis cached.\n\n${markdownTable(
    ['program', 'native', 'first recording', 'recorded', 'ratio', 'first build', 'again', 'peak'],
    rows,
  )}`;
}
