/** Images in words and tables. */
import { WinnowError } from '../base/errors.ts';
import type { BuiltImage } from '../image/build.ts';
import type { Image, ListedImage } from '../image/images.ts';
import type { CheckedModules } from '../image/modules-check.ts';
import type { PlanMisses } from '../image/plan-misses.ts';
import type { CheckedPrelink } from '../image/prelink-check.ts';
import type { CheckedProgram } from '../image/share-check.ts';
import type { PlanExplanation } from '../prefetch/explain.ts';
import { explainGap, REASONS } from '../prefetch/explain.ts';
import type { PlannedDevice, PrefetchPlan } from '../prefetch/model.ts';
import { renderKept, renderModules, renderTotals } from '../report/functions-text.ts';
import { formatTime } from '../report/usage-text.ts';
import { explainSelect } from '../select/explain.ts';
import { explainShare } from '../share/explain.ts';
import { formatBytes, formatCount, formatPlural, formatShare } from '../term/format.ts';
import { type Column, renderTable } from '../term/table.ts';
import { commandLine, printable } from '../term/text.ts';
import { renderPrelinkChecks, renderPrelinked } from './prelink-text.ts';
import { renderNotLinked, renderShare, renderShareChecks } from './share-text.ts';

const PAGE = 4096;
const right = (title: string): Column => ({ title, align: 'right' });

const COLD = {
  file: 'is paged when it is touched',
  deny: 'cannot be executed',
  store: 'is compressed, and brought when it is executed',
} as const;

const bytesOf = (pages: number): string => formatBytes(pages * PAGE);

function figureTable(figures: Image['manifest']['prefetch']['figures']): string {
  const rows = [
    ['pages', ...[figures.filePages, figures.usedPages, figures.plannedPages].map(formatCount)],
    ['bytes', ...[figures.filePages, figures.usedPages, figures.plannedPages].map(bytesOf)],
    ['extents', '', formatCount(figures.usedExtents), formatCount(figures.plannedExtents)],
    ['calls', '', '', formatCount(figures.calls)],
  ];
  return renderTable([{ title: '' }, right('whole files'), right('used'), right('fetched')], rows);
}

const gapOf = (device: PlannedDevice): string =>
  `${printable(device.name)}: gaps of up to ${formatPlural(device.gapPages, 'page')} are read over (${explainGap(device)})`;

/** What `winnow build` says. */
export function renderBuilt(
  image: BuiltImage,
  explanation: PlanExplanation,
  programs: readonly CheckedProgram[],
): string {
  const select = renderSelect(image);
  const fetches = image.manifest.techniques.includes('prefetch');
  const prefetch = fetches ? renderPrefetch(image, explanation) : `built ${image.name}\n`;
  const { share, prelink } = image.manifest;
  const linked = share === undefined ? '' : `${renderShare(explainShare(share))}${renderNotLinked(programs)}`;
  const prelinked = prelink === undefined ? '' : renderPrelinked(prelink);
  return [prefetch, select, linked, prelinked].filter((part) => part !== '').join('\n');
}

function renderPrefetch(image: BuiltImage, explanation: PlanExplanation): string {
  const { figures } = image.prefetch;
  const skipped = explanation.skipped.map(
    ({ reason, files, pages, example }) =>
      `  ${formatPlural(files, 'file')}, ${formatPlural(pages, 'page')}: ${REASONS[reason]} (${printable(example)})\n`,
  );
  return [
    `built ${image.name}: ${formatPlural(explanation.files, 'file')}, ${bytesOf(figures.plannedPages)} to fetch, ` +
      `${formatShare(figures.plannedPages, figures.filePages)} of the files; ` +
      `${formatPlural(figures.lookups, 'look-up')}, ${formatCount(figures.failedLookups)} of them failing; ` +
      `plan of ${formatBytes(image.planBytes)}\n`,
    figureTable(figures),
    ...explanation.devices.map((device) => `device ${gapOf(device)}\n`),
    figures.readopted > 0
      ? `${formatPlural(figures.readopted, 'file')} installed anew with the same content\n`
      : '',
    skipped.length > 0 ? `left out:\n${skipped.join('')}` : '',
  ].join('');
}

function renderSelect({ manifest: { select } }: Image): string {
  if (select === undefined) return '';
  const explanation = explainSelect(select);
  return `${renderTotals(explanation)}${renderKept(explanation)}`;
}

/** What `winnow image list` prints. */
export function renderImages(images: readonly ListedImage[]): string {
  const columns = [
    { title: 'image' },
    right('files'),
    right('fetches'),
    { title: 'built' },
    { title: 'command' },
  ];
  const rows = images.map(({ name, manifest }) =>
    manifest instanceof WinnowError
      ? [name, '', '', '', `${manifest.code}: ${manifest.what}`]
      : [
          name,
          formatCount(manifest.inputs.length),
          bytesOf(manifest.prefetch.figures.plannedPages),
          formatTime(manifest.builtAt),
          commandLine(manifest.command.argv),
        ],
  );
  return renderTable(columns, rows);
}

