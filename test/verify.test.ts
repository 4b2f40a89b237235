/** Verification finds planted differences, and no others. The image is a script here. */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Place, VerifyReport } from '../src/verify/model.ts';
import { wordPlace } from '../src/verify/terminal.ts';
import { type VerifyOptions, verify } from '../src/verify/verify.ts';
import { writeScript } from './support/files.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'winnow-test-verify-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const script = (name: string, body: string): string => writeScript(join(folder, name), body);

/** Verifies one script against another, as program and image. */
function check(plain: string, image: string, more: Partial<VerifyOptions> = {}): Promise<VerifyReport> {
  return verify({
    plain: { file: script('plain', plain), argv: ['program', 'one'] },
    image: { file: script('image', image), argv: ['program', 'one'] },
    env: { PATH: '/usr/bin:/bin' },
    scratchHome: false,
    keep: false,
    ...more,
  });
}

const words = (places: readonly Place[]): string[] => places.map(wordPlace);
const found = (report: VerifyReport): string[] => words(report.differences.map((d) => d.place));

const PROGRAM = `
echo "to stdout $1"; echo to stderr >&2
echo data > out.txt; chmod 640 out.txt; mkdir sub; ln -s out.txt sub/link; echo t > "$TMPDIR/t"
`;

describe('planted differences', () => {
  it('finds none between equal programs', async () => {
    const report = await check(PROGRAM, PROGRAM);
    expect(report.differences).toEqual([]);
    expect(report.notDeterministic).toEqual([]);
    expect(report.verdict).toBe('same');
    expect(report.runs.map((run) => run.who)).toEqual(['plain', 'image', 'plain']);
    expect(report.runs[0]?.files).toBe(8);
  });

  it.each<[string, string, string[]]>([
    ['one byte of stdout', PROGRAM.replace('to stdout', 'to stdouT'), ['stdout, line 1']],
    ['one byte of stderr', PROGRAM.replace('to stderr', 'to Stderr'), ['stderr, line 1']],
    ['one byte of a file', PROGRAM.replace('echo data', 'echo dbta'), ['work/out.txt: content']],
    ['a missing file', `${PROGRAM}rm "$TMPDIR/t"`, ['tmp/t: presence']],
    ['a file too many', `${PROGRAM}echo > more`, ['work/more: presence']],
    ['another mode', PROGRAM.replace('640', '600'), ['work/out.txt: mode']],
    ['another link target', PROGRAM.replace('ln -s out', 'ln -s out2'), ['work/sub/link: target']],
    ['another type', `${PROGRAM}rm out.txt; mkdir -m 640 out.txt`, ['work/out.txt: type']],
    ['another exit code', `${PROGRAM}exit 1`, ['how it ended']],
    ['a signal in place of an exit', `${PROGRAM}kill -SEGV $$`, ['how it ended']],
  ])('finds %s', async (_what, image, expected) => {
    const report = await check(PROGRAM, image);
    expect(found(report)).toEqual(expected);
    expect(report.verdict).toBe('different');
    expect(report.notes.map((note) => note.code)).toContain('extra-plain-run');
  });

  it('tells one signal from another', async () => {
    const report = await check('kill -TERM $$', 'kill -KILL $$');
    expect(report.differences).toEqual([
      { place: { kind: 'end' }, plain: 'killed by signal 15', image: 'killed by signal 9' },
    ]);
  });
});

describe('noise', () => {
  const NOISY = 'echo pid $$ ok; echo $$ > log; mktemp -p . t.XXXXXX > /dev/null; echo same > same';

  it('is reported as not deterministic', async () => {
    const report = await check(NOISY, NOISY);
    expect(report.differences).toEqual([]);
    expect(words(report.notDeterministic)).toEqual(['stdout, line 1', 'work/log: content', 'names in work']);
  });

  it('does not hide a difference beside it', async () => {
    expect(found(await check(NOISY, NOISY.replace('ok', 'OK')))).toEqual(['stdout, line 1']);
    expect(found(await check(NOISY, NOISY.replace('echo same', 'echo Same')))).toEqual([
      'work/same: content',
    ]);
    expect(found(await check(NOISY, NOISY.replace('mktemp', ': mktemp')))).toEqual(['names in work']);
  });
});

describe('the scratch folder', () => {
  it('is filled with a copy, fresh for every run, and the original stays as it is', async () => {
    const original = join(folder, 'original');
    mkdirSync(original);
    writeFileSync(join(original, 'input'), 'hello\n');
    const body = 'cat input; rm input; ls -A; pwd';
    const report = await check(body, body, { copyOf: original });
    expect(report.differences).toEqual([]);
    expect(report.notDeterministic).toEqual([]);
    expect(report.runs[1]?.stdoutBytes).toBeGreaterThan('hello\n'.length);
    expect(existsSync(join(original, 'input'))).toBe(true);
  });

  it('gives HOME when asked, and is kept when asked', async () => {
    const body = 'echo x > "$HOME/.rc"';
    const report = await check(body, body, { scratchHome: true, keep: true });
    const kept = report.runs.map((run) => run.kept ?? '');
    try {
      expect(kept.map((path) => existsSync(join(path, 'tree/home/.rc')))).toEqual([true, true, true]);
    } finally {
      for (const path of kept) rmSync(join(path, '..'), { recursive: true, force: true });
    }
  });

  it('gives stdin', async () => {
    const input = join(folder, 'input');
    writeFileSync(input, 'from a file\n');
    const report = await check('cat', 'cat | tr f F', { stdin: input });
    expect(found(report)).toEqual(['stdout, line 1']);
  });
});

describe('programs that do not end', () => {
  it('are killed at the time-out with their children', async () => {
    const body = 'echo begun; sleep 60 & sleep 60';
    const report = await check(body, body, { timeoutMs: 100 });
    expect(report.verdict).toBe('same');
    expect(report.notes.map((note) => note.code)).toContain('timed-out');
  });

  it('are killed when the command is interrupted', async () => {
    const run = check('sleep 60', 'sleep 60', { abort: AbortSignal.timeout(50) });
    await expect(run).rejects.toMatchObject({ code: 'E_INTERRUPTED', exitCode: 130 });
  });
});

describe('errors', () => {
  it('names a program that cannot be started, a missing folder and a missing stdin', async () => {
    await expect(check('true', 'true', { copyOf: join(folder, 'none') })).rejects.toMatchObject({
      code: 'E_SCRATCH_COPY',
    });
    await expect(check('true', 'true', { stdin: join(folder, 'none') })).rejects.toMatchObject({
      code: 'E_STDIN',
    });
    const image = { file: join(folder, 'none'), argv: ['x'] };
    await expect(check('true', 'true', { image })).rejects.toMatchObject({ code: 'E_SPAWN' });
  });
});
