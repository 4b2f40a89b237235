/**
 * Programs that start from NAME.linked: they do what a plain start does, and where the kernel refuses something they
 * start plainly. What the guards refuse is in restore-guards.test.ts.
 */
import { utimesSync } from 'node:fs';
import { basename } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PAGE_SIZE, userAddress } from '../src/base/brands.ts';
import { MOST_COPIED_PAGES } from '../src/share/place/join.ts';
import {
  type BuiltImage,
  both,
  expectLinked,
  expectLinkedUnderFilter,
  expectPlain,
  expectSame,
  RestoreScene,
  start,
} from './support/restore-scene.ts';

const isRoot = process.geteuid?.() === 0;
const scene = new RestoreScene();
let image: BuiltImage;
let fixed: BuiltImage;
let joined: BuiltImage;
let joinedFixed: BuiltImage;
let auto: BuiltImage;
let autoFixed: BuiltImage;
let refuse = '';
let hold = '';

beforeAll(async () => {
  image = await scene.build(scene.compile('linked'));
  fixed = await scene.build(scene.compile('fixed', '-no-pie'));
  joined = await scene.build(image.program, 'joined');
  joinedFixed = await scene.build(fixed.program, 'joined');
  auto = await scene.build(image.program, 'auto');
  autoFixed = await scene.build(fixed.program, 'auto');
  refuse = scene.helper('refuse-call');
  hold = scene.helper('hold-code');
});
afterAll(() => scene.remove());

describe('a start from an image', () => {
  it('does what a plain one does', () => expectLinked(image));

  it('does so for a program of fixed addresses', () => expectLinked(fixed));

  it('does so where its modules are joined, of which large ones alone are then mapped', () => {
    for (const built of [joined, joinedFixed]) {
      expectLinked(built);
      expectLinked(built, { through: ['setarch', '-R'] });
      const { files, maps } = built.image;
      const mapped = maps.filter(({ source }) => source.kind === 'file');
      expect(files.filter(({ isMapped }) => isMapped)).toHaveLength(mapped.length);
      for (const { size } of mapped) expect(size / PAGE_SIZE).toBeGreaterThan(MOST_COPIED_PAGES);
      expect(files.find(({ path }) => path === scene.library)?.isMapped).toBe(false);
    }
    expect(joined.image.maps.length).toBeLessThan(image.image.maps.length);
  });

  it('does so where a small library is taken into the image, and still looks at its file', () => {
    for (const built of [auto, autoFixed]) {
      expectLinked(built);
      expectLinked(built, { through: ['setarch', '-R'] });
      expectLinkedUnderFilter(built, [hold, 'filter']);
      const names = built.image.files.map(({ path, isMapped }) => [basename(path), isMapped]);
      expect(names).toContainEqual(['liblinked.so', false]);
      expect(names).toContainEqual(['libc.so.6', true]);
      try {
        utimesSync(scene.library, new Date(), new Date());
        expect(built.answer()).toBe('file');
        expectPlain(built);
      } finally {
        scene.resetTimes();
      }
      expectLinked(built);
    }
  });

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
      const built = i % 2 === 0 ? image : joined;
      const ours = start(built.copy, []);
      expectSame({ plain, ours });
      expect(built.isFrom(ours)).toBe(true);
    }
  });

  it.runIf(isRoot)('does so for another user', () => {
    expectLinked(image, { through: ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'] });
  });

  it('does so where the kernel will not be told, nor take the list of robust futexes', () => {
    // The kernel's copy of the auxiliary vector is then that of the start: `auxv 0 code 0`.
    const told = both(image, [], { through: [refuse, '157'] });
    expect(image.isFrom(told.ours)).toBe(true);
    expect(told.ours.stdout.replace('auxv 0 code 0', 'auxv 1 code 1')).toBe(told.plain.stdout);
    expectLinked(image, { through: [refuse, '273'] });
  });
});

/** Maps that follow each other are made by one call, and then the code in them executable. */
describe('a start from an image where nothing may become executable', () => {
  it('maps code by itself under a filter, which may kill', () => {
    for (const built of [image, fixed]) expectLinkedUnderFilter(built, [hold, 'filter']);
  });

  it('maps code over the rest where the kernel refuses it', (context) => {
    const can = start(hold, ['kernel', '/bin/true']).status !== 5;
    if (!can && process.env.CI !== '1') context.skip('the kernel has no PR_SET_MDWE');
    for (const built of [image, fixed]) expectLinked(built, { through: [hold, 'kernel'] });
  });
});

describe('a plain start takes the place of one from an image', () => {
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
    for (const built of [image, fixed, joined])
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
    for (const built of [image, fixed, joined])
      built.changed({ maps: [...built.image.maps, large].sort((a, b) => a.at - b.at) }, () => {
        expectLinked(built);
        expectPlain(built, { through: ['prlimit', `--as=${2 ** 34}`] });
      });
  });

  it('where the kernel refuses to move memory, rseq, or the thread pointer', () => {
    for (const built of [image, fixed, joined]) {
      // A program of fixed addresses is not moved.
      (built === fixed ? expectLinked : expectPlain)(built, { through: [refuse, '25'] });
      expectPlain(built, { through: [refuse, '334'] });
      // The plain loader cannot do without it either.
      const { plain, ours } = both(built, [], { through: [refuse, '158'] });
      expectSame({ plain, ours });
      expect(ours.stderr).toContain('cannot set %fs base address');
    }
  });

  it('not where several mappings cannot be moved at once, as before Linux 6.17', () => {
    expectLinked(image, { through: [refuse, '25,4096'] });
  });

  it('where some of the program is moved already, and the rest is refused', async () => {
    const large = await scene.build(scene.compile('large', '-DLARGE_CODE'));
    expectLinked(large);
    expectPlain(large, { through: [refuse, '25,4096'] });
  });

  it('where files cannot be opened', () => {
    const limits = { through: ['prlimit', '--nofile=3'] };
    const { plain, ours } = both(image, [], limits);
    expect(ours.status).toBe(plain.status);
    expectLinked(image, { through: ['prlimit', '--nofile=5'] });
  });
});
