import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { gitProfile, gitRun } from '../../test/profile-samples.ts';
import { pageIndex } from '../base/brands.ts';
import { WinnowError } from '../base/errors.ts';
import { encodeProfile } from './codec.ts';
import { defaultStore, openStore } from './store.ts';

const isRoot = process.geteuid?.() === 0;
let folder: string;
let dir: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'winnow-store-'));
  dir = join(folder, 'deep', 'store');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const store = () => openStore({ store: dir });
const code = (name: string) => expect.objectContaining({ code: name });
const files = () => readdirSync(join(dir, 'profiles')).sort();

/** A store with one profile that the user may change. */
function filled() {
  const made = store();
  for (const run of gitProfile().runs) made.addRun('git-status', run);
  return made;
}

describe('the store', () => {
  it('adds runs, reads, lists and drops', () => {
    const made = filled();
    expect(made.read('git-status')).toEqual(gitProfile());
    expect(made.list()).toEqual([
      {
        name: 'git-status',
        path: join(dir, 'profiles', 'git-status.wnp'),
        system: false,
        profile: gitProfile(),
      },
    ]);
    expect(made.newest()).toEqual(gitProfile());
    expect(made.imagesDir).toBe(join(dir, 'images'));
    made.drop('git-status');
    expect(made.list()).toEqual([]);
    expect(files()).toEqual(['.lock']);
  });

  it('is private, as the folder it makes', () => {
    filled();
    const modes = [dir, join(dir, 'profiles'), join(dir, 'profiles', 'git-status.wnp')].map(
      (path) => statSync(path).mode & 0o777,
    );
    expect(modes).toEqual([0o700, 0o700, 0o600]);
  });

  it('is as readable as a folder that is there already', () => {
    mkdirSync(dir, { recursive: true });
    chmodSync(dir, 0o755);
    filled();
    const modes = [join(dir, 'profiles'), join(dir, 'profiles', 'git-status.wnp')].map(
      (path) => statSync(path).mode & 0o777,
    );
    expect(modes).toEqual([0o755, 0o644]);
  });

  it('stands under XDG_DATA_HOME, if that is absolute', () => {
    const home = { HOME: '/home/me' };
    expect(defaultStore({ ...home, XDG_DATA_HOME: '/d' })).toBe('/d/winnow');
    for (const data of [undefined, '', 'rel'])
      expect(defaultStore({ ...home, XDG_DATA_HOME: data })).toBe('/home/me/.local/share/winnow');
  });

  it('stands in the home that the system knows where HOME is none, and never in the current folder', () => {
    const home = join(userInfo().homedir, '.local/share/winnow');
    for (const HOME of [undefined, '', 'rel', './rel']) expect(defaultStore({ HOME })).toBe(home);
  });

  it('has nothing and makes nothing before it is written to', () => {
    const empty = store();
    expect(empty.list()).toEqual([]);
    expect(() => empty.newest()).toThrow(code('E_NO_PROFILE'));
    expect(() => empty.drop('x')).toThrow(code('E_NO_PROFILE'));
    expect(existsSync(dir)).toBe(false);
  });

  it('says which names are similar to one that is not there', () => {
    filled();
    expect(() => store().read('git-stauts')).toThrow(
      expect.objectContaining({ code: 'E_NO_PROFILE', next: expect.stringContaining('git-status') }),
    );
    expect(() => store().read('../x')).toThrow(code('E_BAD_NAME'));
  });

  it('leaves out pages past the end of a file that shrank', () => {
    const run = gitRun(0);
    const shrunk = run.files.map((file, index) =>
      index === 0 ? { ...file, identity: { ...file.identity, size: 110 * 4096 - 1 } } : file,
    );
    const added = store().addRun('x', { ...run, files: shrunk });
    expect(added.runs[0]?.processes[0]?.pages[0]?.extents).toEqual([
      { page: pageIndex(0), count: 12 },
      { page: pageIndex(100), count: 10 },
    ]);
  });
});

