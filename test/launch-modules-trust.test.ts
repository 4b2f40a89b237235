/** Whatever is wrong with an original, its copy or the table, the program runs, with the originals. */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { MODULES_HEADER, MODULES_VERSION } from '../src/image/modules-layout.ts';
import { ENVELOPE, planChecksum } from '../src/image/plan-layout.ts';
import { isRoot } from './launch-scene.ts';
import { AS_NOBODY, asRoot, BOTH, LIBRARY_ONLY, ModulesScene, NEITHER, NOBODY } from './modules-scene.ts';

const scene = new ModulesScene();
const { library, image } = scene;
afterAll(() => scene.drop());
beforeEach(() => scene.reset());

const copy = join(image, 'library');
const table = join(image, 'modules.bin');

describe.each([
  ['audit', true, LIBRARY_ONLY],
  ['mounts', asRoot, BOTH],
] as const)('shown by %s', (show, can, all) => {
  const others = all === BOTH ? 'second first' : NEITHER;
  const editions = () => scene.editions({ show });

  it.skipIf(!can)('are copies that are as they should be', () => {
    expect(editions()).toBe(all);
  });

  it.skipIf(!can).each([
    ['has another time', () => utimesSync(library, 1, 1)],
    [
      'is another file of the same size and time',
      () => {
        copyFileSync(library, `${library}.new`);
        utimesSync(`${library}.new`, 1, 1);
        renameSync(`${library}.new`, library);
      },
    ],
    [
      'has another size',
      () => {
        writeFileSync(library, Buffer.concat([readFileSync(library), Buffer.alloc(1)]));
        utimesSync(library, 1, 1);
      },
    ],
  ])('is no module whose original %s', (_what, change) => {
    const before = readFileSync(library);
    change();
    expect(editions()).toBe(others);
    writeFileSync(library, before);
    scene.reset();
    expect(editions()).toBe(all);
  });

  it.skipIf(!can).each([
    ['can be written by its group', () => chmodSync(copy, 0o775)],
    ['can be written by others', () => chmodSync(copy, 0o757)],
    ['is gone', () => rmSync(copy)],
    ['is cut off', () => truncateSync(copy, 4096)],
    ['is longer', () => writeFileSync(copy, Buffer.concat([readFileSync(copy), Buffer.alloc(1)]))],
    [
      'is a link',
      () => {
        renameSync(copy, `${copy}.away`);
        symlinkSync(`${copy}.away`, copy);
      },
    ],
    [
      'is a pipe',
      () => {
        rmSync(copy);
        spawnSync('mkfifo', [copy]);
      },
    ],
  ])('is no module whose copy %s', (_what, change) => {
    change();
    expect(editions()).toBe(others);
  });

  it.skipIf(!can || !asRoot)('is no module whose copy belongs to another user (needs root)', () => {
    chownSync(copy, NOBODY, NOBODY);
    expect(editions()).toBe(others);
  });

  it.skipIf(!can).each([
    ['is missing', () => rmSync(table)],
    ['is empty', () => truncateSync(table, 0)],
    ['is cut off', () => truncateSync(table, readFileSync(table).length - 8)],
    [
      'is a link',
      () => {
        renameSync(table, `${table}.away`);
        symlinkSync(`${table}.away`, table);
      },
    ],
    ['can be written by others', () => chmodSync(table, 0o666)],
    ['is text', () => writeFileSync(table, 'no modules\n'.repeat(100))],
    ['holds no module', () => scene.writeTable([])],
    [
      'is newer',
      () => {
        const bytes = readFileSync(table);
        bytes.writeUInt32LE(MODULES_VERSION + 1, ENVELOPE.version);
        writeFileSync(table, bytes);
      },
    ],
  ])('is nothing where the table %s', (_what, change) => {
    change();
    expect(editions()).toBe(NEITHER);
  });

  it.skipIf(!can)(
    'leaves the program its end with 300 kinds of damage, checksums made right for half of them',
    () => {
      const good = readFileSync(table);
      const random = randomFrom(20_241_121);
      for (let round = 0; round < 300; round += 1) {
        const bytes = Buffer.from(good);
        for (let edits = 1 + random(4); edits > 0; edits -= 1) {
          const at = random(bytes.length);
          const word = Math.min(at & ~3, bytes.length - 4);
          const kinds = [
            () => bytes.writeUInt8(random(256), at),
            () => bytes.writeUInt32LE(0xffff_ffff, word),
            () => bytes.writeUInt32LE(random(bytes.length), word),
            () => bytes.copy(bytes, word, MODULES_HEADER.size, MODULES_HEADER.size + 4),
          ];
          kinds[random(kinds.length)]?.();
        }
        if (round % 2 === 0)
          bytes.writeBigUInt64LE(planChecksum(bytes.subarray(ENVELOPE.size)), ENVELOPE.head_checksum);
        writeFileSync(table, bytes);
        const { status, stderr } = scene.start(['exec', 'posix_spawn', scene.program, 'exit', '23'], {
          show,
        });
        expect({ round, status, stderr }).toEqual({ round, status: 23, stderr: '' });
      }
    },
  );
});

/** Small and repeatable: the same damage on every machine. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

describe('the audit object', () => {
  it.each([
    ['is missing', () => rmSync(join(image, 'audit.so'))],
    ['can be written by others', () => chmodSync(join(image, 'audit.so'), 0o777)],
  ])('is not used where it %s', (_what, change) => {
    change();
    expect(scene.editions({ show: 'audit' })).toBe(NEITHER);
  });

  it('is not used from a folder whose path the loader would read otherwise', () => {
    for (const name of ['a:b', 'a$LIB', `a${'/x'.repeat(500)}`]) {
      const folder = join(scene.folder, 'images', name);
      scene.fill(folder);
      expect(scene.editions({ show: 'audit', launch: join(folder, 'launch') })).toBe(NEITHER);
    }
  });

  it('does not keep a program from its library where it may not read the copy', () => {
    chmodSync(copy, 0o000);
    if (!isRoot) expect(scene.editions({ show: 'audit' })).toBe(NEITHER);
    chmodSync(copy, 0o700);
    expect(scene.editions({ show: 'audit', as: AS_NOBODY })).toBe(isRoot ? NEITHER : LIBRARY_ONLY);
  });
});

describe.skipIf(!asRoot)('in a mount namespace (needs root)', () => {
  const child = ['exec', 'execv', ...AS_NOBODY, scene.program];

  it('children under other users use what they could use before', () => {
    expect(scene.start(child, { show: 'mounts' }).stdout).toContain('program second\nlibrary second');
    chmodSync(image, 0o700);
    expect(scene.start(child, { show: 'mounts' }).stdout).toContain('program second\nlibrary second');
  });

  it('a copy that they could not use is left out', () => {
    chmodSync(copy, 0o700);
    expect(scene.start(child, { show: 'mounts' }).stdout).toContain('program second\nlibrary first');
    // An original of root alone may have a copy of root alone.
    chmodSync(library, 0o700);
    expect(scene.editions({ show: 'mounts' })).toBe(BOTH);
    chmodSync(library, 0o755);
  });

  it('a set-uid program keeps its rights', () => {
    chmodSync(scene.program, 0o4755);
    scene.reset();
    expect(scene.editions({ show: 'mounts' })).toBe(LIBRARY_ONLY);
    chmodSync(scene.program, 0o755);
  });
});
