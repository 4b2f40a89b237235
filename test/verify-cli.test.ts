/**
 * `winnow verify` as a person runs it: it finds what was planted in an image, and nothing in a sound one.
 *
 * A difference is planted by letting the image's `program` link lead to a script that does something else.
 */
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openStore } from '../src/profile/store.ts';
import { profileOf } from './launch-scene.ts';
import { writeScript } from './support/files.ts';
import { codeOf, type Ran, winnowOn } from './support/winnow.ts';

const folder = realpathSync(mkdtempSync(join(tmpdir(), 'winnow-verify-cli-')));
const store = join(folder, 'store');
const winnow = winnowOn(store);
const inputs = join(folder, 'inputs');
const program = join(folder, 'program');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const script = (name: string, body: string): string => writeScript(join(folder, name), body);

const STABLE = `cat input 2>/dev/null; echo "to stdout $1"; echo to stderr >&2
echo data > out.txt; chmod 640 out.txt; echo more > more.txt; exit 3`;

/** Lets the program be the script `plain`, and its image start `image`. */
function plant(plain: string, image: string): void {
  script('program', plain);
  const link = join(store, 'images/planted/program');
  rmSync(link);
  symlinkSync(script('planted', image), link);
}

beforeAll(() => {
  script('program', STABLE);
  mkdirSync(inputs);
  writeFileSync(join(inputs, 'input'), 'from the folder\n');
  const argv = [program, 'one'];
  const files = [{ path: program, extents: [] }];
  const [run] = profileOf({ program, argv, files }).runs;
  if (run === undefined) throw new Error('no run');
  openStore({ store }).addRun('planted', run);
});
beforeEach(() => {
  // A fresh image: its link leads to the program itself.
  script('program', STABLE);
  const built = winnow('build', ['--name', 'planted']);
  expect(built.status, built.stderr).toBe(0);
});

const verify = (...options: readonly string[]): Ran => winnow('verify', [...options, '--', program, 'one']);

/** The places of the report on stdout, in the order of its lines. */
const places = (ran: Ran): string[] =>
  [...ran.stdout.matchAll(/^ {2}(\S.*)\n {4}plain: /gm)].map((m) => m[1] ?? '');

describe('a sound image', () => {
  it('shows no difference, and a word about each run', () => {
    const ran = verify();
    expect(ran.stdout).toBe(
      "same: the image's run is like 2 plain runs (exit code 3, 14 bytes on stdout, 10 on stderr)\n" +
        'note: the program failed in every run (exit code 3): does it need files of this folder (--in .), or stdin (--stdin FILE)?\n',
    );
    expect([ran.status, ran.stderr]).toEqual([0, '']);
  });

  it('runs in a copy of --in DIR, which stays as it is', () => {
    script('program', `${STABLE.replace('exit 3', 'rm input')}`);
    const ran = verify('--in', inputs);
    expect(ran.stdout).toBe(
      "same: the image's run is like 2 plain runs (exit code 0, 30 bytes on stdout, 10 on stderr)\n",
    );
    expect(readFileSync(join(inputs, 'input'), 'utf8')).toBe('from the folder\n');
  });

  it('is told apart from noise', () => {
    script('program', 'echo "at $(date +%N) by $$ ok"; echo $$ > log; mktemp -p . t.XXXXXX > /dev/null');
    const ran = verify();
    expect(ran.stdout).toMatch(/^same: .*\n/);
    expect(ran.stdout).toContain(
      'not deterministic (the plain runs differ there too): stdout, line 1, work/log: content, names in work\n',
    );
    expect(ran.status).toBe(0);
  });

  it('may be killed at the time-out', () => {
    script('program', 'echo begun; sleep 60 & sleep 60');
    const ran = verify('--timeout', '0.2');
    expect(ran.stdout).toContain('same: the image');
    expect(ran.stdout).toContain('(still running at the time-out, 6 bytes on stdout, 0 on stderr)');
    expect(ran.stdout).toContain('note: a run was killed at the time-out');
    expect(ran.status).toBe(0);
  });
});

