/** `winnow build --only share --share prelink`, as a person uses it: the stock loader maps prelinked libraries, and all else is the same. */
import { spawnSync } from 'node:child_process';
import { readFileSync, realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readElfFile } from '../src/elf/read.ts';
import { linkedAt } from '../src/share/closure/loader-start.ts';
import { decodePrelinked } from '../src/share/prelinked/prelinked-decode.ts';
import { measureStart } from '../src/sys/start-cost.ts';
import { PrelinkedScene } from './prelinked-scene.ts';
import { codeOf } from './support/winnow.ts';

const scene = new PrelinkedScene();
afterAll(() => scene.remove());
const { program, other } = scene;

beforeAll(() => {
  scene.record(program, 'child', scene.fixed, 'nothing');
  scene.build();
});

const plainly = { env: { WINNOW_SHOW: 'plain' } };
const table = () => decodePrelinked(readFileSync(join(scene.image, 'prelink.bin')), 'prelink.bin');

describe('an image of prelinked programs', () => {
  it('says what it holds', () => {
    const json = JSON.parse(scene.build('--json').stdout);
    expect(json.techniques).toEqual(['share']);
    const paths = json.prelink.programs.map(({ path }: { path: string }) => path);
    expect(paths).toEqual([program, scene.fixed]);
    expect(json.prelink.kept).toEqual([]);
    const [{ figures }] = json.prelink.programs;
    expect(figures).toMatchObject({ prelinked: 3, kept: 0 });
    expect(figures.applied).toBeGreaterThan(10 * figures.left);
    const shown = scene.good('image show', 'one').stdout;
    expect(shown).toContain(`${program}: would start with its copies now, from 0x`);
    expect(shown).toMatch(/left +\d+ to a function that is resolved at each start/);
  });

  it('starts it with copies, with its arguments, environment, name, threads and exit code', () => {
    for (const argv0 of ['main', 'another name', program]) {
      const env = { OWN: 'a value', NOTHING: '' };
      const plain = scene.start(['say', 'x'], { argv0, env: { ...env, WINNOW_SHOW: 'plain' } });
      expect(plain).toMatchObject({ status: 5, stderr: 'plain\n' });
      expect(plain.stdout).toMatch(/ a value 42 9 7\.000 1\n$/);
      expect(scene.start(['say', 'x'], { argv0, env })).toEqual({ ...plain, stderr: 'prelinked\n' });
    }
  });

  it('ends by the signal that the program ends by', () => {
    expect(scene.start(['die'])).toMatchObject({ status: null, signal: 'SIGUSR1' });
  });

  it('shows the originals’ names', () => {
    const plain = scene.start(['names'], plainly);
    expect(plain.stdout.split('\n').slice(0, 1)).toEqual([scene.library]);
    expect(plain.stdout.split('\n').length).toBeGreaterThan(4);
    expect(scene.start(['names'])).toEqual({ ...plain, stderr: 'prelinked\n' });
  });

  it('maps each copy where it was planned, and has fewer private pages', () => {
    const rva = linkedAt(readElfFile('/lib64/ld-linux-x86-64.so.2'));
    if (rva === undefined) throw new Error('no glibc');
    const argv = [program, 'say'];
    const { PATH } = process.env;
    const plain = measureStart({ program, argv, env: { PATH }, at: { rva } });
    const LD_AUDIT = join(scene.files, 'audit.so');
    const ours = measureStart({ program, argv, env: { PATH, LD_AUDIT }, at: { rva } });
    const identity = statSync(program, { bigint: true });
    const one = table().find(({ inode }) => inode === identity.ino);
    expect(one?.modules).toHaveLength(3);
    for (const { copy } of one?.modules ?? []) {
      const at = ours?.files.get(join(scene.files, copy?.file ?? '')) ?? 0;
      expect(at).toBeGreaterThanOrEqual(one?.area.start ?? Number.POSITIVE_INFINITY);
      expect(at).toBeLessThan(copy?.dynamic ?? 0);
    }
    expect(ours?.privateFilePages).toBeLessThan(plain?.privateFilePages ?? 0);
  });

  it.each([
    ['without random addresses', ['/usr/bin/setarch', '-R']],
    ['with the old order of mappings', ['/usr/bin/setarch', '-L']],
    ['with an unlimited stack', ['/bin/sh', '-c', 'ulimit -s unlimited; exec "$0" "$@"']],
    ['with little stack', ['/bin/sh', '-c', 'ulimit -s 256; exec "$0" "$@"']],
  ])('starts %s', (_, before) => {
    const plain = scene.start(['names'], { before, ...plainly });
    expect(plain).toMatchObject({ status: 0, stderr: 'plain\n' });
    expect(scene.start(['names'], { before })).toEqual({ ...plain, stderr: 'prelinked\n' });
  });

  it('starts 20 times under the kernel’s random addresses', () => {
    for (let i = 0; i < 20; i += 1)
      expect(scene.start(['say'])).toMatchObject({ status: 5, stderr: 'prelinked\n' });
  });

  it('is the module that is loaded to who opens the original by any path', () => {
    for (const path of ['libown.so', scene.library, join(scene.libraries, '..', 'lib', 'libown.so')])
      expect(scene.start(['open', path])).toEqual({
        status: 0,
        signal: null,
        stdout: '1\n',
        stderr: 'prelinked\n',
      });
  });

  it('is not shown to another namespace', () => {
    for (const path of ['libown.so', scene.library]) {
      const plain = scene.start(['namespace', path], plainly);
      expect(plain).toMatchObject({ status: 0, stdout: '0 30\n' });
      expect(scene.start(['namespace', path])).toEqual({ ...plain, stderr: 'prelinked\n' });
    }
  });

  it('is shown to children that it was made for, and to no others', () => {
    const child = (...words: readonly string[]) => scene.start(['child', ...words]);
    expect(child(scene.fixed, 'say')).toMatchObject({ status: 5, stderr: 'prelinked\n' });
    expect(child(program, 'child', scene.fixed, 'say')).toMatchObject({ status: 5, stderr: 'prelinked\n' });
    expect(child(other, 'say')).toMatchObject({ status: 5, stderr: 'plain\n' });
    // Who is none of them is not audited, and nor is what it starts.
    expect(child(other, 'child', program, 'say')).toMatchObject({ status: 5, stderr: 'plain\n' });
    expect(child('/bin/sh', '-c', `LD_BIND_NOW=1 '${program}' say`)).toMatchObject({
      status: 5,
      stderr: 'plain\n',
    });
  });

  it('is shown to a script’s interpreter', () => {
    const words = ['child', scene.script, 'more'];
    const plain = scene.start(words, plainly);
    expect(plain.stdout).toContain(`say|${scene.script}|more|script `);
    expect(scene.start(words)).toEqual({ ...plain, stderr: 'prelinked\n' });
  });

  it('runs by winnow run and stands winnow verify', () => {
    const ran = scene.winnow('run', '--name', 'one', '--', program, 'say');
    expect([ran.status, ran.stderr]).toEqual([5, 'prelinked\n']);
    expect(scene.winnow('verify', '--name', 'one', '--', program, 'die').stdout).toMatch(/^same: /);
  });

  it('gets other addresses by winnow image refresh', () => {
    const before = table()[0]?.area.start;
    scene.good('image refresh', 'one');
    expect(table()[0]?.area.start).not.toBe(before);
    expect(scene.start(['say'])).toMatchObject({ status: 5, stderr: 'prelinked\n' });
  });
});