describe('findByCommand', () => {
  const command = (cwd: string, ...argv: string[]) => ({ program: `/usr/bin/${argv[0]}`, argv, cwd });

  it('shares a profile among folders, and tells commands with one default name apart', () => {
    const made = store();
    const git = command('/a', 'git', 'status');
    expect(made.findByCommand(git)).toEqual({ name: 'git-status', profile: undefined });
    made.addRun('git-status', gitRun(0));
    expect(made.findByCommand(command('/b', 'git', 'status')).profile?.runs.length).toBe(1);

    const other = { ...git, program: '/opt/bin/git' };
    const { name, profile } = made.findByCommand(other);
    expect([name, profile]).toEqual([expect.stringMatching(/^git-status-[0-9a-f]{6}$/), undefined]);
    made.addRun(name, gitRun(1, { command: other }));
    expect(made.findByCommand(other)).toEqual({ name, profile: made.read(name) });
    made.drop('git-status');
    expect(made.findByCommand(other).name).toBe(name);
    expect(made.findByCommand(git)).toEqual({ name: 'git-status', profile: undefined });
  });

  it('finds one under a name that a person gave: the one recorded last, passing over broken ones', () => {
    const made = store();
    const git = command('/a', 'git', 'status');
    made.addRun('older', gitRun(2));
    made.addRun('mine', gitRun(1));
    made.addRun('oldest', gitRun(3));
    made.addRun('log', gitRun(0, { command: command('/a', 'git', 'log') }));
    writeFileSync(join(dir, 'profiles', 'broken.wnp'), 'winnow-profile', { mode: 0o600 });
    expect(made.findByCommand(git)).toEqual({ name: 'mine', profile: made.read('mine') });
    made.addRun('git-status', gitRun(9));
    expect(made.findByCommand(git).name).toBe('git-status');
    made.drop('git-status');
    // Another command's profile keeps the default name; this one's is found all the same.
    made.addRun('git-status', gitRun(0, { command: { ...git, program: '/opt/git' } }));
    expect(made.findByCommand(git).name).toBe('mine');
  });
});

describe('merge, export and import', () => {
  it('carry runs from store to store', () => {
    const made = filled();
    const file = join(folder, 'git.wnp');
    made.export('git-status', file);
    expect(readFileSync(file)).toEqual(Buffer.from(made.exportBytes('git-status')));
    const other = openStore({ store: join(folder, 'other') });
    expect(other.import(file)).toEqual(gitProfile());
    expect(other.import(file, 'again').runs).toEqual(gitProfile().runs);
    other.addRun('more', gitRun(5));
    expect(other.merge('all', ['git-status', 'more']).runs.length).toBe(4);
    expect(other.list().map(({ name }) => name)).toEqual(['again', 'all', 'git-status', 'more']);
    expect(() => other.merge('all', ['missing'])).toThrow(code('E_NO_PROFILE'));
  });

  it('do not mix two commands unless told to', () => {
    const made = filled();
    const file = join(folder, 'x.wnp');
    const command = { program: '/opt/git', argv: ['git', 'status'], cwd: '/' };
    writeFileSync(file, encodeProfile({ name: 'git-status', runs: [gitRun(9, { command })] }));
    expect(() => made.import(file)).toThrow(code('E_NAME_TAKEN'));
    expect(made.import(file, 'git-status').runs.length).toBe(4);
  });

  it('refuse what is no profile, and folders that are not there', () => {
    const made = filled();
    writeFileSync(join(folder, 'text'), 'hello');
    expect(() => made.import(join(folder, 'text'))).toThrow(code('E_NOT_A_PROFILE'));
    expect(() => made.import(join(folder, 'missing'))).toThrow(code('E_CANNOT_READ'));
    expect(() => made.import('/dev/zero')).toThrow(code('E_CANNOT_READ'));
    expect(() => made.export('git-status', join(folder, 'no', 'x'))).toThrow(code('E_CANNOT_WRITE'));
    expect(readdirSync(folder).sort()).toEqual(['deep', 'text']);
  });
});

