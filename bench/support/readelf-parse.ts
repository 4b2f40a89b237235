/**
 * What binutils' readelf says of a file, as data.
 *
 * Method: `readelf -hlSdsrnW` prints tables of one line a record; each is told from the others by its
 * heading, and a line by its columns. Numbers are compared, names only where readelf prints nothing
 * beside them. Limits: the form of binutils 2.35 to 2.41; later ones print RELR tables otherwise.
 */
import { spawnSync } from 'node:child_process';

export interface JudgeSection {
  readonly name: string;
  readonly type: string;
  /** Address, offset, size, record size, link, info, alignment. */
  readonly numbers: readonly number[];
  readonly flags: string;
}

export interface JudgeSegment {
  readonly type: string;
  /** Offset, address, physical address, size in the file, size in memory, alignment. */
  readonly numbers: readonly number[];
  readonly flags: string;
}

export interface JudgeSymbol {
  readonly value: bigint;
  readonly size: number;
  readonly type: string;
  readonly bind: string;
  readonly vis: string;
  readonly ndx: string;
  /** With its version, as readelf writes it: `printf@GLIBC_2.2.5`. */
  readonly name: string;
}

export interface JudgeRelocationTable {
  readonly name: string;
  readonly offset: number;
  readonly count: number;
  /** RELA: offset, info, addend. RELR: offset. */
  readonly rows: readonly (readonly bigint[])[];
}

export interface Judgement {
  readonly header: ReadonlyMap<string, string>;
  readonly sections: readonly JudgeSection[];
  readonly segments: readonly JudgeSegment[];
  readonly interp: string | undefined;
  readonly dynamic: readonly { readonly tag: number; readonly text: string }[];
  readonly symbolTables: ReadonlyMap<
    string,
    { readonly count: number; readonly symbols: readonly JudgeSymbol[] }
  >;
  readonly relocationTables: readonly JudgeRelocationTable[];
  readonly buildIds: readonly string[];
}

