/** Programs find the image's modules in place of the originals, by either way, and see nothing else of it. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, it, test } from 'vitest';
import {
  AS_NOBODY,
  asRoot,
  BOTH,
  compile,
  LIBRARY_ONLY,
  ModulesScene,
  NEITHER,
  type StartOptions,
} from './modules-scene.ts';

const scene = new ModulesScene();
const { program, plugin, library, soname, linkName } = scene;
afterAll(() => scene.drop());

const enter = [...AS_NOBODY, '/usr/bin/unshare', '-Um', 'true'];
const canEnterUserNamespace =
  process.env.CI !== undefined || spawnSync(enter[0] ?? '', enter.slice(1)).status === 0;

interface Way {
  readonly what: string;
  readonly can: boolean;
  readonly options: StartOptions;
  /** Whether the program itself is shown too. */
  readonly program: boolean;
}

const WAYS: readonly Way[] = [
  { what: 'mounts (needs root)', can: asRoot, options: { show: 'mounts' }, program: true },
  {
    what: 'mounts in a user namespace (needs that)',
    can: canEnterUserNamespace,
    options: { show: 'user-mounts', as: AS_NOBODY },
    program: true,
  },
  { what: 'audit', can: true, options: { show: 'audit' }, program: false },
  {
    what: 'audit as another user (needs root)',
    can: asRoot,
    options: { show: 'audit', as: AS_NOBODY },
    program: false,
  },
];

describe.each(WAYS)('shown by $what', ({ can, options, ...way }) => {
  const it = test.skipIf(!can);

  const start = (...words: readonly string[]) => {
    const { stdout, stderr, status } = scene.start(words, options);
    expect({ stderr, status }).toEqual({ stderr: '', status: 0 });
    return stdout;
  };
  /** The same without the launcher. */
  const plainly = (...words: readonly string[]) =>
    spawnSync(program, words, { encoding: 'utf8', env: {} }).stdout;
  const first = (text: string) => text.replaceAll('second', 'first');

  it('are the program where that can be, and a library found by RPATH through two links, under their names', () => {
    expect(scene.editions(options)).toBe(way.program ? BOTH : LIBRARY_ONLY);
    expect(first(start())).toBe(plainly());
    expect(start()).toContain(`library second ${soname}\n`);
  });

  it('is a plugin opened by its path, however that is written', () => {
    const spelled = [plugin, join(dirname(plugin), '..', 'plugins', 'plugin.so'), linkName, library];
    const seen = start('open', ...spelled);
    expect(seen.match(/second/g)).toHaveLength(4);
    expect(first(seen)).toBe(plainly('open', ...spelled));
  });

  it('is a plugin opened by a relative path', () => {
    const cwd = dirname(plugin);
    const seen = scene.start(['open', './plugin.so'], { ...options, cwd }).stdout;
    expect(seen).toBe(`./plugin.so origin ${cwd}/.: second plugin ./plugin.so\n`);
  });

  it('is a plugin opened by a program that has filtered its system calls', () => {
    const env = { LD_LIBRARY_PATH: scene.lib };
    const seen = scene.start(['confined', plugin, 'libshown.so', 'none.so'], { ...options, env });
    expect([seen.status, seen.signal]).toEqual([0, null]);
    expect(seen.stdout.match(/second/g)).toHaveLength(2);
  });

  it('is a library found by LD_LIBRARY_PATH', () => {
    const env = { LD_LIBRARY_PATH: dirname(plugin) };
    const seen = scene.start(['open', 'plugin.so', 'none.so'], { ...options, env }).stdout;
    expect(seen).toContain(`${plugin} origin ${dirname(plugin)}: second plugin ${plugin}\n`);
    expect(seen).toContain('none.so: cannot open shared object file: No such file or directory');
  });

  it.each([
    ...['execve', 'execv', 'execvp', 'execvpe', 'execl', 'execle', 'execlp', 'no-environment'],
    ...['posix_spawn', 'posix_spawnp', 'vfork', 'system', 'popen'],
  ])('is there for children by %s', (how) => {
    expect(start('exec', how, program)).toContain(`library second ${soname}\n`);
  });

  it('is there for children of scripts and shells', () => {
    const script = join(scene.folder, 'script');
    const env = join(scene.folder, 'env-script');
    writeFileSync(script, `#! /bin/sh -e\n${program}\n`, { mode: 0o755 });
    writeFileSync(env, `#!/usr/bin/env sh\n'${script}' && env -i '${program}'\n`, { mode: 0o755 });
    expect(start('exec', 'execv', env).match(/library second/g)).toHaveLength(2);
  });

  it('leaves the environment as it was, of the program and of children', () => {
    const env = { A: '1', B: '', ODD: 'x=y', LAST: 'z' };
    const words = Object.entries(env).map(([name, value]) => `${name}=${value}\n`);
    const seen = (...args: readonly string[]) => scene.start(args, { ...options, env }).stdout;
    expect(seen('env')).toBe(words.join(''));
    expect(seen('exec', 'execv', program, 'env')).toBe(words.join(''));
    // The audit object cannot shorten what the kernel keeps.
    expect(seen('environ').replace(/\n+$/, '\n')).toBe(words.join(''));
    expect(scene.start(['env'], options).stdout).toBe('');
  });

  it('leaves the names of the program as they were', () => {
    const seen = (file: string, more: StartOptions) =>
      scene.start(['names'], { ...more, launch: file, argv0: 'any name', cwd: '/usr/lib' }).stdout;
    // With somebody in front argv[0] is theirs to say.
    if (options.as?.length) return expect(start('names')).toContain(`exe ${program}\n`);
    expect(seen(scene.launch, options)).toBe(seen(program, {}));
  });

  it('ends as the program ends', () => {
    expect(scene.start(['exit', '37'], options).status).toBe(37);
    expect(scene.start(['kill', '15'], options).signal).toBe('SIGTERM');
  });
});

