import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  arbitraryProfile,
  gitFunctionsRun,
  gitLibraryPathRun,
  gitProfile,
} from '../../test/profile-samples.ts';
import { WinnowError } from '../base/errors.ts';
import { decodeProfile, encodeProfile } from './codec.ts';
import type { Profile } from './model.ts';

const CASES = process.env.CI ? 100_000 : 2_000;

function codeOf(bytes: Uint8Array): string {
  try {
    decodeProfile(bytes, '/p.wnp');
    return 'valid';
  } catch (error) {
    if (error instanceof WinnowError) return error.code;
    throw error;
  }
}

/** A profile file around any payload, with the checksum that fits. */
function wrap(payload: Uint8Array, version = 3): Buffer {
  const hash = createHash('sha256').update(payload).digest('hex');
  return Buffer.concat([Buffer.from(`winnow-profile ${version} ${hash} ${payload.length}\n`), payload]);
}

const wrapJson = (value: unknown, version = 3): Buffer => wrap(gzipSync(JSON.stringify(value)), version);

/** `git status`, recorded twice with functions. */
const functionsProfile = (): Profile => ({
  name: 'git-status',
  runs: [gitFunctionsRun(0), gitFunctionsRun(1)],
});

/** The same, with what its processes found in LD_LIBRARY_PATH. */
const libraryPathProfile = (): Profile => ({
  name: 'git-status',
  runs: [gitLibraryPathRun(0), gitLibraryPathRun(1)],
});

const GOLDEN = join(import.meta.dirname, '..', '..', 'test', 'golden', 'profile');
const golden = (name: string): Buffer => readFileSync(join(GOLDEN, name));

function jsonOf(profile: Profile): Record<string, unknown> {
  const bytes = encodeProfile(profile);
  return JSON.parse(gunzipSync(bytes.subarray(bytes.indexOf(10) + 1)).toString());
}

describe('the profile codec', () => {
  it('gives back what it was given', () => {
    fc.assert(
      fc.property(arbitraryProfile(), (profile) => {
        expect(decodeProfile(encodeProfile(profile), '/p')).toEqual(profile);
      }),
    );
  });

  it('gives equal profiles equal bytes', () => {
    expect(encodeProfile(gitProfile())).toEqual(encodeProfile(structuredClone(gitProfile())));
  });

  it('refuses to write what it could not read', () => {
    const runs = gitProfile().runs.toReversed();
    expect(() => encodeProfile({ name: 'x', runs })).toThrow('out of order');
    expect(() => encodeProfile({ name: '../x', runs: [] })).toThrow(RangeError);
  });
});

describe('the versions of the format', () => {
  it('are read, the first one without functions, the second without LD_LIBRARY_PATH', () => {
    expect(decodeProfile(golden('version-1.wnp'), '/p')).toEqual(gitProfile());
    expect(decodeProfile(golden('version-2.wnp'), '/p')).toEqual(functionsProfile());
    expect(decodeProfile(golden('version-3.wnp'), '/p')).toEqual(libraryPathProfile());
  });

  it('are written as the newest', () => {
    const again = encodeProfile(decodeProfile(golden('version-1.wnp'), '/p'));
    expect(Buffer.from(again).toString('latin1', 0, 17)).toBe('winnow-profile 3 ');
  });

  it('keep their own members', () => {
    const json = jsonOf(gitProfile());
    expect(codeOf(wrapJson(json, 1))).toBe('E_PROFILE_DAMAGED');
    const old = golden('version-1.wnp');
    expect(codeOf(wrap(old.subarray(old.indexOf(10) + 1), 1))).toBe('valid');
    expect(codeOf(wrap(old.subarray(old.indexOf(10) + 1), 2))).toBe('E_PROFILE_DAMAGED');
    const second = golden('version-2.wnp');
    const payload = second.subarray(second.indexOf(10) + 1);
    expect([1, 2, 3].map((version) => codeOf(wrap(payload, version)))).toEqual([
      'E_PROFILE_DAMAGED',
      'valid',
      'E_PROFILE_DAMAGED',
    ]);
    expect(codeOf(wrapJson(jsonOf(libraryPathProfile()), 2))).toBe('E_PROFILE_DAMAGED');
  });

  it('keeps entries in their order, as differences', () => {
    expect(jsonOf(functionsProfile())).toMatchObject({
      runs: [
        {
          method: { functions: 'seen' },
          entered: [
            { file: 0, entries: [0x4000, 0x1120, -0x910, -0x750] },
            { file: 1, entries: [0x27000, -0x3f0] },
          ],
        },
        {},
      ],
    });
  });
});