/** Runs readelf on a file. Throws where readelf cannot be run; its complaints about a file are no error. */
export function askReadelf(path: string): Judgement {
  const done = spawnSync('readelf', ['-hlSdsrnW', '--', path], {
    encoding: 'utf8',
    maxBuffer: 2 ** 29 - 1,
    env: { ...process.env, LC_ALL: 'C.UTF-8' },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  if (done.error !== undefined) throw done.error;
  return parseReadelf(done.stdout);
}

const hex = (text: string): number => Number.parseInt(text, 16);
const big = (text: string): bigint => BigInt(`0x${text}`);

const HEADER = /^ {2}([A-Z][^:]+):\s+(.*)$/;
const SECTION =
  /^ {2}\[ *\d+\] (.*?)\s+(NULL|[A-Z0-9_]+|<unknown>: \S+|LOOS\+\S+|LOPROC\+\S+|LOUSER\+\S+)\s+([0-9a-f]{16}) ([0-9a-f]+) ([0-9a-f]+) ([0-9a-f]{2,}) {1,2}([A-Za-z ]*?) +(\d+) +(\d+) +(\d+)$/;
const SEGMENT =
  /^ {2}(\S+)\s+0x([0-9a-f]+) 0x([0-9a-f]+) 0x([0-9a-f]+) 0x([0-9a-f]+) 0x([0-9a-f]+) ([RWE ]{3}) (?:0x)?([0-9a-f]+)$/;
const INTERP = /^ {6}\[Requesting program interpreter: (.*)\]$/;
const DYNAMIC = /^ 0x([0-9a-f]{16}) \(([^)]*)\)\s+(.*)$/;
const SYMBOLS = /^Symbol table '(.*)' contains (\d+) entr/;
const SYMBOL =
  /^ *(\d+): ([0-9a-f]{16}) +(\d+|0x[0-9a-f]+) (\S+|<[^>]*>: \S+) +(\S+|<[^>]*>: \S+) +([A-Z]+) +(?:\[.*?\] +)?(\S+|[A-Z]+ ?\[0x[0-9a-f]+\])(?: (.*))?$/;
const RELOCATIONS = /^Relocation section '(.*)' at offset 0x([0-9a-f]+) contains (\d+) entr/;
const RELA = /^([0-9a-f]{16}) {2}([0-9a-f]{16}) (unrecognized: \S+|\S+)\s*(.*)$/;
const RELR = /^([0-9a-f]{16})$/;
const BUILD_ID = /\sBuild ID: ([0-9a-f]+)$/;

/** The judgement in readelf's output. */
export function parseReadelf(output: string): Judgement {
  const header = new Map<string, string>();
  const sections: JudgeSection[] = [];
  const segments: JudgeSegment[] = [];
  const dynamic: { tag: number; text: string }[] = [];
  const symbolTables = new Map<string, { count: number; symbols: JudgeSymbol[] }>();
  const relocationTables: (JudgeRelocationTable & { rows: (readonly bigint[])[] })[] = [];
  const buildIds: string[] = [];
  let interp: string | undefined;
  let symbols: JudgeSymbol[] = [];
  let rows: (readonly bigint[])[] = [];
  let place = '';

  for (const line of output.split('\n')) {
    const heading = headingOf(line);
    if (heading !== undefined) {
      place = heading;
      const table = SYMBOLS.exec(line);
      if (table !== null) {
        symbols = [];
        symbolTables.set(table[1] ?? '', { count: Number(table[2]), symbols });
      }
      const relocations = RELOCATIONS.exec(line);
      if (relocations !== null) {
        rows = [];
        const [, name = '', offset = '', count = ''] = relocations;
        relocationTables.push({ name, offset: hex(offset), count: Number(count), rows });
      }
      continue;
    }
    if (place === 'header') {
      const [, key, value] = HEADER.exec(line) ?? [];
      if (key !== undefined && value !== undefined && !header.has(key)) header.set(key, value.trim());
    } else if (place === 'sections') {
      const section = sectionOf(line);
      if (section !== undefined) sections.push(section);
    } else if (place === 'segments') {
      const segment = segmentOf(line);
      if (segment !== undefined) segments.push(segment);
      interp ??= INTERP.exec(line)?.[1];
    } else if (place === 'dynamic') {
      const [, tag, , text] = DYNAMIC.exec(line) ?? [];
      if (tag !== undefined && text !== undefined) dynamic.push({ tag: hex(tag), text: text.trim() });
    } else if (place === 'symbols') {
      const symbol = symbolOf(line);
      if (symbol !== undefined) symbols.push(symbol);
    } else if (place === 'relocations') {
      const row = relocationOf(line);
      if (row !== undefined) rows.push(row);
    } else if (place === 'notes') {
      const id = BUILD_ID.exec(line)?.[1];
      if (id !== undefined) buildIds.push(id);
    }
  }
  return { header, sections, segments, interp, dynamic, symbolTables, relocationTables, buildIds };
}

const HEADINGS: readonly (readonly [string, string])[] = [
  ['ELF Header:', 'header'],
  ['Section Headers:', 'sections'],
  ['Section Header:', 'sections'],
  ['Key to Flags:', ''],
  ['Program Headers:', 'segments'],
  [' Section to Segment mapping:', ''],
  ['Dynamic section at offset', 'dynamic'],
  ["Symbol table '", 'symbols'],
  ["Relocation section '", 'relocations'],
  ['Displaying notes found', 'notes'],
  ['There are ', ''],
  ['Histogram for', ''],
];

function headingOf(line: string): string | undefined {
  return HEADINGS.find(([text]) => line.startsWith(text))?.[1];
}

function sectionOf(line: string): JudgeSection | undefined {
  const found = SECTION.exec(line);
  if (found === null) return undefined;
  const [
    ,
    name = '',
    type = '',
    at = '',
    offset = '',
    size = '',
    record = '',
    flags = '',
    link,
    info,
    align,
  ] = found;
  const numbers = [hex(at), hex(offset), hex(size), hex(record), Number(link), Number(info), Number(align)];
  return { name, type, numbers, flags: flags.trim() };
}

function segmentOf(line: string): JudgeSegment | undefined {
  const found = SEGMENT.exec(line);
  if (found === null) return undefined;
  const [, type = '', offset = '', at = '', physical = '', file = '', memory = '', flags = '', align = ''] =
    found;
  return {
    type,
    numbers: [offset, at, physical, file, memory, align].map(hex),
    flags: flags.replaceAll(' ', ''),
  };
}

function symbolOf(line: string): JudgeSymbol | undefined {
  const found = SYMBOL.exec(line);
  if (found === null) return undefined;
  const [, , value = '', size = '', type = '', bind = '', vis = '', ndx = '', name = ''] = found;
  return { value: big(value), size: Number(size), type, bind, vis, ndx, name };
}

/** A RELA row ends in `symbol + addend`, or in the addend alone where there is no symbol. */
function relocationOf(line: string): readonly bigint[] | undefined {
  const relr = RELR.exec(line)?.[1];
  if (relr !== undefined) return [big(relr)];
  const found = RELA.exec(line);
  if (found === null) return undefined;
  const [, offset = '', info = '', , rest = ''] = found;
  const addend = /(?:(?:^|.* )([+-]) |^(-?))([0-9a-f]+)$/.exec(rest);
  const negative = addend?.[1] === '-' || addend?.[2] === '-';
  const size = big(addend?.[3] ?? '0');
  return [big(offset), big(info), negative ? -size : size];
}
