/**
 * For each guard of a linked program a start with something that it guards changed: a plain one, in which the program does
 * the same.
 */
import { chmodSync, chownSync, copyFileSync, renameSync, rmSync, symlinkSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { userAddress } from '../src/base/brands.ts';
import { planChecksum } from '../src/base/checksum.ts';
import { ENVELOPE } from '../src/base/envelope.ts';
import { LINKED_VERSION, REFUSALS } from '../src/share/linked/linked-layout.ts';
import type { PlacedImage, ProcessorTraits } from '../src/share/linked/linked-model.ts';
import { askRestore } from '../src/share/linked/restore-answer.ts';
import type { MachineTraits } from '../src/share/model.ts';
import { type BuiltImage, expectLinked, expectPlain, RestoreScene, start } from './support/restore-scene.ts';

const isRoot = process.geteuid?.() === 0;
const scene = new RestoreScene();
let image: BuiltImage;
let fixed: BuiltImage;
let joined: BuiltImage;

beforeAll(async () => {
  image = await scene.build(scene.compile('linked'));
  fixed = await scene.build(scene.compile('fixed', '-no-pie'));
  joined = await scene.build(scene.compile('linked'), 'joined');
});
afterAll(() => scene.remove());

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

  it('with another limit of the stack, unless both are ordinary', () => {
    expectLinked(image, { through: ['prlimit', '--stack=67108864'] });
    expectPlain(image, { through: ['prlimit', '--stack=2097152'] });
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
    ['of an older version', (bytes) => edited(bytes, (copy) => copy.writeUInt32LE(1, ENVELOPE.version))],
    [
      'of a newer version',
      (bytes) => edited(bytes, (copy) => copy.writeUInt32LE(LINKED_VERSION + 1, ENVELOPE.version)),
    ],
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
    for (const built of [image, joined]) {
      utimesSync(scene.library, now, now);
      expect(built.answer()).toBe('file');
      expectPlain(built);
      scene.resetTimes();
      expectLinked(built);
    }
    renameSync(scene.library, away);
    expect(image.answer()).toBe('file');
    expect(start(image.copy, [])).toEqual(expect.objectContaining({ status: 127, base: undefined }));
    copyFileSync(away, scene.library);
    scene.resetTimes();
    for (const built of [image, joined]) {
      expect(built.answer()).toBe('file');
      expectPlain(built);
    }
    renameSync(away, scene.library);
    for (const built of [image, joined]) expectLinked(built);
  });

  it('where a library is on another device: by that it is known, when it is opened by another name', () => {
    for (const built of [image, joined]) {
      const files = built.image.files.map((file) => ({ ...file, device: file.device ^ 1 }));
      built.changed({ files }, () => {
        expect(built.answer()).toBe('file');
        expectPlain(built);
      });
    }
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
});

describe('restore, run by itself', () => {
  it('answers whatever the tables hold, their checksum right', () => {
    const head = image.bytes.readUInt32LE(ENVELOPE.head_size);
    const edits = fc.array(
      fc.tuple(
        fc.integer({ min: ENVELOPE.size, max: head - 1 }),
        fc.oneof(fc.nat(255), fc.constantFrom(0, 0xff, 0x7f)),
      ),
      { minLength: 1, maxLength: 8 },
    );
    fc.assert(
      fc.property(edits, (changes) => {
        const bytes = edited(image.bytes, (copy) => {
          for (const [at, value] of changes) copy.writeUInt8(value, at);
          copy.writeBigUInt64LE(planChecksum(copy.subarray(ENVELOPE.size, head)), ENVELOPE.head_checksum);
        });
        expect(REFUSALS).toContain(image.with(bytes, () => image.answer()));
      }),
      { numRuns: 300 },
    );
  });

  it('says that without an image there is none', () => {
    expect(askRestore(image.restore).refused).toBe('image');
    expect(askRestore(image.restore, join(scene.folder, 'nothing')).refused).toBe('image');
    expect(askRestore(image.restore, image.linked)).toEqual({
      refused: 'good',
      index: 0,
      processor: image.image.processor,
    });
  });
});

function edited(bytes: Buffer, edit: (copy: Buffer) => void): Buffer {
  const copy = Buffer.from(bytes);
  edit(copy);
  return copy;
}