describe('a planted difference', () => {
  it.each<[string, string, string, string]>([
    ['one byte of stdout', STABLE.replace('to stdout', 'to stdouT'), 'stdout, line 1', '"to stdouT one\\n"'],
    ['one byte of stderr', STABLE.replace('to stderr', 'to Stderr'), 'stderr, line 1', '"to Stderr\\n"'],
    ['one byte of a file', STABLE.replace('echo data', 'echo dbta'), 'work/out.txt: content', 'sha256 '],
    ['a missing file', STABLE.replace('exit', 'rm more.txt; exit'), 'work/more.txt: presence', 'missing'],
    ['another exit code', STABLE.replace('exit 3', 'exit 4'), 'how it ended', 'exit code 4'],
    [
      'a signal in place of an exit',
      STABLE.replace('exit 3', () => 'kill -SEGV $$'),
      'how it ended',
      'killed by signal 11',
    ],
    ['other mode bits', STABLE.replace('640', '4750'), 'work/out.txt: mode', '4750'],
  ])('of %s is found and named', (_what, image, place, value) => {
    plant(STABLE, image);
    const ran = verify();
    expect([ran.status, ran.stderr]).toEqual([1, '']);
    expect(ran.stdout).toMatch(/^different: 1 difference between the image's run and 3 plain runs\n/);
    expect(places(ran)).toEqual([place]);
    expect(ran.stdout).toContain(`    image: ${value}`);
  });

  it('of one signal for another is found', () => {
    plant('kill -TERM $$', 'kill -KILL $$');
    const ran = verify();
    expect(ran.status).toBe(1);
    expect(ran.stdout).toContain(
      '  how it ended\n    plain: killed by signal 15\n    image: killed by signal 9\n',
    );
  });

  it('beside noise is found', () => {
    plant('echo "at $(date +%N) ok"; echo $$', 'echo "at $(date +%N) OK"; echo $$');
    const ran = verify();
    expect([ran.status, places(ran)]).toEqual([1, ['stdout, line 1']]);
    expect(ran.stdout).toContain(
      'not deterministic (the plain runs differ there too): stdout, line 1, stdout, line 2',
    );
  });

  it('in a time-out is found', () => {
    plant('echo done', 'echo done; sleep 60');
    const ran = verify('--timeout', '0.5');
    expect([ran.status, places(ran)]).toEqual([1, ['how it ended']]);
    expect(ran.stdout).toContain('    image: still running at the time-out\n');
  });

  it('is data with --json', () => {
    plant(STABLE, STABLE.replace('exit 3', 'rm out.txt; exit 4'));
    const ran = verify('--json', '--name', 'planted');
    expect([ran.status, ran.stderr]).toEqual([1, '']);
    const report = JSON.parse(ran.stdout);
    expect(Object.keys(report)).toEqual([
      'winnow',
      'version',
      'plain',
      'image',
      'verdict',
      'runs',
      'differences',
      'notDeterministic',
      'notes',
    ]);
    expect(report).toMatchObject({
      winnow: 'verify',
      version: 1,
      verdict: 'different',
      plain: { file: program, argv: [program, 'one'] },
      image: { file: join(store, 'images/planted/launch'), argv: [program, 'one'] },
      differences: [
        { place: { kind: 'end' }, plain: 'exit code 3', image: 'exit code 4' },
        {
          place: { kind: 'file', path: 'work/out.txt', aspect: 'presence' },
          plain: 'present',
          image: 'missing',
        },
      ],
      notDeterministic: [],
    });
    expect(report.runs.map((run: { who: string }) => run.who)).toEqual(['plain', 'image', 'plain', 'plain']);
  });
});

describe('what cannot be verified', () => {
  it.each<[string, readonly string[], number, string]>([
    ['a folder that is not there', ['--in', '/none', '--', program], 3, 'E_SCRATCH_COPY'],
    ['a file for stdin that is not there', ['--stdin', '/none', '--', program], 2, 'E_STDIN'],
    ['a command without an image', ['--', '/bin/true'], 4, 'E_NO_IMAGE'],
    ['an image that is not there', ['--name', 'none', '--', program], 4, 'E_NO_IMAGE'],
    ['a program that is not there', ['--', '/none/program'], 127, 'E_PROGRAM_NOT_FOUND'],
    ['a time that is none', ['--timeout', 'soon', '--', program], 2, 'E_USAGE'],
    ['another kind of HOME', ['--home', 'mine', '--', program], 2, 'E_USAGE'],
    ['no command', [], 2, 'E_USAGE'],
  ])('%s', (_what, words, status, code) => {
    const ran = winnow('verify', words);
    expect([ran.status, codeOf(ran), ran.stdout]).toEqual([status, code, '']);
    expect(ran.stderr).not.toBe('');
  });

  it('says so where no scratch folder can be made', () => {
    const env = { ...process.env, TMPDIR: '/proc/none' };
    const ran = winnow('verify', ['--', program, 'one'], { env });
    expect([ran.status, codeOf(ran), ran.stdout]).toEqual([3, 'E_SCRATCH_COPY', '']);
  });
});
