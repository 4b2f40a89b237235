/** What glibc makes at a program's start, and what is done with it later: the same from an image. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type BuiltImage, both, start } from './support/restore-scene.ts';
import { expectSameFromImage, FeaturesScene } from './support/share-features-scene.ts';

const isRoot = process.geteuid?.() === 0;
const scene = new FeaturesScene();
const VARIANTS = ['auto', 'joined', 'slid'] as const;
const KINDS = ['-fPIE', '-no-pie'].flatMap((flag) => VARIANTS.map((variant) => [flag, variant] as const));
afterAll(() => scene.remove());

/** `slid`: of `auto`, at other addresses at each start. */
const buildAs = (path: string, variant: (typeof VARIANTS)[number]): Promise<BuiltImage> =>
  scene.build(path, variant === 'slid' ? 'auto' : variant, { slides: variant === 'slid' });

describe.each(VARIANTS)('from an image of the variant %s', (variant) => {
  const build = (path: string) => buildAs(path, variant);

  it.each(['-fPIE', '-no-pie', '-mtls-dialect=gnu2'])(
    'thread-local storage is every thread’s own, of libraries that come later too (%s)',
    async (flag) => {
      const dialect = flag === '-no-pie' ? '-fPIC' : flag.replace('-fPIE', '-fPIC');
      const library = scene.makeLibrary('libtls.so', 'tls-library.c', dialect);
      scene.makeLibrary('libdynamic.so', 'tls-later.c', dialect);
      scene.makeLibrary('libinitial.so', 'tls-later.c', '-ftls-model=initial-exec', '-DSIZE=200');
      scene.makeLibrary('libtoolarge.so', 'tls-later.c', '-ftls-model=initial-exec', '-DSIZE=100000');
      const image = await build(scene.makeProgram(`tls${flag}`, 'tls.c', flag, library));
      const printed = expectSameFromImage(image, [scene.own]);
      expect(printed).toMatch(/^libinitial\.so: open$/m);
      expect(printed).toMatch(/^libtoolarge\.so: .*static TLS/m);
    },
  );

  it.each([
    ['-Wl,-z,now', '-fPIE'],
    ['-Wl,-z,lazy', '-fPIE'],
    ['-Wl,-z,lazy', '-no-pie'],
    ['-Wl,-z,pack-relative-relocs', '-fPIE'],
  ])('modules are told, opened, closed, and opened apart (%s %s)', async (...flags) => {
    const library = scene.makeLibrary('libown.so', 'modules-library.c', flags[0] ?? '');
    scene.makeLibrary('libplugin.so', 'modules-plugin.c', library, `-Wl,-rpath,${scene.own}`);
    const image = await build(scene.makeProgram(`modules${flags.join('')}`, 'modules.c', ...flags, library));
    const printed = expectSameFromImage(image, [scene.own]);
    expect(printed).toMatch(/^namespace 1 plugin 61 own libc 1$/m);
    expect(printed).toMatch(/^ifunc 1 1 1 3$/m);
  });

  it.each(['-fPIE', '-no-pie'])('exceptions pass modules and threads (%s)', async (flag) => {
    const library = scene.makeLibrary('libthrow.so', 'throw-library.cc');
    scene.makeLibrary('liblater.so', 'throw-library.cc', '-DLATER');
    const image = await build(scene.makeProgram(`throw${flag}`, 'throw.cc', flag, library));
    const printed = expectSameFromImage(image, [scene.own]);
    expect(printed).toMatch(/^(500 ){8}later 50$/m);
    expect(printed).toMatch(/terminate\n$/);
  });

  it('constructors and destructors run in their order, with the arguments', async () => {
    const image = await build(scene.makeProgram('order', 'order.c'));
    const printed = expectSameFromImage(image, ['a', 'b']);
    expect(printed).toMatch(/^preinit argc 3 argv ends -\nconstructor 101 argc 3 argv ends environ\n/);
  });

  it.each(['-fPIE', '-no-pie'])(
    'children, signals, users and stacks of its own are as ever (%s)',
    async (flag) => {
      const image = await build(scene.makeProgram(`children${flag}`, 'children.c', flag));
      const printed = expectSameFromImage(image);
      expect(printed).toMatch(/^children 45 spawn 0 7 none 1 system 3$/m);
      expect(printed).toMatch(/^alternative stack 2$/m);
    },
  );

  it.each(['-fPIE', '-no-pie'])('what may be written and executed is as ever (%s)', async (flag) => {
    const library = scene.makeLibrary('libstack.so', 'tls-later.c', '-Wl,-z,execstack');
    for (const stack of ['noexecstack', 'execstack']) {
      const program = scene.makeProgram(`${stack}${flag}`, 'protections.c', '-O0', flag, `-Wl,-z,${stack}`);
      const printed = expectSameFromImage(await build(program), [library]);
      expect(printed).not.toMatch(/relro [1-9]|-. 1/);
      expect(printed.match(/^(stack|thread) .*$/gm)).toEqual([
        stack === 'execstack' ? 'stack 42' : 'stack -1',
        'stack 42',
        'thread 42',
      ]);
    }
  });

  it('locales, character sets and name services are loaded', async () => {
    const image = await build(scene.makeProgram('names', 'names.c', '-lm'));
    const printed = expectSameFromImage(image);
    expect(printed).toMatch(/^ISO-8859-15 to UTF-16LE: 0 61 00 ac 20$/m);
    expect(printed).toMatch(/^root \/root 0 none 1$/m);
    for (const LC_ALL of ['C.UTF-8', 'de_DE.UTF-8', 'nowhere'])
      expectSameFromImage(image, [], { env: { LC_ALL } });
  });
});