describe('a store that cannot be trusted or used', () => {
  const path = () => join(dir, 'profiles', 'git-status.wnp');

  it.each([
    ['the store', () => dir],
    ['its folder of profiles', () => join(dir, 'profiles')],
    ['the profile', path],
  ])('is refused where others can write %s', (_name, which) => {
    filled();
    for (const bit of [0o020, 0o002]) {
      const mode = statSync(which()).mode;
      chmodSync(which(), mode | bit);
      expect(() => store().read('git-status')).toThrow(code('E_STORE_WRITABLE'));
      expect(() => store().addRun('git-status', gitRun(7))).toThrow(code('E_STORE_WRITABLE'));
      chmodSync(which(), mode);
    }
    expect(store().read('git-status')).toEqual(gitProfile());
  });

  it.skipIf(!process.env.CI && !isRoot)('is refused where it belongs to another user (needs root)', () => {
    filled();
    for (const which of [dir, join(dir, 'profiles'), path()]) {
      chownSync(which, 4242, 4242);
      expect(() => store().read('git-status')).toThrow(code('E_STORE_OWNER'));
      chownSync(which, 0, 0);
    }
  });

  it('says so where the user may not read it', () => {
    filled();
    // Root reads everything, so root steps down for this.
    for (const which of [folder, join(folder, 'deep'), dir, join(dir, 'profiles'), path()]) {
      if (isRoot) chownSync(which, 65534, 65534);
    }
    chmodSync(path(), 0o000);
    if (isRoot) process.seteuid?.(65534);
    try {
      expect(() => store().read('git-status')).toThrow(code('E_STORE_DENIED'));
      chmodSync(join(dir, 'profiles'), 0o500);
      expect(() => store().addRun('other', gitRun(0))).toThrow(code('E_STORE_DENIED'));
    } finally {
      if (isRoot) process.seteuid?.(0);
      chmodSync(join(dir, 'profiles'), 0o700);
    }
  });

  it('shows a damaged profile in the list, and neither reads nor replaces it', () => {
    filled();
    const bytes = readFileSync(path());
    bytes[bytes.length - 1] = (bytes[bytes.length - 1] ?? 0) ^ 1;
    writeFileSync(path(), bytes);
    expect(store().list()[0]?.profile).toBeInstanceOf(WinnowError);
    expect(() => store().read('git-status')).toThrow(code('E_PROFILE_DAMAGED'));
    expect(() => store().prepare('git-status')).toThrow(code('E_PROFILE_DAMAGED'));
    expect(() => store().newest()).toThrow(code('E_PROFILE_DAMAGED'));
    expect(() => store().addRun('git-status', gitRun(7))).toThrow(code('E_PROFILE_DAMAGED'));
    expect(readFileSync(path())).toEqual(bytes);
    store().drop('git-status');
    expect(store().list()).toEqual([]);
  });

  it('is refused where something else stands in its place', () => {
    mkdirSync(join(folder, 'deep'));
    writeFileSync(dir, 'a file');
    expect(() => store().addRun('x', gitRun(0))).toThrow(code('E_STORE_NOT_A_FOLDER'));
    expect(() => openStore({ store: join(dir, 'below') }).addRun('x', gitRun(0))).toThrow(WinnowError);
  });

  it('does not follow a link in place of a profile', () => {
    filled();
    rmSync(path());
    symlinkSync('/etc/passwd', path());
    expect(() => store().read('git-status')).toThrow(code('E_STORE_NOT_A_FOLDER'));
  });
});

describe('the system store', () => {
  it('is read second and never written', () => {
    const system = join(folder, 'system');
    openStore({ store: system }).addRun('git-status', gitRun(5));
    openStore({ store: system }).addRun('only-here', gitRun(6));
    const both = openStore({ store: dir, system });
    expect(both.read('git-status').runs).toEqual([gitRun(5)]);
    expect(both.findByCommand(gitRun(0).command).name).toBe('git-status');
    // The user's profile builds on root's, and hides it from then on.
    expect(both.addRun('git-status', gitRun(0)).runs).toEqual([gitRun(0), gitRun(5)]);
    expect(both.list().map(({ name, system: is }) => [name, is])).toEqual([
      ['git-status', false],
      ['only-here', true],
    ]);
    expect(() => both.drop('only-here')).toThrow(code('E_STORE_READ_ONLY'));
    expect(openStore({ store: system }).read('git-status').runs).toEqual([gitRun(5)]);
  });

  it('does not stop a user from recording when it is damaged', () => {
    const system = join(folder, 'system');
    openStore({ store: system }).addRun('x', gitRun(5));
    writeFileSync(join(system, 'profiles', 'x.wnp'), 'no profile');
    const both = openStore({ store: dir, system });
    expect(() => both.read('x')).toThrow(code('E_NOT_A_PROFILE'));
    expect(both.addRun('x', gitRun(0)).runs).toEqual([gitRun(0)]);
  });
});
