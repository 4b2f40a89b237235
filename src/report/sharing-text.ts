/** Words and tables for `winnow report --sharing`. */
import { allRelocations, bySymbol } from '../share/notes/count-relocations.ts';
import type { SharingFigures } from '../share/notes/figures.ts';
import { formatBytes, formatCount, formatMs, formatPlural } from '../term/format.ts';
import { type Column, renderTable } from '../term/table.ts';
import { commandLine, printable } from '../term/text.ts';
import type { Figure, SharingReport, SharingRow } from './sharing.ts';

const right = (title: string): Column => ({ title, align: 'right' });

const FIGURES: readonly Column[] = [
  { title: '' },
  right('pages'),
  right('mappings'),
  right('relocations'),
  right('start'),
  right('call'),
  { title: 'how modules are shared' },
];

const WORDS: readonly Column[] = [{ title: '' }, { title: 'at random' }, { title: 'when a library changes' }];

const MODULES: readonly Column[] = [
  right('pages'),
  right('relative'),
  right('by symbol'),
  right('other'),
  right('imports'),
  { title: 'module' },
];
const MODULES_SHOWN = 10;

/** The report as text that ends with a line end. */
export function renderSharing(report: SharingReport): string {
  const { command, rounds, rows, figures, libraries, variants } = report;
  const { modules, relocations, relocatedPages, imports } = figures;
  const head =
    `${commandLine(command)}\n${printable(figures.program)}: ` +
    `${formatPlural(modules.length, 'module')}, ${formatPlural(imports, 'import')} between them, ` +
    `${formatPlural(allRelocations(relocations), 'relocation')} on ${formatPlural(relocatedPages, 'page')}\n`;
  return [
    head,
    renderTable(FIGURES, rows.map(figureCells)),
    `${legend(rounds)}${libraries === undefined ? '' : `image: ${libraries}\n`}${whyMissing(rows)}`,
    renderVariants(variants),
    renderTable(
      WORDS,
      rows.map(({ id, aslr, update }) => [id, aslr, update]),
    ),
    renderModules(figures),
    `${renderPrelinked(figures)}${renderSolutions(figures)}`,
  ].join('\n');
}

const VARIANTS: readonly Column[] = [
  { title: 'variant' },
  right('on disk'),
  right('copied'),
  right('executable'),
  right('mappings'),
  right('start'),
];

/** What each variant costs and gives, side by side. */
function renderVariants(variants: SharingReport['variants']): string {
  if ('missing' in variants) return `variants of system 6: -: ${printable(variants.missing)}\n`;
  const rows = variants.map((one) => [
    one.variant,
    formatBytes(one.diskBytes),
    formatBytes(one.copiedBytes),
    formatBytes(one.executableBytes),
    formatCount(one.mappings),
    formatMs(one.startMs),
  ]);
  return (
    `${renderTable(VARIANTS, rows)}variants of system 6 (winnow build --only share --variant), built and started here; copied: code and constants of libraries that only ` +
    'processes of the image share; executable: constants and relocated data that can be executed there\n'
  );
}

const figureCells = ({ id, what, ...row }: SharingRow): string[] => [
  id,
  cell(row.privatePages, formatCount),
  cell(row.mappings, formatCount),
  cell(row.relocations, formatCount),
  cell(row.startMs, formatMs),
  cell(row.callNs, (value) => `${value.toFixed(2)} ns`),
  what,
];

const MARKS = { measured: '', computed: '~', reference: '*' } as const;

function cell(figure: Figure, format: (value: number) => string): string {
  return figure.kind === 'missing' ? '-' : `${MARKS[figure.kind]}${format(figure.value)}`;
}

function legend(rounds: number): string {
  const times = rounds === 0 ? '' : `, medians of ${formatPlural(rounds, 'start')} in turn`;
  return (
    'pages: 4 KiB pages of modules that are private to a process; start: from execve until all is relocated\n' +
    `no mark: measured here${times}; ~: computed from the modules, the start of system 7 of copies that stand in for it; *: measured by bench:call-cost, not here\n`
  );
}

