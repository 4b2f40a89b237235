/** Images that slide, whose read-only pages are slid when they are touched: the program does not notice (runtime/page-in.c). */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ENVELOPE } from '../src/base/envelope.ts';
import {
  type BuiltImage,
  both,
  expectPlain,
  expectSame,
  RestoreScene,
  type Started,
  type StartOptions,
  start,
} from './support/restore-scene.ts';

const scene = new RestoreScene();
const maps = join(scene.folder, 'maps');
const fifo = join(scene.folder, 'fifo');
const env = { MAPS: maps, FIFO: fifo };
/** KiB of the fixture's table. */
const TABLE = 2048;
let images: { readonly lazy: BuiltImage; readonly files: BuiltImage; readonly eager: BuiltImage };

beforeAll(async () => {
  symlinkSync('/proc/self/maps', maps);
  execFileSync('mkfifo', [fifo]);
  mkdirSync(join(scene.folder, 'work'));
  const program = scene.compileProgram('paged-in', 'paged-in.c');
  const slides = { slides: true };
  images = {
    lazy: await scene.build(program, 'auto', { ...slides, pagesIn: true }),
    files: await scene.build(program, 'files', { ...slides, pagesIn: true }),
    eager: await scene.build(program, 'auto', slides),
  };
});
afterAll(() => scene.remove());

/** KiB that were left when `main` began, and when it ended. */
function left({ stderr }: Started): readonly (number | undefined)[] {
  return ['left', 'then'].map((word) => {
    const found = new RegExp(`^${word} (\\d+)$`, 'm').exec(stderr)?.[1];
    return found === undefined ? undefined : Number(found);
  });
}

function expectPagedIn(
  words: readonly string[],
  options: StartOptions = {},
): readonly (number | undefined)[] {
  const pair = both(images.lazy, words, { ...options, env: { ...env, ...options.env } });
  expectSame(pair);
  expect(images.lazy.isFrom(pair.ours)).toBe(true);
  const [before, then] = left(pair.ours);
  expect(before).toBeGreaterThan(TABLE * 0.9);
  return [before, then];
}

/** Linked at a place of its choice, and nothing left. */
function expectEager(options: StartOptions = {}): void {
  const pair = both(images.lazy, ['all'], { ...options, env: { ...env, ...options.env } });
  expectSame(pair);
  expect(images.lazy.isFrom(pair.ours)).toBe(true);
  expect(left(pair.ours)).toEqual([0, 0]);
}