describe('a bad profile', () => {
  const good = encodeProfile(gitProfile());
  const payloadAt = good.indexOf(10) + 1;

  it('is truncated at every length but its own', () => {
    for (let length = 0; length < good.length; length += 1) {
      expect(codeOf(good.subarray(0, length))).toBe('E_PROFILE_TRUNCATED');
    }
  });

  it('is refused for every flipped bit', () => {
    const allowed = ['E_NOT_A_PROFILE', 'E_PROFILE_NEWER', 'E_PROFILE_TRUNCATED', 'E_PROFILE_DAMAGED'];
    for (let bit = 0; bit < good.length * 8; bit += bit < payloadAt * 8 ? 1 : 37) {
      const bytes = Buffer.from(good);
      bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      const code = codeOf(bytes);
      expect(allowed).toContain(code);
      if (bit >= payloadAt * 8) expect(code).toBe('E_PROFILE_DAMAGED');
    }
  });

  it.each([
    ['another file', Buffer.from('#!/bin/sh\n'), 'E_NOT_A_PROFILE'],
    ['an empty file', Buffer.alloc(0), 'E_PROFILE_TRUNCATED'],
    ['a newer version', wrap(Buffer.from('anything'), 4), 'E_PROFILE_NEWER'],
    ['a newer version with another header', Buffer.from('winnow-profile 12\nx'), 'E_PROFILE_NEWER'],
    ['version 0', wrap(Buffer.alloc(1), 0), 'E_PROFILE_DAMAGED'],
    ['something appended', Buffer.concat([good, Buffer.from('x')]), 'E_PROFILE_DAMAGED'],
    ['no gzip', wrap(Buffer.from('plain')), 'E_PROFILE_DAMAGED'],
    ['no JSON', wrap(gzipSync('{')), 'E_PROFILE_DAMAGED'],
    ['no UTF-8', wrap(gzipSync(Buffer.from([0x22, 0xff, 0x22]))), 'E_PROFILE_DAMAGED'],
    ['a million brackets', wrap(gzipSync('['.repeat(1_000_000))), 'E_PROFILE_DAMAGED'],
    ['an unknown member', wrapJson({ ...jsonOf(gitProfile()), more: 1 }), 'E_PROFILE_DAMAGED'],
  ])('%s', (_name, bytes, code) => {
    expect(codeOf(bytes)).toBe(code);
  });

  it('is refused before a bomb fills the memory', () => {
    const bomb = wrap(gzipSync(Buffer.alloc(257 * 1024 * 1024, 0x20), { level: 1 }));
    expect(() => decodeProfile(bomb, '/p')).toThrow('unpacks to more than 256 MiB');
  });

  // Paths to one figure in the JSON of a profile, and a value that must not pass there.
  it.each([
    ['runs.0.id', 'XYZ'],
    ['runs.0.files.0', 3],
    ['runs.0.files.0', -1],
    ['runs.0.files.0', 0.5],
    ['runs.0.startedAt', -1],
    ['runs.0.startedAt', 1],
    ['runs.1.id', `${'a0'.padStart(32, '0')}`],
    ['runs.0.processes.1.parent', 1],
    ['runs.0.processes.0.pages.0.file', 9],
    ['runs.0.processes.0.pages.0.extents', [0]],
    ['runs.0.processes.0.pages.0.extents', [0, 0]],
    ['runs.0.processes.0.pages.0.extents', [0, 1, 0, 1]],
    ['runs.0.processes.0.pages.0.extents', [5, 1, -3, 1]],
    ['runs.0.processes.0.pages.0.extents', [900, 100]],
    ['runs.0.processes.0.pages.0.extents', [2 ** 53, 1]],
    ['runs.0.processes.0.pages.0.extents', [0, '1']],
    ['runs.0.processes.1.libraryPath', 7],
    ['runs.0.processes.1.libraryPath', '/nul\0'],
    ['runs.0.processes.0.ended', { kind: 'exited', code: 256 }],
    ['runs.0.processes.0.ended', { kind: 'killed', signal: 0 }],
    ['runs.0.command.program', 'git'],
    ['runs.0.command.argv', 'git'],
    ['runs.0.lookups', [0]],
    ['runs.0.lookups', [0, 2]],
    ['runs.0.lookups', [99, 1]],
    ['runs.0.method.functions', 'maybe'],
    ['runs.0.entered.0.file', 1],
    ['runs.0.entered.1.file', 3],
    ['runs.0.entered.1.file', -1],
    ['runs.0.entered.0.entries', [-1]],
    ['runs.0.entered.0.entries', [1.5]],
    ['runs.0.entered.0.entries', [4096, 16, -16]],
    ['runs.0.entered.0.entries', [2 ** 53 - 1, 1]],
    ['runs.0.entered.0.entries', ['4096']],
    ['files.0.path', 77],
    ['files.0.identity.inode', '0x10'],
    ['files.0.identity.inode', 10],
    ['files.0.identity.size', -1],
    ['files.0.identity.buildId', 'xyz'],
    ['files.2.identity.hash', 'md5:00'],
    ['paths.0', 'relative'],
    ['paths.0', '/nul\0'],
    ['name', '.hidden'],
    ['runs', null],
  ])('with %s = %j', (path, value) => {
    const json: Record<string, unknown> = jsonOf(libraryPathProfile());
    const keys = path.split('.');
    const last = keys.pop() ?? '';
    let holder: Record<string, unknown> = json;
    for (const key of keys) holder = holder[key] as Record<string, unknown>;
    expect(Object.keys(holder)).toContain(last);
    holder[last] = value;
    expect(codeOf(wrapJson(json))).toBe('E_PROFILE_DAMAGED');
  });
});