describe('chosen by the launcher itself', () => {
  it.skipIf(!asRoot)('are mounts for root (needs root)', () => {
    expect(scene.editions()).toBe(BOTH);
    expect(scene.editions({ show: 'auto' })).toBe(BOTH);
  });

  it('is the audit object for others', () => {
    expect(scene.editions({ as: AS_NOBODY })).toBe(LIBRARY_ONLY);
  });

  it.skipIf(!asRoot)('is the audit object for root without the right to mount (needs root)', () => {
    const as = ['/usr/bin/setpriv', '--bounding-set', '-sys_admin', '--'];
    expect(scene.editions({ as })).toBe(LIBRARY_ONLY);
    expect(scene.editions({ as, show: 'mounts' })).toBe(NEITHER);
  });

  it.each(['refused', 'killed'])('is the audit object where a filter says that mounting is %s', (what) => {
    expect(scene.editions({ as: [program, 'try-to-die', what] })).toBe(LIBRARY_ONLY);
  });

  it.skipIf(!asRoot)('are the originals where a filter refuses and mounts are asked for (needs root)', () => {
    expect(scene.editions({ as: [program, 'try-to-die', 'refused'], show: 'mounts' })).toBe(NEITHER);
  });

  it.each([
    ['plain', NEITHER],
    ['audit', LIBRARY_ONLY],
  ] as const)('is what the image says: %s', (show, expected) => {
    scene.writeTable(scene.modules(), show);
    expect(scene.editions()).toBe(expected);
    scene.reset();
  });

  it('is what the caller says, and nothing that is unknown', () => {
    scene.writeTable(scene.modules(), 'plain');
    expect(scene.editions({ show: 'audit' })).toBe(LIBRARY_ONLY);
    expect(scene.editions({ env: { WINNOW_SHOW: 'audits' } })).toBe(NEITHER);
    expect(scene.start(['env'], { env: { WINNOW_SHOW: 'audits', A: '1' } }).stdout).toBe('A=1\n');
    scene.reset();
  });

  it.skipIf(!asRoot)('are the originals in a confined domain of SELinux (needs root)', () => {
    const script =
      'mount -t tmpfs none /sys/fs && mkdir /sys/fs/selinux && echo 1 > /sys/fs/selinux/enforce && exec "$@"';
    const as = ['/usr/bin/unshare', '-m', '/bin/sh', '-c', script, 'sh'];
    expect(scene.editions({ as })).toBe(NEITHER);
    expect(scene.editions({ as: as.map((word) => word.replace('echo 1', 'echo 0')) })).toBe(BOTH);
  });
});

describe('a module that asks for its own folder', () => {
  // A plugin that needs a library beside it, which it finds by $ORIGIN.
  const folder = join(scene.folder, 'origin');
  const path = join(folder, 'asking.so');
  const image = join(scene.folder, 'images', '.origin@0123456789ab');
  const compiled = (to: string, edition: string) => {
    const shared = ['-shared', '-fPIC', '-w'];
    const beside = join(dirname(to), 'libbeside.so');
    compile(beside, 'shown-library.c', ...shared, `-DROLE="${edition} beside"`, '-Wl,-soname,libbeside.so');
    compile(to, 'shown-library.c', ...shared, `-DROLE="${edition} asking"`, beside, '-Wl,-rpath,$ORIGIN/.');
  };
  mkdirSync(folder);
  compiled(path, 'first');
  compiled(join(scene.folder, 'second', 'asking.so'), 'second');
  rmSync(join(scene.folder, 'second', 'libbeside.so'));
  scene.fill(image, []);
  copyFileSync(join(scene.folder, 'second', 'asking.so'), join(image, 'asking'));
  const row = scene.module(path, 'asking');
  const replacementSize = statSync(join(image, 'asking')).size;
  scene.writeTable([{ ...row, replacementSize, usesOrigin: true }], 'auto', image);

  const expectFound = (show: 'audit' | 'mounts') => {
    const start = (words: readonly string[], cwd = '/') =>
      scene.start(words, { show, launch: join(image, 'launch'), cwd }).stdout;
    expect(start(['open', path])).toBe(`${path} origin ${folder}: second asking ${path}\n`);
    expect(start(['open', './asking.so'], folder)).toContain(`origin ${folder}/.: second asking ./asking.so`);
    expect(start(['open', 'asking.so', `${folder}/../origin/asking.so`], folder)).toContain(
      `origin ${folder}/../origin: second asking`,
    );
  };

  it('finds what stands beside the original under audit', () => expectFound('audit'));

  it.skipIf(!asRoot)('finds it by mounts (needs root)', () => expectFound('mounts'));
});

it('is all the same where the folder of plugins is deep and its name long', () => {
  // The answer to a name with a slash is made as long as the name, which is then put in its place.
  const deep = join(scene.folder, ...Array.from({ length: 12 }, (_, index) => `a-rather-long-name-${index}`));
  mkdirSync(deep, { recursive: true });
  const path = join(deep, 'plugin.so');
  copyFileSync(plugin, path);
  scene.writeTable([scene.module(path, 'plugin')]);
  const seen = scene.start(['open', path], { show: 'audit' }).stdout;
  expect(seen).toContain(`second plugin ${path}\n`);
  scene.reset();
});