describe('a start that leaves pages', () => {
  it('says so in its figures, and another one leaves none', () => {
    expect(images.lazy.image.slide?.pagesIn).toBe(true);
    expect(images.eager.image.slide?.pagesIn).toBe(false);
    const pair = both(images.eager, ['all'], { env });
    expectSame(pair);
    expect(left(pair.ours)).toEqual([0, 0]);
    expect(left(pair.plain)).toEqual([0, 0]);
  });

  it('slides those that instructions touch, and all of them where many are touched', () => {
    const [, then] = expectPagedIn(['all']);
    expect(then).toBe(0);
    const [before, few] = expectPagedIn(['asks', 'd']);
    expect(few).toBe(0);
    expect(before).toBeGreaterThan(0);
  });

  it('leaves them where nothing touches them', () => {
    const [before, then] = expectPagedIn(['nothing']);
    expect(then).toBe(before);
  });

  it.each(['calls', 'large', 'bad', 'old'])('has system calls on them answered as ever: %s', (what) => {
    expectPagedIn([what]);
  });

  it.each(['forks', 'executes', 'threads'])('has children and threads see all of them: %s', (what) => {
    for (let i = 0; i < 5; i += 1) expectPagedIn([what]);
  });

  it.each(['handles', 'elsewhere', 'blocks', 'told', 'filters'])('has its signals to itself: %s', (what) => {
    const [, then] = expectPagedIn([what]);
    expect(then).toBe(0);
  });

  it.each(['actions', 'stack', 'timer', 'default', 'maps'])('is told of no state of ours: %s', (what) => {
    expectPagedIn(['asks', what]);
  });

  it.each([...'ncasyvktd'])('ends as it would: %s', (how) => {
    const pair = [images.lazy.program, images.lazy.copy].map((file) =>
      spawnSync(file, ['ends', how], { encoding: 'utf8', env: { ...process.env, ...env } }),
    );
    const [plain, ours] = pair.map(({ status, signal, stdout }) => ({ status, signal, stdout }));
    expect(ours).toEqual(plain);
    expect(plain?.signal).not.toBe(null);
    expect(pair[1]?.stderr).toMatch(/^left [1-9]/m);
  });

  it.each(['SEGV', 'SYS', 'VTALRM', 'BUS', 'TERM'] as const)('ends by SIG%s from outside', async (name) => {
    for (const file of [images.lazy.program, images.lazy.copy]) {
      const child = spawn(file, ['interrupted'], { env: { ...env }, stdio: ['ignore', 'ignore', 'pipe'] });
      await untilSaid(child, 'ready');
      child.kill(`SIG${name}` as NodeJS.Signals);
      const [status, signal] = await once(child, 'exit');
      expect([status, signal]).toEqual([null, `SIG${name}`]);
    }
  });

  it('is interrupted in a call that is made for it', async () => {
    const said: string[] = [];
    for (const file of [images.lazy.program, images.lazy.copy]) {
      const child = spawn(file, ['interrupted'], { env: { ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
      let out = '';
      child.stdout.on('data', (bytes) => {
        out += bytes;
      });
      await untilSaid(child, 'ready');
      await untilAsleep(child.pid ?? 0);
      child.kill('SIGUSR1');
      await once(child, 'close');
      said.push(out);
    }
    expect(said[1]).toBe(said[0]);
    expect(said[0]).toBe('read -1 4\nsignals 1 touched 1\n');
  });

  it('leaves none to whoever waits for somebody, computes for long, or makes many calls', async () => {
    expect(expectPagedIn(['computes'])[1]).toBe(0);
    expect(expectPagedIn(['many'])[1]).toBe(0);
    const child = spawn(images.lazy.copy, ['waits'], { env: { ...env }, stdio: ['pipe', 'pipe', 'pipe'] });
    await untilSaid(child, 'left');
    await untilAsleep(child.pid ?? 0);
    expect(readFileSync(`/proc/${child.pid}/maps`, 'utf8')).not.toMatch(/ ---p .*\.linked$/m);
    // A debugger that attaches finds a process without signals of ours.
    const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
    expect(status).toMatch(/^SigCgt:\t0{16}$/m);
    const question = 'p pages[400].words[7] == &anchor';
    const asked = execFileSync(
      'gdb',
      ['-batch', '-p', String(child.pid), '-ex', question, images.lazy.copy],
      {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      },
    );
    expect(asked).toContain('$1 = 1');
    child.stdin.end('x');
    const [code] = await once(child, 'close');
    expect(code).toBe(5);
  });

  it('leaves none where a signal is not as most programs have it, and without the kernel’s help', () => {
    for (const name of ['SEGV', 'SYS', 'FPE']) {
      expectEager({ through: ['env', `--ignore-signal=${name}`] });
      expectEager({ through: ['env', `--block-signal=${name}`] });
    }
    expectEager({ through: ['setarch', '-R'] });
    expectPagedIn(['all'], { through: ['env', '--ignore-signal=PIPE'] });
  });

  it('leaves none to a tracer', () => {
    const script = ['-batch', '-ex', 'set startup-with-shell off', '-ex', 'set disable-randomization off'];
    const words = ['-ex', 'run', '-ex', 'info inferiors', '--args', images.lazy.copy, 'all'];
    const ran = spawnSync('gdb', [...script, ...words], {
      encoding: 'utf8',
      env: { ...process.env, ...env },
    });
    expect(ran.stdout).toContain('right 512\n');
    expect(ran.stdout).not.toContain('received signal');
    expect(ran.stderr).toMatch(/^left 0$/m);
  });

  it('is plain where the version of its image knows no page-in', () => {
    const other = Buffer.from(images.lazy.bytes);
    other.writeUInt32LE(3, ENVELOPE.version);
    images.lazy.with(other, () => expectPlain(images.lazy, { env }));
  });

  it('is the same with libraries as files, and 200 times', () => {
    const plain = start(images.lazy.program, ['calls'], { env });
    for (let i = 0; i < 100; i += 1) {
      for (const built of [images.lazy, images.files]) {
        const ours = start(built.copy, ['calls'], { env });
        expectSame({ plain, ours });
        expect(built.isFrom(ours)).toBe(true);
        expect(left(ours)[0]).toBeGreaterThan(TABLE * 0.9);
      }
    }
  });
});

async function untilSaid(child: ReturnType<typeof spawn>, word: string): Promise<void> {
  let said = '';
  await new Promise<void>((resolve, reject) => {
    child.stderr?.on('data', (bytes) => {
      said += String(bytes);
      if (said.includes(word)) resolve();
    });
    child.once('exit', () => reject(new Error(said)));
  });
}

async function untilAsleep(pid: number): Promise<void> {
  for (let i = 0; i < 500; i += 1) {
    if (/\) S /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))) return;
    await sleep(10);
  }
  throw new Error('it does not wait');
}