describe('the codec under fuzzing', () => {
  /** A small generator of its own: fast-check's shrinking costs more than the decoder. */
  function generator(seed: number): (below: number) => number {
    let state = seed >>> 0;
    return (below) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
  }

  const seeds = fc.sample(arbitraryProfile(false, 2), { numRuns: 40, seed: 7 });
  const small = seeds.map((profile) => encodeProfile(profile));
  const texts = small.map((bytes) => gunzipSync(bytes.subarray(bytes.indexOf(10) + 1)));
  const pick = <T>(list: readonly T[], random: (below: number) => number): T =>
    list[random(list.length)] as T;

  function mutate(bytes: Uint8Array, random: (below: number) => number): Buffer {
    let out = Buffer.from(bytes);
    for (let edits = 1 + random(4); edits > 0 && out.length > 0; edits -= 1) {
      const at = random(out.length);
      const kind = random(5);
      if (kind === 0) out[at] = random(256);
      else if (kind === 1) out[at] = (out[at] ?? 0) ^ (1 << random(8));
      else if (kind === 2) out = Buffer.concat([out.subarray(0, at), out.subarray(at + 1 + random(8))]);
      else if (kind === 3)
        out = Buffer.concat([out.subarray(0, at), out.subarray(random(at + 1), at), out.subarray(at)]);
      else out[at] = pick([...Buffer.from('0123456789[]{},:"-.e')], random);
    }
    return out;
  }

  /** Whatever is accepted must be a profile: written and read again it is the same. */
  function check(bytes: Uint8Array): string {
    const code = codeOf(bytes);
    if (code === 'valid') {
      const profile = decodeProfile(bytes, '/p');
      expect(decodeProfile(encodeProfile(profile), '/p')).toEqual(profile);
    }
    return code;
  }

  it(`gives a WinnowError or a valid profile for ${CASES} mutated and random inputs`, {
    timeout: 120_000,
  }, () => {
    const random = generator(20_260_120);
    const seen = new Map<string, number>();
    for (let round = 0; round < CASES; round += 1) {
      const way = round % 4;
      const bytes =
        way === 0
          ? mutate(pick(small, random), random)
          : way === 1
            ? wrap(mutate(pick(small, random).subarray(92), random))
            : way === 2
              ? Buffer.from(Array.from({ length: random(64) }, () => random(256)))
              : // The JSON behind a checksum that fits: this is what reaches the schema and the indices.
                wrap(gzipSync(mutate(pick(texts, random), random), { level: 1 }));
      const code = check(bytes);
      seen.set(code, (seen.get(code) ?? 0) + 1);
    }
    expect([...seen.keys()]).toEqual(
      expect.arrayContaining(['valid', 'E_PROFILE_DAMAGED', 'E_NOT_A_PROFILE']),
    );
  });
});
