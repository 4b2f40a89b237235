/** What readelf says of .eh_frame, row by row, and eu-readelf of .eh_frame_hdr. */
import { spawnSync } from 'node:child_process';

export interface JudgedFrame {
  /** Offset in .eh_frame. */
  readonly at: number;
  readonly cie: number | undefined;
  readonly start: number;
  readonly end: number;
  readonly augmentation: string;
  readonly rows: { readonly at: number; readonly cells: ReadonlyMap<string, string> }[];
}

function ask(program: string, ...args: string[]): string {
  // readelf's exit code is 1 for some sound files too (Debian's libm, after all of the output).
  const { stdout, error } = spawnSync(program, args, {
    encoding: 'latin1',
    maxBuffer: 2 ** 28,
    env: { ...process.env, LC_ALL: 'C' },
  });
  if (error !== undefined) throw error;
  return stdout;
}

export function judgedFrames(path: string): readonly JudgedFrame[] {
  const frames: JudgedFrame[] = [];
  let columns: readonly string[] = [];
  for (const line of ask('readelf', '--debug-dump=frames-interp', path).split('\n')) {
    const head = /^([0-9a-f]{8}) [0-9a-f]{16} \S+ (?:CIE "(.*)" |FDE cie=(\S+) pc=(\w+)\.\.(\w+))/.exec(line);
    const last = frames.at(-1);
    if (head !== null) {
      const [, at = '', augmentation = '', cie, start = '0', end = '0'] = head;
      frames.push({
        at: parseInt(at, 16),
        cie: cie === undefined ? undefined : parseInt(cie, 16),
        start: parseInt(start, 16),
        end: parseInt(end, 16),
        augmentation,
        rows: [],
      });
      columns = [];
    } else if (/^ {3}LOC /.test(line)) {
      columns = line.trim().split(/ +/).slice(1);
    } else if (columns.length > 0 && /^[0-9a-f]{16} /.test(line)) {
      const [at = '', ...cells] = line.trim().split(/ +/);
      const named = cells.map((cell, i): [string, string] => [columns[i] ?? '', cell]);
      last?.rows.push({ at: parseInt(at, 16), cells: new Map(named.filter(([, cell]) => cell !== 'u')) });
    }
  }
  return frames;
}

/** How the caller is found at a code address: `CFA=rsp+16 rbx=c-16 ra=c-8`; undefined where no FDE has it. */
export function rowsBy(frames: readonly JudgedFrame[]): (pc: number) => string | undefined {
  const fdes = frames.filter(({ cie }) => cie !== undefined).toSorted((a, b) => a.start - b.start);
  const cies = new Map(frames.map((frame) => [frame.at, frame]));
  return (pc) => {
    let low = 0;
    let high = fdes.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((fdes[middle]?.start ?? 0) <= pc) low = middle + 1;
      else high = middle;
    }
    const fde = fdes[low - 1];
    if (fde === undefined || pc >= fde.end) return undefined;
    const row = fde.rows.findLast(({ at }) => at <= pc) ?? cies.get(fde.cie ?? 0)?.rows[0];
    return [...(row?.cells ?? [])]
      .map(([name, cell]) => `${name}=${cell}`)
      .sort()
      .join(' ');
  };
}

/** Rows of the table in .eh_frame_hdr: code address, counted from the header, and offset of the FDE in .eh_frame. */
export function judgedTable(path: string): readonly (readonly [start: number, fde: number])[] {
  const rows = ask('eu-readelf', '--debug-dump=frames', path).matchAll(
    /^ +0x([0-9a-f]+) \(offset: +[0-9a-fx]+\) -> 0x[0-9a-f]+ fde=\[ *([0-9a-f]+)\]/gm,
  );
  return [...rows].map(([, start = '', fde = '']) => [parseInt(start, 16) | 0, parseInt(fde, 16)]);
}

/** The expressions of call frame instructions of each FDE, by offset in .eh_frame. */
export function judgedExpressions(path: string): ReadonlyMap<number, readonly string[]> {
  const found = new Map<number, string[]>();
  let at = 0;
  for (const line of ask('readelf', '--debug-dump=frames', path).split('\n')) {
    const head = /^([0-9a-f]{8}) [0-9a-f]{16} /.exec(line);
    if (head !== null) at = parseInt(head[1] ?? '', 16);
    const expression = /_expression.*\((DW_OP_.*)\)/.exec(line);
    if (expression !== null) found.set(at, [...(found.get(at) ?? []), expression[1] ?? '']);
  }
  return found;
}
