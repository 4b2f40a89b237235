/** What the machine notices of modules that are shown, and in which places they can be: mounts, roots, namespaces. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
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
const { program, plugin, image, launch, folder } = scene;
afterAll(() => scene.drop());

/** In front of a launcher: runs shell commands in a mount namespace of their own first. */
const after = (script: string, ...unshare: readonly string[]): readonly string[] => [
  '/usr/bin/unshare',
  '-m',
  ...unshare,
  '/bin/sh',
  '-ec',
  `${script}; exec "$@"`,
  'sh',
];

/** Starts the program, which waits and then opens the plugin; `go` lets it. */
async function waiting(options: StartOptions) {
  const flag = join(folder, 'go');
  rmSync(flag, { force: true });
  const [file = '', ...words] = [...(options.as ?? []), launch, 'wait', flag, plugin];
  const child: ChildProcess = spawn(file, words, {
    env: { WINNOW_SHOW: options.show },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout?.setEncoding('utf8').on('data', (more) => {
    text += more;
  });
  await expect.poll(() => text, { timeout: 10_000 }).toContain('ready');
  const go = async (): Promise<string> => {
    writeFileSync(flag, '');
    await once(child, 'close');
    return text.slice('ready\n'.length);
  };
  return { pid: child.pid ?? 0, go };
}

const mountsOf = (pid: number | 'self'): string => readFileSync(`/proc/${pid}/mountinfo`, 'utf8');
const namespaceOf = (pid: number | 'self'): string => readlinkSync(`/proc/${pid}/ns/mnt`);

describe.skipIf(!asRoot)('mounts (need root)', () => {
  it('are seen by nobody else, and go with the program', async () => {
    const before = mountsOf('self');
    const { pid, go } = await waiting({ show: 'mounts' });
    expect(mountsOf('self')).toBe(before);
    expect(namespaceOf(pid)).not.toBe(namespaceOf('self'));
    expect(
      mountsOf(pid)
        .split('\n')
        .filter((line) => line.includes(image)),
    ).toHaveLength(3);
    expect(await go()).toContain('second plugin');
    expect(mountsOf('self')).toBe(before);
  });

  it('keep the program from replacing an original, and nobody else', () => {
    const move = `cp '${scene.library}' '${scene.library}.new' && mv '${scene.library}.new' '${scene.library}'`;
    const inside = scene.start(['exec', 'execvp', 'sh', '-c', move], { show: 'mounts' });
    expect(inside.stderr).toContain('Device or resource busy');
    expect(scene.editions({ show: 'mounts' })).toBe(BOTH);
    // From outside, while the program is there: what it starts then gets the new file.
    const child = `'${program}'; : > '${folder}/a'; while [ ! -e '${folder}/b' ]; do sleep 0.01; done; '${program}'`;
    const script = `
      '${launch}' exec execvp sh -ec "$1" &
      while [ ! -e '${folder}/a' ]; do sleep 0.01; done; ${move}; : > '${folder}/b'; wait`;
    const env = { ...process.env, WINNOW_SHOW: 'mounts' };
    const done = spawnSync('sh', ['-ec', script, 'sh', child], { encoding: 'utf8', env });
    expect(done.stdout.match(/library \w+/g)).toEqual(['library second', 'library first']);
    scene.reset();
  });

  it('let in what the host mounts later, and nothing out, where mounts are shared', () => {
    const place = join(folder, 'place');
    const [outside, inside] = [join(place, 'outside'), join(place, 'inside')];
    for (const path of [outside, inside]) mkdirSync(path, { recursive: true });
    // Both sides wait for each other by files outside of what they mount.
    const script = `
      wait_for() { while [ ! -e "$1" ]; do sleep 0.01; done; }
      mount -t tmpfs none '${place}'; mkdir '${outside}' '${inside}'; mount --make-shared '${place}'
      '${launch}' exec execvp sh -c '
        grep -c "${image}" /proc/self/mountinfo
        : > "${folder}/1"; while [ ! -e "${folder}/2" ]; do sleep 0.01; done
        ls "${outside}"; mount -t tmpfs none "${inside}"; : > "${inside}/from-inside"; ls "${inside}"; : > "${folder}/3"' &
      wait_for '${folder}/1'; mount -t tmpfs none '${outside}'; : > '${outside}/from-outside'; : > '${folder}/2'
      wait_for '${folder}/3'; wait; ls '${inside}'; echo end; grep -c '${image}' /proc/self/mountinfo || true`;
    const words = ['-m', '--propagation', 'shared', 'sh', '-ec', script];
    const done = spawnSync('unshare', words, {
      encoding: 'utf8',
      env: { ...process.env, WINNOW_SHOW: 'mounts' },
    });
    expect(done.stderr).toBe('');
    expect(done.stdout).toBe('3\nfrom-outside\nfrom-inside\nend\n0\n');
  });

  it('work where the caller is in a folder that lies on another mount, or is gone', () => {
    const place = join(folder, 'mounted');
    mkdirSync(place);
    const as = after(`mount -t tmpfs none '${place}'; mkdir '${place}/a'; cd '${place}/a'`);
    const seen = scene.start(['names'], { show: 'mounts', as }).stdout;
    expect(seen).toContain(`cwd ${place}/a\n`);
    const gone = after(`mount -t tmpfs none '${place}'; mkdir '${place}/a'; cd '${place}/a'; rmdir ../a`);
    expect(scene.editions({ show: 'mounts', as: gone })).toBe(BOTH);
  });

  it('work for process 1 and below it', () => {
    const as = ['/usr/bin/unshare', '-pf', '--mount-proc', '--'];
    expect(scene.editions({ show: 'mounts', as })).toBe(BOTH);
    const seen = scene.start(['exec', 'execvp', 'sh', '-c', `echo $$; '${program}'`], { show: 'mounts', as });
    expect(seen.stdout).toMatch(/^1\nprogram second\nlibrary second/);
  });

  it('work over files on overlayfs', () => {
    const upper = join(folder, 'upper');
    mkdirSync(upper);
    const script = `
      mount -t tmpfs none '${upper}' && mkdir '${upper}/u' '${upper}/w'
      mount -t overlay -o 'lowerdir=${scene.lib},upperdir=${upper}/u,workdir=${upper}/w' none '${scene.lib}'`;
    const as = after(script);
    for (const [show, expected] of [
      ['mounts', BOTH],
      ['audit', LIBRARY_ONLY],
    ] as const)
      expect(scene.editions({ show, as })).toBe(expected);
  });

  it('are not tried in a root that is no mount; there it is the audit object', () => {
    const root = join(folder, 'root');
    const put = (from: string) => {
      mkdirSync(join(root, dirname(from)), { recursive: true });
      copyFileSync(from, join(root, from));
    };
    for (const path of ['/lib64/ld-linux-x86-64.so.2', '/lib/x86_64-linux-gnu/libc.so.6', program]) put(path);
    mkdirSync(join(root, scene.lib), { recursive: true });
    spawnSync('cp', ['-a', `${scene.lib}/.`, join(root, scene.lib)]);
    const inside = join(root, image);
    const rows = [
      { ...scene.module(join(root, scene.library), 'library'), path: scene.library },
      { ...scene.module(join(root, program), 'program-copy', 'program'), path: program },
    ];
    scene.fill(inside, rows);
    const start = (show: 'auto' | 'mounts') =>
      scene.editions({ show, as: ['/usr/sbin/chroot', root], launch });
    expect(start('auto')).toBe(LIBRARY_ONLY);
    expect(start('mounts')).toBe(NEITHER);
    const before = mountsOf('self');
    const bound = after(`mount --bind '${root}' '${root}'; cd '${root}'; set -- /usr/sbin/chroot . "$@"`);
    expect(scene.editions({ show: 'auto', as: bound, launch })).toBe(BOTH);
    expect(mountsOf('self')).toBe(before);
  });
});

describe.skipIf(!asRoot)('the image’s folder (needs root for mounts)', () => {
  const place = join(folder, 'elsewhere');
  mkdirSync(place);
  const there = join(place, 'image');
  const moved = `mount -t tmpfs none '${place}'; cp -a '${image}' '${there}'`;
  const editions = (script: string, show: 'mounts' | 'audit') =>
    scene.editions({ show, as: after(script), launch: join(there, 'launch') });

  it.each([
    ['on another file system', moved],
    ['read-only', `${moved}; mount -o remount,ro '${place}'`],
    ['on a file system without set-uid and devices', `${moved}; mount -o remount,nosuid,nodev '${place}'`],
  ])('may be %s', (_what, script) => {
    expect(editions(script, 'mounts')).toBe(BOTH);
    expect(editions(script, 'audit')).toBe(LIBRARY_ONLY);
  });

  it('is not used where nothing may be executed', () => {
    // The launcher itself is put there from outside.
    const script = `${moved}; mount -o remount,noexec '${place}'; mount --bind '${launch}' '${there}/launch'`;
    const start = (show: 'mounts' | 'audit') => {
      const as = after(`${script}; mount -o remount,bind,exec '${there}/launch'`);
      const seen = scene.start([], { show, as, launch: join(there, 'launch') });
      return seen.stdout;
    };
    expect(start('mounts')).toContain('library first');
    expect(start('audit')).toContain('library first');
  });
});

describe('a program that outlives its image', () => {
  it.skipIf(!asRoot)('goes on with the same modules in its mounts (needs root)', async () => {
    const { go } = await waiting({ show: 'mounts' });
    rmSync(image, { recursive: true });
    expect(await go()).toContain('second plugin');
    scene.reset();
  });

  it('opens originals from then on under audit', async () => {
    const { go } = await waiting({ show: 'audit', as: AS_NOBODY });
    rmSync(image, { recursive: true });
    expect(await go()).toContain('first plugin');
    scene.reset();
  });
});

describe('all that an exec hands over', () => {
  const launched = compile(
    join(folder, 'launched'),
    'launched.c',
    '-Wl,--no-as-needed',
    scene.library,
    `-Wl,-rpath,${scene.lib}`,
  );
  const own = join(folder, 'images', '.launched@0123456789ab');
  scene.fill(own, undefined, launched);
  const report = (path: string, show?: string) =>
    spawnSync(launched, ['set-up', path, 'any name', 'report', '', 'a b'], {
      encoding: 'utf8',
      env: { A: '1', ...(show === undefined ? {} : { WINNOW_SHOW: show }) },
    }).stdout;

  const expectSame = (show: string) => {
    const seen = report(join(own, 'launch'), show);
    expect(seen).toContain('wait4 -1 ECHILD');
    expect(seen).toBe(report(launched));
  };

  it('is the same under audit: descriptors, limits, signals, no child', () => expectSame('audit'));

  it.skipIf(!asRoot)('is the same in a mount namespace (needs root)', () => expectSame('mounts'));

  it.skipIf(!asRoot)('is the same in a user namespace (needs root)', () => expectSame('user-mounts'));

  it('leaves nothing behind in the folder of the image', () => {
    expect(readdirSync(own).sort()).toEqual([
      'audit.so',
      'launch',
      'library',
      'modules.bin',
      'plugin',
      'program',
      'program-copy',
    ]);
  });
});