/** Which modules a start would show now, and why not the others. */
function renderShown({ show, modules }: CheckedModules): string[] {
  const reasons = new Map<string, string[]>();
  for (const { path, leftOut, fails } of modules) {
    const reason = fails === undefined ? leftOut : `${fails}: a program that opens it ends, build again`;
    if (reason !== undefined) reasons.set(reason, [...(reasons.get(reason) ?? []), path]);
  }
  const shown = modules.filter(({ leftOut }) => leftOut === undefined).length;
  return [
    `modules    ${formatCount(shown)} of ${formatPlural(modules.length, 'module')} would be shown now (${show})`,
    ...[...reasons].map(
      ([reason, paths]) =>
        `           ${formatCount(paths.length)}: ${reason} (${printable(paths[0] ?? '')})`,
    ),
  ];
}

function renderCold({ cold, onMiss, modules }: NonNullable<Image['manifest']['select']>): string[] {
  const line = `cold code  ${onMiss === 'log' ? 'is noted in misses.log and let through' : COLD[cold]}`;
  const stored = modules.filter((module) => module.stored !== undefined);
  if (stored.length === 0) return [line];
  const sum = (of: (module: (typeof stored)[number]) => number): number =>
    stored.reduce((total, module) => total + of(module), 0);
  const originals = sum(({ size }) => size);
  const disk = sum((module) => module.stored?.diskBytes ?? 0);
  const stores = sum((module) => module.stored?.storeBytes ?? 0);
  return [
    line,
    `           ${formatPlural(stored.length, 'module')} of ${formatBytes(originals)} take ${formatBytes(disk)}, ` +
      `their stores ${formatBytes(stores)}: ${formatShare(disk + stores, originals)}`,
  ];
}

/** Files that cold starts left out, most often first. */
function renderUnfetched(misses: PlanMisses | undefined): string[] {
  if (misses?.newest === undefined) return [];
  const most = `${misses.isFull ? 'at least ' : ''}${formatPlural(misses.files.length, 'file')}`;
  return [
    `misses     ${most} that cold starts could not fetch, the last one at ${formatTime(misses.newest)}`,
    ...misses.files
      .slice(0, UNFETCHED_SHOWN)
      .map(
        ({ cause, path, starts }) =>
          `           ${formatCount(starts)}: ${cause}: ${printable(path ?? 'unknown')}`,
      ),
    ...(misses.files.length > UNFETCHED_SHOWN ? ['           …'] : []),
  ];
}
const UNFETCHED_SHOWN = 5;

/** What `winnow image show` prints. `modules`: undefined where it shows none, or for another machine; `programs`: those that are linked; `prelinked`: with prelinked libraries. */
export function renderImage(
  image: Image,
  {
    plan,
    modules,
    programs,
    unfetched,
    prelinked,
  }: {
    readonly plan: PrefetchPlan;
    readonly modules: CheckedModules | undefined;
    readonly programs: readonly CheckedProgram[];
    readonly unfetched: PlanMisses | undefined;
    readonly prelinked: CheckedPrelink | undefined;
  },
  withFiles: boolean,
): string {
  const { manifest, name, path } = image;
  const { command, profile, select, share, prelink } = manifest;
  const shared = share === undefined ? undefined : explainShare(share);
  const fetches = manifest.techniques.includes('prefetch');
  const head = [
    `${name}: ${commandLine(command.argv)}`,
    `program    ${printable(command.program)}`,
    `launcher   ${path}/launch`,
    `built      ${formatTime(manifest.builtAt)} from ${formatPlural(profile.runs.length, 'run')} of ${profile.name}`,
    ...(manifest.root === undefined ? [] : [`root       ${printable(manifest.root)}`]),
    `does       ${manifest.techniques.join(', ')}`,
    ...(fetches
      ? [
          `prefetch   ${formatPlural(plan.workers, 'worker')}, ${formatPlural(plan.tasks.length, 'task')}, ${formatPlural(plan.lookups.length, 'look-up')}, ${formatPlural(plan.probes.length, 'probe')}`,
          ...(manifest.prefetch.devices ?? []).map((device) => `device     ${gapOf(device)}`),
          ...renderUnfetched(unfetched),
        ]
      : []),
    ...(select === undefined ? [] : renderCold(select)),
    ...(modules === undefined ? [] : renderShown(modules)),
    '',
  ].join('\n');
  const figures = [
    fetches ? figureTable(manifest.prefetch.figures) : '',
    select === undefined ? '' : `${renderModules(explainSelect(select))}\n${renderSelect(image)}`,
    shared === undefined ? '' : `${renderShare(shared)}\n${renderShareChecks(shared, programs)}`,
    prelink === undefined ? '' : `${renderPrelinked(prelink)}\n${renderPrelinkChecks(prelink, prelinked)}`,
  ]
    .filter((part) => part !== '')
    .join('\n');
  if (!withFiles) return `${head}${figures}`;
  const columns = [right('pages'), right('of'), right('extents'), { title: 'file' }];
  const rows = plan.files.map((file) => [
    formatCount(file.extents.reduce((sum, { count }) => sum + count, 0)),
    formatCount(Math.ceil(file.size / PAGE)),
    formatCount(file.extents.length),
    printable(file.path),
  ]);
  return `${head}${figures}\n${renderTable(columns, rows)}`;
}
