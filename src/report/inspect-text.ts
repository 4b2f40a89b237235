/** Words and tables for `winnow inspect`. */
import { formatBytes, formatCount } from '../term/format.ts';
import { renderTable } from '../term/table.ts';
import { printable } from '../term/text.ts';
import type { Inspection } from './inspect.ts';

const hex = (value: number | bigint): string => `0x${value.toString(16)}`;
const signed = (value: bigint): string => (value < 0n ? `-${hex(-value)}` : hex(value));

/** The inspection as text that ends with a line end. */
export function renderInspection(inspection: Inspection): string {
  return [
    summary(inspection),
    segments(inspection),
    sections(inspection),
    relocationCounts(inspection),
    symbols(inspection),
    relocations(inspection),
  ]
    .filter((part) => part !== '')
    .join('\n');
}

function summary(inspection: Inspection): string {
  const { symbolCounts } = inspection;
  const lines: readonly (readonly [string, string | undefined])[] = [
    ['file', `${printable(inspection.path)} (${formatBytes(inspection.size)})`],
    ['type', `${inspection.type}, x86-64, 64-bit little-endian`],
    ['entry', inspection.entry === 0 ? 'none' : hex(inspection.entry)],
    ['build-id', inspection.buildId ?? 'none'],
    ['loader', inspection.interp],
    ['soname', inspection.soname],
    ['rpath', inspection.rpath],
    ['runpath', inspection.runpath],
    ['needed', inspection.needed.length === 0 ? 'nothing' : inspection.needed.join(' ')],
    ['symbols', `${formatCount(symbolCounts.dynamic)} dynamic, ${formatCount(symbolCounts.static)} static`],
  ];
  return lines
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name.padEnd(10)}${printable(value ?? '')}\n`)
    .join('');
}

function segments({ segments }: Inspection): string {
  if (segments.length === 0) return 'No segments\n';
  return renderTable(
    [
      { title: 'segment' },
      { title: 'flags' },
      { title: 'offset', align: 'right' },
      { title: 'address', align: 'right' },
      { title: 'in file', align: 'right' },
      { title: 'in memory', align: 'right' },
      { title: 'align', align: 'right' },
    ],
    segments.map(({ type, flags, offset, rva, fileSize, memSize, align }) => [
      type,
      flags,
      ...[offset, rva, fileSize, memSize, align].map(hex),
    ]),
  );
}

function sections({ sections }: Inspection): string {
  if (sections.length === 0) return 'No sections (stripped)\n';
  return renderTable(
    [
      { title: 'section' },
      { title: 'type' },
      { title: 'flags' },
      { title: 'address', align: 'right' },
      { title: 'offset', align: 'right' },
      { title: 'size', align: 'right' },
    ],
    sections.map(({ name, type, flags, rva, offset, size }) => [
      printable(name),
      type,
      flags,
      ...[rva, offset, size].map(hex),
    ]),
  );
}

function relocationCounts({ relocationCounts }: Inspection): string {
  if (relocationCounts.length === 0) return 'No relocations\n';
  return renderTable(
    [{ title: 'relocations' }, { title: 'count', align: 'right' }],
    relocationCounts.map(({ type, count }) => [type, formatCount(count)]),
  );
}

function symbols({ symbols }: Inspection): string {
  if (symbols === undefined) return '';
  return renderTable(
    [
      { title: 'value', align: 'right' },
      { title: 'size', align: 'right' },
      { title: 'type' },
      { title: 'binding' },
      { title: 'symbol' },
    ],
    symbols.map(({ name, version, library, value, size, type, binding, defined }) => [
      defined ? hex(value) : 'undefined',
      formatCount(size),
      type,
      binding,
      printable(
        `${name}${version === undefined ? '' : `@${version}`}${library === undefined ? '' : ` from ${library}`}`,
      ),
    ]),
  );
}

function relocations({ relocations }: Inspection): string {
  if (relocations === undefined) return '';
  return renderTable(
    [
      { title: 'address', align: 'right' },
      { title: 'type' },
      { title: 'addend', align: 'right' },
      { title: 'symbol' },
    ],
    relocations.map(({ rva, type, addend, symbol }) => [
      hex(rva),
      type,
      signed(addend),
      printable(symbol ?? ''),
    ]),
  );
}
