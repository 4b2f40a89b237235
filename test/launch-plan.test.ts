/** Whatever plan.bin holds, the program runs and ends as it should. */
import { spawnSync } from 'node:child_process';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { ENVELOPE, HEADER, planChecksum } from '../src/image/plan-layout.ts';
import { evict, PLANNED, Scene } from './launch-scene.ts';

const scene = new Scene();
scene.build({ lookups: [{ path: '/nowhere', found: false }] });
const good = readFileSync(scene.plan);
afterAll(() => scene.drop());
beforeEach(() => evict(scene.data));

/**
 * Starts through a subreaper: the launcher then does a worker's task itself, and a crash would be its own.
 */
function outcome(): { status: number | null; signal: string | null; stderr: string } {
  const { status, signal, stderr } = spawnSync(
    scene.program,
    ['reaper', scene.launch, 'launched', 'exit', '23'],
    { encoding: 'utf8' },
  );
  return { status, signal, stderr };
}

const RAN = { status: 23, signal: null, stderr: '' };

function withChecksums(plan: Buffer): Buffer {
  const head = plan.readUInt32LE(ENVELOPE.head_size);
  if (head % 8 !== 0 || head < HEADER.size || head > plan.length || plan.length % 8 !== 0) return plan;
  plan.writeBigUInt64LE(planChecksum(plan.subarray(head)), HEADER.body_checksum);
  plan.writeBigUInt64LE(planChecksum(plan.subarray(ENVELOPE.size, head)), ENVELOPE.head_checksum);
  return plan;
}

/** Small and repeatable: the same plans on every machine. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

describe('a plan', () => {
  it('that is good is followed', async () => {
    expect(outcome()).toEqual(RAN);
    expect(await scene.residentAfter((pages) => pages === PLANNED)).toBe(PLANNED);
  });

  it.each([
    ['missing', () => Buffer.alloc(0)],
    ['truncated to its head', () => good.subarray(0, HEADER.size)],
    ['truncated by a word', () => good.subarray(0, good.length - 8)],
    ['too long', () => Buffer.concat([good, Buffer.alloc(8)])],
    ['text', () => Buffer.from('this is no plan\n'.repeat(100))],
    [
      'newer',
      () => {
        const plan = Buffer.from(good);
        plan.writeUInt32LE(2, ENVELOPE.version);
        return plan;
      },
    ],
  ])('that is %s is not followed', (_what, bytes) => {
    writeFileSync(scene.plan, bytes());
    expect(outcome()).toEqual(RAN);
    expect(scene.resident()).toBe('');
  });

  it('truncated at any length is not followed', () => {
    writeFileSync(scene.plan, good);
    for (let size = good.length - 1; size >= 0; size -= 7) {
      truncateSync(scene.plan, size);
      expect(outcome()).toEqual(RAN);
    }
    expect(scene.resident()).toBe('');
  });

  it('with 500 kinds of damage, checksums made right for half of them, never stops the program', () => {
    const random = randomFrom(20_240_615);
    for (let round = 0; round < 500; round += 1) {
      const plan = Buffer.from(good);
      for (let edits = 1 + random(4); edits > 0; edits -= 1) {
        const at = random(plan.length);
        const word = Math.min(at & ~3, plan.length - 4);
        const kinds = [
          () => plan.writeUInt8(random(256), at),
          () => plan.writeUInt32LE(0xffff_ffff, word),
          () => plan.writeUInt32LE(random(2 ** 32), word),
          () => plan.writeUInt32LE(random(plan.length), word),
        ];
        kinds[random(kinds.length)]?.();
      }
      writeFileSync(scene.plan, round % 2 === 0 ? plan : withChecksums(plan));
      if (round % 10 === 0) evict(scene.data);
      expect({ round, ...outcome() }).toEqual({ round, ...RAN });
    }
  });
});
