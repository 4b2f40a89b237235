import { describe, expect, it } from 'vitest';
import { expectGolden } from '../../test/golden.ts';
import { colorsFor } from './color.ts';
import { formatBytes, formatCount, formatMs, formatPlural, formatRatio, formatShare } from './format.ts';
import { startProgress } from './progress.ts';
import { renderTable } from './table.ts';
import { commandLine, printable, visibleWidth } from './text.ts';

describe('renderTable', () => {
  it('aligns text left and figures right', () => {
    const table = renderTable(
      [{ title: 'file' }, { title: 'pages', align: 'right' }, { title: 'how' }],
      [
        ['/usr/bin/node', '3,226', 'mapped'],
        ['/lib/x86_64-linux-gnu/libc.so.6', '212', 'mapped'],
        ['/etc/passwd', '1', 'read'],
      ],
    );
    expectGolden('term/table.txt', table);
  });

  it('counts wide, combining and coloured characters right', () => {
    const red = colorsFor({ isTTY: true }, {}).red;
    const table = renderTable(
      [{ title: 'name' }, { title: 'n', align: 'right' }],
      [['日本語', '1'], ['e\u0301te\u0301', '22'], [red('red'), red('333')], ['👩‍👩‍👧', '4'], ['short row']],
    );
    expectGolden('term/table-wide.txt', table);
  });

  it('prints titles alone when there are no rows', () => {
    expect(renderTable([{ title: 'a' }, { title: 'b', align: 'right' }], [])).toBe('a  b\n');
  });

  it('refuses a row that has no column', () => {
    expect(() => renderTable([{ title: 'a' }], [['1', '2']])).toThrow(RangeError);
  });
});

describe('text', () => {
  it('knows widths', () => {
    const texts = ['abc', 'ü', 'u\u0308', '字', '\x1b[31mred\x1b[39m', '❤️', '한'];
    expect(texts.map(visibleWidth)).toEqual([3, 1, 1, 2, 3, 2, 2]);
  });

  it('shows control characters instead of obeying them', () => {
    expect(printable('a\x1b[2Jb\nc\u202ed')).toBe('a\\u{1b}[2Jb\\u{a}c\\u{202e}d');
    expect(printable('/usr/lib/Größe 字')).toBe('/usr/lib/Größe 字');
  });
});

describe('format', () => {
  it('gives bytes three digits', () => {
    const bytes = [0, 1023, 1024, 1536, 1024 ** 2 - 1, 23.4 * 1024 ** 2, 5 * 1024 ** 3];
    expect(bytes.map((b) => formatBytes(Math.round(b)))).toEqual([
      '0 B',
      '1023 B',
      '1.00 KiB',
      '1.50 KiB',
      '1.00 MiB',
      '23.4 MiB',
      '5.00 GiB',
    ]);
  });

  it('gives times, ratios, counts and shares', () => {
    expect([0.4211, 18, 875.4, 9999, 12_340].map(formatMs)).toEqual([
      '0.42 ms',
      '18.0 ms',
      '875 ms',
      '9,999 ms',
      '12.3 s',
    ]);
    expect([1.5812, 12.34].map(formatRatio)).toEqual(['1.58x', '12.3x']);
    expect([999, 33_243].map(formatCount)).toEqual(['999', '33,243']);
    expect([formatPlural(1, 'page'), formatPlural(2, 'library', 'libraries')]).toEqual([
      '1 page',
      '2 libraries',
    ]);
    const shares = [
      [1, 3],
      [1, 250],
      [1, 0],
      [0, 9],
      [470, 471],
      [9, 9],
      [1, 9999],
    ] as const;
    expect(shares.map(([part, whole]) => formatShare(part, whole))).toEqual([
      ...['33 %', '0.4 %', '0 %', '0 %', '>99 %', '100 %', '<0.1 %'],
    ]);
  });
});

describe('colour', () => {
  it('is there on a terminal only, and not with NO_COLOR', () => {
    const shown = (isTTY: boolean, environment: Record<string, string>) =>
      colorsFor({ isTTY }, environment).red('x');
    expect(shown(true, {})).toBe('\x1b[31mx\x1b[39m');
    expect(shown(true, { NO_COLOR: '' })).toBe('\x1b[31mx\x1b[39m');
    expect(shown(true, { NO_COLOR: '1' })).toBe('x');
    expect(shown(true, { TERM: 'dumb' })).toBe('x');
    expect(shown(false, {})).toBe('x');
  });
});

describe('progress', () => {
  function recorded(isTTY: boolean) {
    const written: string[] = [];
    let time = 0;
    const stream = { isTTY, columns: 20, write: (text: string) => written.push(text) };
    const progress = startProgress('recording', stream, () => time);
    return { written, progress, at: (ms: number) => (time = ms) };
  }

  it('stays silent for the first second, then draws and takes itself away', () => {
    const { written, progress, at } = recorded(true);
    progress.update('one');
    at(999);
    progress.update('two');
    expect(written).toEqual([]);
    at(1000);
    progress.update('three\nlines');
    progress.update('too soon');
    at(1100);
    progress.update('a long text that does not fit');
    progress.stop();
    progress.stop();
    at(5000);
    progress.update('after the end');
    expect(written).toEqual(['\r\x1b[2Krecording: three\\u…', '\r\x1b[2Krecording: a long …', '\r\x1b[2K']);
  });

  it('writes nothing at all when stopped early, or when stderr is no terminal', () => {
    const early = recorded(true);
    early.progress.stop();
    const piped = recorded(false);
    piped.at(10_000);
    piped.progress.update('x');
    piped.progress.stop();
    expect([...early.written, ...piped.written]).toEqual([]);
  });
});

describe('commandLine', () => {
  it('can be copied into a shell', () => {
    expect(commandLine(['git', 'status', '--short', '-c', 'a=b,c:d', './x+y@z%', 'größe'])).toBe(
      'git status --short -c a=b,c:d ./x+y@z% größe',
    );
    expect(commandLine(['lua', '-e', 'print(6*7)'])).toBe("lua -e 'print(6*7)'");
    expect(commandLine(["it's", '', '~', '$HOME', 'a b'])).toBe("'it'\\''s' '' '~' '$HOME' 'a b'");
  });

  it('obeys no control characters', () => {
    expect(commandLine(['x', '\x1b[2J\n'])).toBe("x '\\u{1b}[2J\\u{a}'");
  });
});
