/** `winnow build --only share`, as a person uses it: the program starts linked, and is the same in all else. */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isRoot, ShareScene } from './share-scene.ts';
import { codeOf, WINNOW, winnowOn } from './support/winnow.ts';

const scene = new ShareScene();
afterAll(() => scene.remove());
const { program, other, winnow } = scene;

beforeAll(() => {
  scene.good('record', '-q', '--name', 'one', '--', program, 'child', other, 'nothing');
  scene.good('build', '--name', 'one', '--only', 'share');
});

interface Started {
  readonly status: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Starts the image's launcher, as an installed command would be. */
function start(show: string, argv0: string, words: readonly string[], env: NodeJS.ProcessEnv = {}): Started {
  const { status, signal, stdout, stderr } = spawnSync(scene.launcher('one'), words, {
    argv0,
    encoding: 'utf8',
    env: { ...scene.env, WINNOW_SHOW: show, ...env },
  });
  return { status, signal, stdout, stderr };
}

const ways = scene.mountable ? ['auto', 'mounts', 'audit'] : ['auto', 'audit'];

describe('an image of linked programs', () => {
  it('says what it holds', () => {
    const json = JSON.parse(scene.good('build', '--name', 'one', '--only', 'share', '--json').stdout);
    expect(json.techniques).toEqual(['share']);
    const paths = json.share.programs.map(({ path }: { path: string }) => path);
    expect(paths).toEqual([program, other]);
    const [{ figures }] = json.share.programs;
    expect(figures).toMatchObject({ modules: 4 });
    expect(figures.linkedPages).toBeGreaterThan(10);
    expect(figures.maps).toBeLessThan(figures.loaderMaps + 3);
    const shown = scene.good('image show', 'one').stdout;
    expect(shown).toMatch(/^does {7}share$/m);
    expect(shown).toContain(`${program}: would start linked now`);
    expect(shown).toMatch(/^ {2}each start writes .*stack-guard/m);
    expect(shown).toMatch(/guards .* all hold$/m);
  });

  it('tells at once which programs would not start linked, and why', () => {
    const asking = join(scene.folder, 'asking');
    const source = join(scene.folder, 'asking.c');
    writeFileSync(source, '#include <stdio.h>\nint main(void) { return puts("/proc/self/exe") < 0; }\n');
    scene.gcc('-o', asking, source);
    const built = (store: string): string => {
      const on = winnowOn(store);
      expect(on('record', ['-q', '--name', 'asking', '--', asking])).toMatchObject({ status: 0 });
      return on('build', ['--name', 'asking', '--only', 'share']).stdout;
    };
    const closed = join(scene.folder, 'closed');
    mkdirSync(closed, { mode: 0o700 });
    const told = built(join(closed, 'store'));
    expect(told).toMatch(/^1 program linked/m);
    expect(told).toContain(
      `would start by their own loader now:\n  1 program: its copy must be mounted ${isRoot ? 'from a folder that everybody can search' : 'over it, which root alone can do'}`,
    );
    expect(told).toContain(`(${asking})\n`);
    if (scene.mountable) expect(built(scene.store)).not.toContain('own loader now');
  });

  it.each(ways)(
    'starts it linked (%s), with its arguments, environment, name, threads and exit code',
    (show) => {
      for (const argv0 of ['main', 'another name', program]) {
        const env = { OWN: 'a value', NOTHING: '' };
        const plain = start('plain', argv0, ['say'], env);
        expect(plain).toMatchObject({ status: 5, stderr: 'plain\n' });
        expect(start(show, argv0, ['say'], env)).toEqual({ ...plain, stderr: 'linked\n' });
      }
    },
  );

  it.each(ways)('ends by the signal that the program ends by (%s)', (show) => {
    expect(start(show, 'main', ['die'])).toMatchObject({ status: null, signal: 'SIGUSR1' });
  });

  it.runIf(scene.mountable)('is the program to itself and to others where it is mounted', () => {
    expect(start('mounts', 'main', ['self'])).toMatchObject({ stdout: `${program}\n`, stderr: 'linked\n' });
  });

  it('keeps its name where it is executed from the image', () => {
    const at = start('audit', 'main', ['self']);
    expect(at.stderr).toBe('linked\n');
    expect(at.stdout).toMatch(/\/direct\/main\n$/);
  });

  it.runIf(scene.mountable)('starts children of the recorded tree linked, where they are mounted', () => {
    const ran = start('mounts', 'main', ['child', other, 'say']);
    expect(ran).toMatchObject({ status: 5, stderr: 'linked\n' });
    expect(start('audit', 'main', ['child', other, 'say'])).toMatchObject({ status: 5, stderr: 'plain\n' });
  });

  it.runIf(scene.mountable)('lets children become other users', () => {
    const words = ['child', '/usr/bin/setpriv', '--reuid=65534', '--clear-groups', other, 'say'];
    expect(start('mounts', 'main', words)).toMatchObject({ status: 5, stderr: 'linked\n' });
    // Whom the folder keeps out gets the program as ever: nothing is mounted.
    chmodSync(join(scene.store, 'images'), 0o700);
    try {
      expect(start('mounts', 'main', words)).toMatchObject({ status: 5, stderr: 'plain\n' });
      expect(start('auto', 'main', ['say'])).toMatchObject({ status: 5, stderr: 'linked\n' });
      expect(start('auto', 'main', ['self']).stdout).toMatch(/\/direct\/main\n$/);
    } finally {
      chmodSync(join(scene.store, 'images'), 0o755);
    }
  });

  it('starts 20 times under the kernel’s random addresses', () => {
    for (let i = 0; i < 20; i += 1)
      expect(start('auto', 'main', ['say'])).toMatchObject({ status: 5, stderr: 'linked\n' });
  });

  it('runs by winnow run and stands winnow verify', () => {
    const ran = winnow('run', '--name', 'one', '--', program, 'say');
    expect([ran.status, ran.stderr]).toEqual([5, 'linked\n']);
    expect(scene.good('verify', '--name', 'one', '--', program, 'die').stdout).toMatch(/^same: /);
  });

  it('comes with the prefetch of its own files', () => {
    scene.good('record', '-q', '--name', 'both', '--', program, 'nothing');
    scene.good('build', '--name', 'both', '--only', 'prefetch,share');
    const { plan } = JSON.parse(scene.good('image show', 'both', '--json').stdout);
    const paths: string[] = plan.files.map(({ path }: { path: string }) => path);
    expect(paths).not.toContain(program);
    for (const end of ['share-00-main', 'share-00-main.linked', 'share-00-main.restore'])
      expect(paths.some((path) => path.endsWith(`/${end}`))).toBe(true);
    const ran = spawnSync(scene.launcher('both'), ['say'], { encoding: 'utf8', env: scene.env });
    expect([ran.status, ran.stderr]).toEqual([5, 'linked\n']);
  });

  it.runIf(scene.mountable)('links the rewritten modules, where there are any', () => {
    scene.good('record', '-q', '--functions', '--name', 'all', '--', program, 'nothing');
    scene.good('build', '--name', 'all', '--only', 'prefetch,select,share');
    const { manifest, modules, programs } = JSON.parse(scene.good('image show', 'all', '--json').stdout);
    expect(manifest.techniques).toEqual(['prefetch', 'select', 'share']);
    expect(modules.modules.map((one: { path: string }) => one.path)).toContain(program);
    expect(programs.map((one: { refused?: string }) => one.refused)).toEqual([undefined]);
    const begin = (show: string) => {
      const env = { ...scene.env, OWN: 'x', WINNOW_SHOW: show };
      const { status, stdout, stderr } = spawnSync(scene.launcher('all'), ['say'], {
        argv0: 'main',
        encoding: 'utf8',
        env,
      });
      return [status, stdout, stderr];
    };
    for (const show of ['auto', 'mounts']) expect(begin(show)).toEqual([5, 'main main x 42 3\n', 'linked\n']);
    // Without mounts there are the rewritten libraries, or none of it.
    for (const show of ['audit', 'plain']) expect(begin(show)).toEqual([5, 'main main x 42 3\n', 'plain\n']);
    expect(scene.good('verify', '--name', 'all', '--', program, 'die').stdout).toMatch(/^same: /);
  });

  it.runIf(scene.mountable)('links a program for the LD_LIBRARY_PATH that it was recorded with', () => {
    const value = `LD_LIBRARY_PATH=${scene.first}`;
    scene.good('record', '-q', '--name', 'path', '--', 'env', value, program, 'nothing');
    scene.good('build', '--name', 'path', '--only', 'share');
    expect(scene.good('image show', 'path').stdout).toContain(`  linked for ${value}\n`);
    const { programs } = JSON.parse(scene.good('image show', 'path', '--json').stdout);
    expect(programs.map((one: { refused?: string }) => one.refused)).toEqual([undefined, undefined]);
    const under = (...words: string[]) =>
      spawnSync(scene.launcher('path'), [...words, program, 'say'], { encoding: 'utf8', env: scene.env });
    expect(under(value)).toMatchObject({ status: 5, stderr: 'linked\n' });
    expect(under(`${value}:`)).toMatchObject({ status: 5, stderr: 'plain\n' });
    expect(under()).toMatchObject({ status: 5, stderr: 'plain\n' });
  });

  it.each([['-R'], ['-L'], ['-RL']])('is built where addresses are not random: setarch %s', (flags) => {
    scene.good('record', '-q', '--name', 'fixed', '--', program, 'nothing');
    const words = [flags, WINNOW, 'build', '--store', scene.store, '--name', 'fixed', '--only', 'share'];
    const built = spawnSync('setarch', words, { encoding: 'utf8', env: scene.env });
    expect([built.status, built.stdout]).toEqual([0, expect.stringContaining('1 program linked')]);
    const linked = { status: 5, stderr: 'linked\n' };
    expect(spawnSync(scene.launcher('fixed'), ['say'], { encoding: 'utf8' })).toMatchObject(linked);
    // The legacy layout has the vDSO below, where the loader's table of modules does not have it.
    const again = spawnSync('setarch', [flags, scene.launcher('fixed'), 'say'], { encoding: 'utf8' });
    expect(again).toMatchObject(flags.includes('L') ? { status: 5 } : linked);
    const [{ misses }] = JSON.parse(scene.good('image show', 'fixed', '--json').stdout).programs;
    const isPlain = again.stderr === 'plain\n';
    expect(misses.causes).toEqual(isPlain ? [{ cause: 'address', starts: 1 }] : []);
  });

  it('executes a program that is alone, and mounts nothing', () => {
    scene.good('record', '-q', '--name', 'alone', '--', program, 'nothing');
    scene.good('build', '--name', 'alone', '--only', 'share');
    const ran = spawnSync(scene.launcher('alone'), ['self'], { encoding: 'utf8', env: scene.env });
    expect(ran).toMatchObject({ status: 0, stderr: 'linked\n' });
    expect(ran.stdout).toMatch(/\/direct\/main\n$/);
  });

  it('has other addresses after winnow image refresh', () => {
    const addresses = (): string[] => {
      const { programs } = JSON.parse(scene.good('image show', 'one', '--json').stdout);
      return programs.map((one: { addresses: { program: string } }) => one.addresses.program);
    };
    const before = addresses();
    const folder = readlinkSync(scene.image('one'));
    expect(scene.good('image refresh', '--stale').stderr).toBe('');
    expect(readlinkSync(scene.image('one'))).toBe(folder);
    expect(scene.good('image refresh', 'one').stderr).toContain('refreshed one\n');
    expect(readlinkSync(scene.image('one'))).not.toBe(folder);
    expect(addresses()).not.toEqual(before);
    expect(start('auto', 'main', ['say'])).toMatchObject({ status: 5, stderr: 'linked\n' });
  });

  it('takes small libraries unless none is to be taken, says so, and stays so when it is refreshed', () => {
    scene.good('record', '-q', '--name', 'small', '--', program, 'nothing');
    const own = () => {
      const { manifest } = JSON.parse(scene.good('image show', 'small', '--json').stdout);
      const [{ taken, figures }] = manifest.share.programs;
      const options = { argv0: 'main', encoding: 'utf8', env: { ...scene.env, OWN: 'x' } } as const;
      const ran = spawnSync(scene.launcher('small'), ['say'], options);
      expect(ran).toMatchObject({ status: 5, stdout: 'main main x 42 3\n', stderr: 'linked\n' });
      return { taken, pages: figures.pages };
    };
    const said = scene.good('build', '--name', 'small', '--only', 'share').stdout;
    expect(said).toMatch(/^taken into the image: 1 small library, \S+ KiB of code and constants$/m);
    expect(scene.good('image show', 'small').stdout).toMatch(/^ {2}taken {6}1 small library, .* not shared/m);
    expect(scene.good('image refresh', 'small').stderr).toContain('refreshed small\n');
    const auto = own();
    expect(auto.taken).toEqual({ libraries: 1, bytes: expect.any(Number) });
    const files = scene.good('build', '--name', 'small', '--only', 'share', '--variant', 'files').stdout;
    expect(files).not.toContain('taken');
    expect(scene.good('image refresh', 'small').stderr).toContain('refreshed small\n');
    const { taken, pages } = own();
    expect(taken).toBeUndefined();
    expect(pages).toBeLessThan(auto.pages);
    // Some of its pages are in the image without that, beside written ones.
    expect(pages).toBeGreaterThanOrEqual(auto.pages - auto.taken.bytes / 4096);
  });

  it('joins modules where that is asked for, says at what price, and stays so when it is refreshed', () => {
    scene.good('record', '-q', '--name', 'joined', '--', program, 'nothing');
    scene.good('build', '--name', 'joined', '--only', 'share', '--variant', 'joined');
    const begin = () =>
      spawnSync(scene.launcher('joined'), ['say'], {
        argv0: 'main',
        encoding: 'utf8',
        env: { ...scene.env, OWN: 'x' },
      });
    const same = { status: 5, stdout: 'main main x 42 3\n', stderr: 'linked\n' };
    expect(begin()).toMatchObject(same);
    expect(scene.good('image show', 'joined').stdout).toMatch(
      /^ {2}joined {5}\S+ KiB of code .* own; \S+ MiB stay .* shared .*; \S+ KiB .* executable$/m,
    );
    expect(scene.good('image refresh', 'joined').stderr).toContain('refreshed joined\n');
    const { manifest } = JSON.parse(scene.good('image show', 'joined', '--json').stdout);
    const [{ joined, figures, linked }] = manifest.share.programs;
    expect(joined.copied).toBeGreaterThan(statSync(scene.library).size);
    expect(figures.bytes).toBeGreaterThan(joined.copied);
    const { size, blocks } = statSync(join(scene.image('joined'), linked));
    expect(size).toBe(figures.bytes);
    expect(blocks * 512).toBeLessThan(size);
    expect(begin()).toMatchObject(same);
    expect(scene.good('verify', '--name', 'joined', '--', program, 'die').stdout).toMatch(/^same: /);
  });

  it('fetches of a joined image what was recorded of the libraries that it has, and not these', () => {
    scene.good('record', '-q', '--name', 'fetched', '--', program, 'nothing');
    scene.good('build', '--name', 'fetched', '--only', 'prefetch,share', '--variant', 'joined');
    const { plan, manifest } = JSON.parse(scene.good('image show', 'fetched', '--json').stdout);
    const [{ figures, joined }] = manifest.share.programs;
    const pagesOf = (file: { extents: { count: number }[] }): number =>
      file.extents.reduce((sum, { count }) => sum + count, 0);
    const files: { path: string; extents: { count: number }[] }[] = plan.files;
    expect(files.map(({ path }) => path)).not.toContain(scene.library);
    // Its code stays in the file, what linking wrote does not.
    const libc = files.find(({ path }) => path.endsWith('/libc.so.6'));
    expect(libc === undefined ? 0 : pagesOf(libc)).toBeGreaterThan(10);
    expect((libc === undefined ? 0 : pagesOf(libc)) * 4096).toBeLessThan(joined.shared);
    const linked = files.find(({ path }) => path.endsWith('/share-00-main.linked'));
    const fetched = linked === undefined ? 0 : pagesOf(linked);
    expect(fetched).toBeGreaterThan(figures.linkedPages);
    expect(fetched * 4096).toBeLessThanOrEqual(figures.bytes);
    const options = { argv0: 'main', encoding: 'utf8', env: { ...scene.env, OWN: 'x' } } as const;
    const ran = spawnSync(scene.launcher('fetched'), ['say'], options);
    expect(ran).toMatchObject({ status: 5, stdout: 'main main x 42 3\n', stderr: 'linked\n' });
  });

  it('chooses addresses at each start where that is asked for, says how many there are, and stays so', () => {
    scene.good('record', '-q', '--name', 'slid', '--', program, 'nothing');
    expect(scene.good('image show', 'one').stdout).toMatch(/^ {2}addresses {2}.* the same at each start/m);
    for (const refreshed of [false, true]) {
      if (refreshed) expect(scene.good('image refresh', 'slid').stderr).toContain('refreshed slid\n');
      else scene.good('build', '--name', 'slid', '--only', 'share', '--slide');
      expect(scene.good('image show', 'slid').stdout).toMatch(
        /^ {2}addresses {2}other ones at each start: 3\d random bits for the program, 3\d .*; \d+ pages/m,
      );
      const { manifest } = JSON.parse(scene.good('image show', 'slid', '--json').stdout);
      const [{ slide, figures }] = manifest.share.programs;
      expect(slide.pages).toBeGreaterThan(5);
      expect(slide.pages).toBeLessThanOrEqual(figures.linkedPages);
      const options = { argv0: 'main', encoding: 'utf8', env: { ...scene.env, OWN: 'x' } } as const;
      const ran = spawnSync(scene.launcher('slid'), ['say'], options);
      expect(ran).toMatchObject({ status: 5, stdout: 'main main x 42 3\n', stderr: 'linked\n' });
    }
    expect(scene.good('verify', '--name', 'slid', '--', program, 'die').stdout).toMatch(/^same: /);
  });

  it('says why no page is left to be relocated when it is touched, and stays so', () => {
    scene.good('record', '-q', '--name', 'paged', '--', program, 'nothing');
    for (const words of [
      ['build', '--name', 'paged', '--only', 'share', '--slide', '--page-in'],
      ['image refresh', 'paged'],
    ]) {
      const [command = '', ...rest] = words;
      scene.good(command, ...rest);
      expect(scene.good('image show', 'paged').stdout).toContain(
        ', all from the start on: fewer than 32 read-only pages hold addresses',
      );
      const { manifest } = JSON.parse(scene.good('image show', 'paged', '--json').stdout);
      expect(manifest.share.programs[0].slide.pageIn.kind).toBe('kept');
    }
  });

  it('is as private as the store, but for what its programs are to everybody', () => {
    const mode = (name: string): number => statSync(join(scene.image('one'), name)).mode & 0o777;
    expect(['.', 'share-00-main.linked', 'share-00-main.restore', 'direct'].map(mode)).toEqual([
      0o755, 0o644, 0o755, 0o755,
    ]);
    expect(mode('share-00-main')).toBe(statSync(program).mode & 0o755);
    expect(readdirSync(join(scene.image('one'), 'direct'))).toEqual(['main']);
    expect(existsSync(join(scene.image('one'), 'audit.so'))).toBe(false);
  });

  it.each([
    [['--only', 'select,share', '--cold', 'store']],
    [['--only', 'select,share', '--show', 'audit']],
    [['--only', 'share', '--cold', 'deny']],
    [['--only', 'share', '--variant', 'both']],
    [['--variant', 'joined']],
    [['--slide']],
    [['--only', 'share', '--page-in']],
  ])('is refused with %j', (words) => {
    const ran = winnow('build', '--name', 'one', ...words);
    expect([ran.status, codeOf(ran), ran.stdout]).toEqual([2, 'E_USAGE', '']);
  });

  it.runIf(isRoot).each(['deny', 'store'])(
    'says why there is none with --cold %s, and builds nothing',
    (cold) => {
      const before = readlinkSync(scene.image('one'));
      for (const techniques of ['select,share', 'prefetch,select,share']) {
        const ran = winnow('build', '--name', 'one', '--only', techniques, '--cold', cold);
        expect([ran.status, codeOf(ran)]).toEqual([2, 'E_USAGE']);
        expect(ran.stderr).toContain(
          `programs with --cold ${cold} need audit.so in their process, which those that start linked do not load`,
        );
      }
      expect(readlinkSync(scene.image('one'))).toBe(before);
      // By way of the audit object nothing starts linked, so nobody misses the report.
      expect(start('auto', 'main', ['say'], { LD_AUDIT: '/none' }).stderr).toMatch(/plain\n$/);
    },
  );
});
