/**
 * Programs that start from NAME.linked: they do what a plain start does, and whatever is not as it was when the
 * image was built, or is refused by the kernel, leads to a plain start.
 */
import { chmodSync, chownSync, copyFileSync, renameSync, rmSync, symlinkSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { userAddress } from '../src/base/brands.ts';
import { ENVELOPE } from '../src/base/envelope.ts';
import type { PlacedImage, ProcessorTraits } from '../src/share/linked-model.ts';
import type { MachineTraits } from '../src/share/model.ts';
import {
  type BuiltImage,
  RestoreScene,
  type Started,
  type StartOptions,
  start,
} from './support/restore-scene.ts';

const isRoot = process.geteuid?.() === 0;
const scene = new RestoreScene();
let image: BuiltImage;
let fixed: BuiltImage;
let refuse = '';

beforeAll(async () => {
  image = await scene.build(scene.compile('linked'));
  fixed = await scene.build(scene.compile('fixed', '-no-pie'));
  refuse = scene.helper('refuse-call');
});
afterAll(() => scene.remove());

/** The program plainly, and from its image, in the same circumstances. */
function both(
  built: BuiltImage,
  words: readonly string[] = ['one', 'two words'],
  options: StartOptions = {},
) {
  return { plain: start(built.program, words, options), ours: start(built.copy, words, options) };
}

function expectSame({ plain, ours }: { plain: Started; ours: Started }): void {
  expect({ status: ours.status, stdout: ours.stdout }).toEqual({
    status: plain.status,
    stdout: plain.stdout,
  });
}

function expectLinked(built: BuiltImage, options: StartOptions = {}): void {
  const pair = both(built, undefined, options);
  expectSame(pair);
  expect(pair.plain.status).toBe(7);
  expect(built.isFrom(pair.ours)).toBe(true);
}

function expectPlain(built: BuiltImage, options: StartOptions = {}): void {
  const pair = both(built, undefined, options);
  expectSame(pair);
  expect(pair.ours.base).toBeDefined();
  expect(built.isFrom(pair.ours)).toBe(false);
}

describe('a start from an image', () => {
  it('does what a plain one does', () => expectLinked(image));

  it('does so for a program of fixed addresses', () => expectLinked(fixed));

  it('does so without ASLR, and with an empty environment', () => {
    expectLinked(image, { through: ['setarch', '-R'] });
    expectLinked(fixed, { through: ['setarch', '-R'] });
    const { plain, ours } = both(image, [], { through: ['env', '-i'] });
    expectSame({ plain, ours });
    expect(image.isFrom(ours)).toBe(true);
  });

  it('does so with 100 KB of arguments and environment', () => {
    const words = Array.from({ length: 1000 }, (_, index) => `${index}${'x'.repeat(100)}`);
    const { plain, ours } = both(image, words, { env: { LARGE: 'y'.repeat(100_000) } });
    expectSame({ plain, ours });
    expect(image.isFrom(ours)).toBe(true);
  });

  it('does so a hundred times', () => {
    const plain = start(image.program, []);
    for (let i = 0; i < 100; i += 1) {
      const ours = start(image.copy, []);
      expectSame({ plain, ours });
      expect(image.isFrom(ours)).toBe(true);
    }
  });

  it.runIf(isRoot)('does so for another user', () => {
    expectLinked(image, { through: ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'] });
  });

  it.runIf(isRoot)('does so in a root folder without /proc', () => {
    const root = join(scene.folder, 'root');
    const script = `mkdir -p ${root} && mount --bind / ${root} && exec chroot ${root} "$@"`;
    expectLinked(image, { through: ['unshare', '-m', 'sh', '-c', script, 'sh'] });
  });

  it('does so where the kernel will not be told, nor take the list of robust futexes', () => {
    // The kernel's copy of the auxiliary vector is then that of the start: `auxv 0 code 0`.
    const told = both(image, [], { through: [refuse, '157'] });
    expect(image.isFrom(told.ours)).toBe(true);
    expect(told.ours.stdout.replace('auxv 0 code 0', 'auxv 1 code 1')).toBe(told.plain.stdout);
    expectLinked(image, { through: [refuse, '273'] });
  });
});

const TUNABLES = ['LD_BIND_NOW', 'LD_LIBRARY_PATH', 'LD_DEBUG_OUTPUT', 'MALLOC_ARENA_MAX'];

describe('a plain start takes the place of one from an image', () => {
  it.each(TUNABLES)('with %s set', (name) => {
    expect(image.answer()).toBe('good');
    expectPlain(image, { env: { [name]: '1' } });
  });

  it('with GLIBC_TUNABLES set, but not with names that begin alike', () => {
    expectPlain(image, { env: { GLIBC_TUNABLES: 'glibc.malloc.arena_max=1' } });
    expectLinked(image, { env: { GLIBC_TUNABLE: '1', L: '', LD: '1', MALLOC: '1' } });
  });

  it('with another limit of the stack', () => {
    expectPlain(image, { through: ['prlimit', '--stack=4194304'] });
    expectPlain(image, { through: ['prlimit', '--stack=unlimited'] });
  });

  it.runIf(isRoot)('for a set-uid program', () => {
    const copy = join(scene.folder, 'set-uid');
    copyFileSync(image.copy, copy);
    chmodSync(copy, 0o4755);
    const started = start(copy, [], { through: ['setpriv', '--reuid=65534', '--clear-groups'] });
    expect(started.base).toBeDefined();
    expect(image.isFrom(started)).toBe(false);
  });

  it.each<[string, (machine: MachineTraits) => Partial<MachineTraits>, string]>([
    ['AT_HWCAP', ({ hwcap }) => ({ hwcap: hwcap ^ 1n }), 'kernel'],
    ['AT_HWCAP2', ({ hwcap2 }) => ({ hwcap2: hwcap2 ^ 1n }), 'kernel'],
    ['AT_MINSIGSTKSZ', ({ minsigstksz }) => ({ minsigstksz: minsigstksz + 1n }), 'kernel'],
    ['AT_CLKTCK', () => ({ clockTick: 1000 }), 'kernel'],
    ['AT_PAGESZ', () => ({ pageSize: 65_536 }), 'kernel'],
    ['the limit of the stack', () => ({ stackLimit: 1n }), 'stack'],
    [
      'the bytes of the vDSO',
      ({ vdso }) => ({ vdso: vdso && { ...vdso, checksum: vdso.checksum ^ 1n } }),
      'vdso',
    ],
    ['the size of the vDSO', ({ vdso }) => ({ vdso: vdso && { ...vdso, size: vdso.size + 4096 } }), 'vdso'],
  ])('where %s is another', (_what, change, answer) => {
    image.changed({ machine: { ...image.image.machine, ...change(image.image.machine) } }, () => {
      expect(image.answer()).toBe(answer);
      expectPlain(image);
    });
  });

  it.each<[string, (processor: ProcessorTraits) => ProcessorTraits]>([
    ['cpuid 1 eax', (one) => ({ ...one, leaf1: { ...one.leaf1, eax: (one.leaf1.eax ^ 1) >>> 0 } })],
    ['cpuid 1 ebx', (one) => ({ ...one, leaf1: { ...one.leaf1, ebx: (one.leaf1.ebx ^ 1) >>> 0 } })],
    ['cpuid 1 ecx', (one) => ({ ...one, leaf1: { ...one.leaf1, ecx: (one.leaf1.ecx ^ 1) >>> 0 } })],
    ['cpuid 1 edx', (one) => ({ ...one, leaf1: { ...one.leaf1, edx: (one.leaf1.edx ^ 1) >>> 0 } })],
    ['cpuid 7 ebx', (one) => ({ ...one, leaf7: { ...one.leaf7, ebx: (one.leaf7.ebx ^ 1) >>> 0 } })],
    ['cpuid 7 ecx', (one) => ({ ...one, leaf7: { ...one.leaf7, ecx: (one.leaf7.ecx ^ 1) >>> 0 } })],
    ['cpuid 7 edx', (one) => ({ ...one, leaf7: { ...one.leaf7, edx: (one.leaf7.edx ^ 1) >>> 0 } })],
    ['xgetbv', (one) => ({ ...one, xcr0: one.xcr0 ^ 4n })],
  ])('where %s is another', (_what, change) => {
    image.changed({ processor: change(image.image.processor) }, () => {
      expect(image.answer()).toBe('processor');
      expectPlain(image);
    });
  });

  it.each<[string, (bytes: Buffer) => Buffer]>([
    ['empty', () => Buffer.alloc(0)],
    ['cut off', (bytes) => bytes.subarray(0, bytes.length - 4096)],
    ['cut off in its head', (bytes) => bytes.subarray(0, 600)],
    ['followed by something', (bytes) => Buffer.concat([bytes, Buffer.alloc(4096)])],
    ['something else', (bytes) => Buffer.alloc(bytes.length, 'x')],
    ['of another version', (bytes) => edited(bytes, (copy) => copy.writeUInt32LE(2, ENVELOPE.version))],
    [
      'damaged in its head',
      (bytes) => edited(bytes, (copy) => copy.writeUInt8(copy.readUInt8(400) ^ 1, 400)),
    ],
    [
      'of a size that is wrong',
      (bytes) => edited(bytes, (copy) => copy.writeUInt32LE(2 ** 31, ENVELOPE.head_size)),
    ],
  ])('where the image is %s', (_what, change) => {
    image.with(change(image.bytes), () => {
      expect(image.answer()).toBe('image');
      expectPlain(image);
    });
  });

  it('where the image is missing, a link, a folder, or others may write it', () => {
    const away = `${image.linked}.away`;
    renameSync(image.linked, away);
    try {
      expect(image.answer()).toBe('image');
      expectPlain(image);
      symlinkSync(away, image.linked);
      expectPlain(image);
      rmSync(image.linked);
    } finally {
      renameSync(away, image.linked);
    }
    for (const mode of [0o664, 0o646]) {
      chmodSync(image.linked, mode);
      expect(image.answer()).toBe('image');
      expectPlain(image);
    }
    chmodSync(image.linked, 0o644);
    expectLinked(image);
  });

  it.runIf(isRoot)('where the image belongs to somebody else', () => {
    chownSync(image.linked, 12_345, 0);
    expectPlain(image);
    chownSync(image.linked, 0, 0);
    expectLinked(image);
  });

  it('where the program is another', () => {
    for (const built of [image, fixed]) {
      const { entry, start: at, program } = built.image;
      const changes: Partial<PlacedImage>[] = [
        { entry: userAddress(entry === at ? entry + 1 : at) },
        { program: { ...program, size: program.size + 4096 } },
      ];
      for (const change of changes) built.changed(change, () => expectPlain(built));
    }
  });

  it('where a library has changed, is another or is missing', () => {
    const away = `${scene.library}.away`;
    const now = new Date();
    utimesSync(scene.library, now, now);
    expect(image.answer()).toBe('file');
    expectPlain(image);
    scene.resetTimes();
    expectLinked(image);
    renameSync(scene.library, away);
    expect(image.answer()).toBe('file');
    expect(start(image.copy, [])).toEqual(expect.objectContaining({ status: 127, base: undefined }));
    copyFileSync(away, scene.library);
    scene.resetTimes();
    expect(image.answer()).toBe('file');
    expectPlain(image);
    renameSync(away, scene.library);
    expectLinked(image);
  });

  it('where a library is on another device: by that it is known, when it is opened by another name', () => {
    const files = image.image.files.map((file) => ({ ...file, device: file.device ^ 1 }));
    image.changed({ files }, () => {
      expect(image.answer()).toBe('file');
      expectPlain(image);
    });
  });

  it('where a library comes into a folder that is looked into before', () => {
    const earlier = join(scene.before, 'liblinked.so');
    copyFileSync(scene.library, earlier);
    expect(image.answer()).toBe('watch');
    expectPlain(image);
    rmSync(earlier);
    scene.resetTimes();
    expect(image.answer()).toBe('good');
    expectLinked(image);
  });

  it('where an address is taken', () => {
    // Without ASLR the kernel puts programs here.
    const taken = {
      at: userAddress(0x5555_5555_4000),
      size: 4096,
      source: { kind: 'zeros' as const },
      protection: { read: true, write: false, execute: false },
    };
    const change = { maps: [...image.image.maps, taken], vdsoAt: userAddress(0x7000_0000_0000) };
    image.changed(change, () => {
      expect(image.answer()).toBe('good');
      expectPlain(image, { through: ['setarch', '-R'] });
    });
  });

  it('where something would lie above the vDSO', () => {
    const above = {
      at: userAddress(0x7fff_ff00_0000),
      size: 4096,
      source: { kind: 'zeros' as const },
      protection: { read: true, write: false, execute: false },
    };
    const vdsoAt = userAddress(0x7fff_ff80_0000);
    for (const built of [image, fixed])
      built.changed({ maps: [...built.image.maps, above], vdsoAt }, () => {
        expectPlain(built, { through: ['setarch', '-R'] });
      });
  });

  it('where there is no memory for it', () => {
    const large = {
      at: userAddress(0x1110_0000_0000),
      size: 2 ** 36,
      source: { kind: 'zeros' as const },
      protection: { read: true, write: false, execute: false },
    };
    for (const built of [image, fixed])
      built.changed({ maps: [...built.image.maps, large].sort((a, b) => a.at - b.at) }, () => {
        expectLinked(built);
        expectPlain(built, { through: ['prlimit', `--as=${2 ** 34}`] });
      });
  });

  it('where the kernel refuses to move memory, rseq, or the thread pointer', () => {
    for (const built of [image, fixed]) {
      // A program of fixed addresses is not moved.
      (built === image ? expectPlain : expectLinked)(built, { through: [refuse, '25'] });
      expectPlain(built, { through: [refuse, '334'] });
      // The plain loader cannot do without it either.
      const { plain, ours } = both(built, [], { through: [refuse, '158'] });
      expectSame({ plain, ours });
      expect(ours.stderr).toContain('cannot set %fs base address');
    }
  });

  it('where files cannot be opened', () => {
    const limits = { through: ['prlimit', '--nofile=3'] };
    const { plain, ours } = both(image, [], limits);
    expect(ours.status).toBe(plain.status);
    expectLinked(image, { through: ['prlimit', '--nofile=5'] });
  });
});

function edited(bytes: Buffer, edit: (copy: Buffer) => void): Buffer {
  const copy = Buffer.from(bytes);
  edit(copy);
  return copy;
}