describe('gcc-nm', () => {
  it('starts nm, which has other libraries', () => {
    const nm = realpathSync('/usr/bin/gcc-nm');
    const object = join(scene.folder, 'object.o');
    scene.gcc('-c', '-o', object, join(import.meta.dirname, 'fixtures', 'share', 'prelinked-library.c'));
    scene.good('record', '-q', '--name', 'nm', '--', nm, object);
    scene.good('build', '--name', 'nm', '--only', 'share', '--share', 'prelink');
    const launch = join(scene.store, 'images', 'nm', 'launch');
    const [plain, ours] = ['plain', 'auto'].map((show) =>
      spawnSync(launch, [object], { argv0: nm, encoding: 'utf8', env: { ...scene.env, WINNOW_SHOW: show } }),
    );
    expect(plain?.stdout).toContain('own_data');
    expect([ours?.status, ours?.stdout, ours?.stderr]).toEqual([0, plain?.stdout, '']);
  });
});

describe('winnow build --share', () => {
  const refuses = (...words: readonly string[]): unknown => {
    const ran = scene.winnow('build', '--name', 'one', ...words);
    return [ran.status, codeOf(ran)];
  };

  it('refuses what it cannot do', () => {
    const usage = [2, 'E_USAGE'];
    expect(refuses('--only', 'share', '--share', 'anyhow')).toEqual(usage);
    expect(refuses('--share', 'prelink')).toEqual(usage);
    expect(refuses('--only', 'prefetch,share', '--share', 'prelink')).toEqual(usage);
    expect(refuses('--only', 'share', '--share', 'prelink', '--variant', 'joined')).toEqual(usage);
    expect(refuses('--only', 'share', '--share', 'prelink', '--show', 'mounts')).toEqual(usage);
    expect(refuses('--only', 'share', '--share', 'prelink', '--root', '/')).toEqual(usage);
  });
});