describe.each(KINDS)('a process from an image (%s, %s)', (flag, variant) => {
  let image: BuiltImage;
  beforeAll(async () => {
    const program = scene.makeProgram(`process${flag}`, 'process.c', flag, '-fstack-protector-all');
    image = await buildAs(program, variant);
  });

  it('has all that the kernel and glibc give it', () => {
    const printed = expectSameFromImage(image);
    expect(printed).not.toMatch(/^aux (?!16 )\d+ same 0/m);
    expect(printed).toMatch(/^maps good 1 writable code 0 heap 1 stack 1 vdso 1 libc 1$/m);
    expect(printed).toMatch(/^robust thread 1 process 1 list 1 24 held 1$/m);
    expect(printed).toMatch(/^rseq size \d+ flags 0 thread 1 moves 1 again 16$/m);
    expect(printed).toMatch(/^guards 1 1$/m);
  });

  it('has another stack guard at each start', () => {
    const guards = Array.from({ length: 5 }, () => /^guard (\w+)$/m.exec(start(image.copy, []).stderr)?.[1]);
    expect(guards).not.toContain(undefined);
    expect(new Set(guards).size).toBe(5);
  });

  it('is ended by a smashed stack, and leaves quickly', () => {
    const smashed = both(image, ['smash']);
    expect(smashed.ours).toMatchObject({ status: null, stdout: smashed.plain.stdout });
    expect(smashed.ours.stderr).toContain('stack smashing detected');
    expectSameFromImage(image, ['quick']);
  });

  it.each([
    ['without ASLR', ['setarch', '-R']],
    ['with what can be read executable', ['setarch', '-X']],
    ['with an empty environment', ['env', '-i']],
    ['without standard input', ['sh', '-c', 'exec "$0" <&-']],
    ['without any open file but one', ['sh', '-c', 'exec "$0" <&- >&-']],
    ['with other limits', ['prlimit', '--nproc=5000', '--core=0', '--memlock=65536', '--as=4294967296']],
    ['with little room for data', ['prlimit', '--data=20000000']],
    ['with few files', ['prlimit', '--nofile=12']],
    ['on one processor', ['taskset', '-c', '0']],
    ['at another priority', ['nice', '-n', '5']],
  ])('starts %s', (_what, through) => {
    expectSameFromImage(image, [], { through });
  });

  it.runIf(isRoot)('starts as the first of a PID namespace, and in a new user’s', () => {
    for (const through of [
      ['unshare', '--pid', '--fork', '--mount-proc'],
      ['unshare', '--user', '--map-root-user'],
    ])
      expectSameFromImage(image, [], { through });
  });

  it('starts without any argument', () => {
    const through = [scene.make(`empty${flag}`, 'empty-arguments.c')];
    expectSameFromImage(image, [], { through });
  });
});