/** Each reason once, with whom it is about. */
function whyMissing(rows: readonly SharingRow[]): string {
  const reasons = new Map<string, Set<string>>();
  for (const { id, privatePages, mappings, relocations, startMs, callNs } of rows) {
    for (const figure of [privatePages, mappings, relocations, startMs, callNs]) {
      if (figure.kind !== 'missing') continue;
      const known = reasons.get(figure.reason) ?? new Set();
      reasons.set(figure.reason, known.add(id));
    }
  }
  return [...reasons].map(([reason, ids]) => `-: ${printable(reason)} (${[...ids].join(', ')})\n`).join('');
}

function renderModules({ modules }: SharingFigures): string {
  const rows = modules
    .toSorted((a, b) => b.relocatedPages - a.relocatedPages || (a.path < b.path ? -1 : 1))
    .slice(0, MODULES_SHOWN)
    .map(({ path, relocatedPages, relocations, imports }) => {
      const relative = relocations.relative + relocations.relr;
      const symbols = bySymbol(relocations);
      return [
        formatCount(relocatedPages),
        formatCount(relative),
        formatCount(symbols),
        formatCount(allRelocations(relocations) - relative - symbols),
        formatCount(imports),
        printable(path),
      ];
    });
  const more = modules.length - rows.length;
  return `${renderTable(MODULES, rows)}${more > 0 ? `and ${formatPlural(more, 'more module')}\n` : ''}`;
}

function renderPrelinked({ prelinked }: SharingFigures): string {
  const reasons = prelinked.reasons.map(
    ({ reason, relocations }) => `  ${formatCount(relocations)}: ${reason}\n`,
  );
  return `prelinked, ${formatPlural(prelinked.left.relocations, 'relocation')} would be left:\n${reasons.join('')}`;
}

const percent = (probability: number): string => {
  const value = probability * 100;
  return `${value >= 99.95 ? '>99.9' : value < 0.01 ? '<0.01' : value.toFixed(value < 1 ? 2 : 1)} %`;
};

function renderSolutions(figures: SharingFigures): string {
  const { addressTables: tables, hashedDispatcher: hashed, dispatcherPages: pages } = figures;
  const lines = [
    `solution 2: ${formatPlural(tables.slots, 'slot')}, on ${formatPlural(tables.pages, 'page')} side by side, on ${formatCount(tables.pagesApart)} with ` +
      `a table for each module; ${tables.moduleBits} bits within a module and ${tables.slotBits} for its first slot; ` +
      `${formatPlural(tables.constants, 'word')} of constants hold addresses and would need slots too`,
    ...figures.addressHashes.map(
      ({ bits, placeSize, modules, collisions, probability, onePercent, half }) =>
        `solution 3: hashes of ${bits} bits, places of ${formatBytes(placeSize)}: ${formatPlural(collisions.length, 'collision')}` +
        `${collisions.length === 0 ? '' : ` (${collisions.map(([one, other]) => `${printable(one)} with ${printable(other)}`).join(', ')})`}` +
        ` among ${formatPlural(modules, 'module')}, where ${percent(probability)} have one; ` +
        `1 % first at ${formatCount(onePercent)} modules, 50 % at ${formatCount(half)}`,
    ),
    `solution 4: ${formatPlural(hashed.imports, 'import')} in ${formatCount(hashed.slots)} slots: ${formatPlural(hashed.collisions, 'collision')}, ` +
      `${formatPlural(hashed.pagesTouched, 'page')} touched in place of ${formatCount(hashed.pagesDense)} without holes; ` +
      `1 % first at ${formatCount(hashed.onePercent)} imports, 50 % at ${formatCount(hashed.half)}`,
    `solution 5: ${formatPlural(pages.stubs, 'stub')} and ${formatPlural(pages.words, 'word')} for data, ${formatBytes(pages.bytes)} on ${formatPlural(pages.pages, 'page')}; ` +
      `within 2 GiB: ${pages.near.map(({ layout, stubs }) => `${formatCount(stubs)} (${layout})`).join(', ')}`,
  ];
  return lines.map((line) => `${line}\n`).join('');
}
