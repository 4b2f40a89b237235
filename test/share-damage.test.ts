/** Images after linking that are damaged, built where there is no room, or whose build is killed. */
import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ENVELOPE } from '../src/base/envelope.ts';
import { LINKED_HEADER } from '../src/share/linked/linked-layout.ts';
import { copyRestore } from '../src/share/place/program-copy.ts';
import { runtimeFile } from '../src/sys/runtime.ts';
import { isRoot, ShareScene } from './share-scene.ts';
import { WINNOW } from './support/winnow.ts';

const scene = new ShareScene();
afterAll(() => scene.remove());
const { program, folder } = scene;
const kept = join(folder, 'kept');

beforeAll(() => {
  scene.good('record', '-q', '--name', 'one', '--', program, 'nothing');
  scene.good('record', '-q', '--name', 'env', '--', '/usr/bin/env');
  scene.good('record', '-q', '--name', 'twin', '--', scene.compileTwin(), 'nothing');
  for (const name of ['one', 'env', 'twin']) scene.good('build', '--name', name, '--only', 'share');
  cpSync(realpathSync(scene.image('one')), kept, { recursive: true, preserveTimestamps: true });
});

const file = (name: string): string => join(scene.image('one'), name);
const LINKED = 'share-00-main.linked';
const RESTORE = 'share-00-main.restore';
const COPY = 'share-00-main';

/** In place, as the copy has two names. */
function putBack(name: string): void {
  const original = join(kept, name);
  writeFileSync(file(name), readFileSync(original));
  chmodSync(file(name), statSync(original).mode & 0o777);
}

interface Started {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function start(show = 'auto'): Started {
  const env = { PATH: process.env.PATH, OWN: 'x', WINNOW_SHOW: show };
  const options = { argv0: 'main', encoding: 'utf8', env } as const;
  const { status, stdout, stderr } = spawnSync(scene.launcher('one'), ['say'], options);
  return { status, stdout, stderr };
}

const SAID = 'main main x 42 3\n';
const FROM_IMAGE = { status: 5, stdout: SAID, stderr: 'linked\n' };
const PLAIN = { status: 5, stdout: SAID, stderr: 'plain\n' };
const ways = scene.mountable ? ['mounts', 'audit'] : ['audit'];

const linkedFile = (name: string): string => join(realpathSync(scene.image(name)), `share-00-${name}.linked`);
const shown = (): string => scene.good('image show', 'one').stdout;

describe('an image with damage starts its program plainly', () => {
  beforeAll(() => expect(start()).toEqual(FROM_IMAGE));
  afterEach(() => {
    for (const name of [LINKED, RESTORE, COPY]) putBack(name);
    expect(start()).toEqual(FROM_IMAGE);
  });

  it('whichever byte of its header is another', () => {
    const bytes = readFileSync(file(LINKED));
    for (let at = 0; at < LINKED_HEADER.size; at += 1) {
      const changed = Buffer.from(bytes);
      changed.writeUInt8(changed.readUInt8(at) ^ (1 << (at % 8)), at);
      writeFileSync(file(LINKED), changed);
      expect(start(), `byte ${at}`).toEqual(PLAIN);
    }
  });

  it('whatever of its tables is another, and wherever it is cut off', () => {
    const bytes = readFileSync(file(LINKED));
    const head = bytes.readUInt32LE(ENVELOPE.head_size);
    fc.assert(
      fc.property(fc.nat(head - 1), fc.integer({ min: 1, max: 255 }), fc.boolean(), (at, bits, isCut) => {
        const changed = Buffer.from(bytes);
        changed.writeUInt8(changed.readUInt8(at) ^ bits, at);
        writeFileSync(file(LINKED), isCut ? bytes.subarray(0, at) : changed);
        expect(start()).toEqual(PLAIN);
      }),
      { numRuns: 100 },
    );
  });

  it.each(ways)('wherever its launcher is cut off, and where it is something else (%s)', (show) => {
    const bytes = readFileSync(file(RESTORE));
    const others = [0, 30, 64, 100, 300, 4096, 5000, 12_000].map((size) => bytes.subarray(0, size));
    for (const other of [...others, Buffer.alloc(bytes.length), Buffer.from('#!/bin/sh\necho wrong\n')]) {
      writeFileSync(file(RESTORE), other);
      expect(start(show), `${other.length} bytes`).toEqual(PLAIN);
    }
    writeFileSync(file(RESTORE), bytes);
    chmodSync(file(RESTORE), 0o644);
    expect(start(show)).toEqual(PLAIN);
    expect(shown()).toContain('its own loader now: its launcher cannot be run');
  });

  it('where the copy of the program is cut off', () => {
    for (const size of [0, 64, 8192]) {
      truncateSync(file(COPY), size);
      for (const show of ways) expect(start(show), `${size} bytes`).toEqual(PLAIN);
    }
  });

  it('where the note of its launcher leads nowhere, or to what is no image of it', () => {
    const fifo = join(folder, 'fifo');
    expect(spawnSync('mkfifo', ['-m', '644', fifo]).status).toBe(0);
    const restore = readFileSync(runtimeFile('restore'));
    const paths = [
      '',
      'relative',
      '/nowhere',
      '/dev/zero',
      fifo,
      '/',
      '/etc/passwd',
      file(COPY),
      linkedFile('env'),
      linkedFile('twin'),
    ];
    for (const path of paths) {
      writeFileSync(file(RESTORE), copyRestore(restore, path, 'restore'));
      expect(start(), path).toEqual(PLAIN);
    }
  });

  it('unless it is in pages, which no start reads as a whole: that is told', () => {
    const bytes = readFileSync(file(LINKED));
    bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1);
    writeFileSync(file(LINKED), bytes);
    expect(shown()).toMatch(/its own loader now: E_LINKED_DAMAGED: .* the checksum of its pages is wrong/);
  });
});

describe('a build', () => {
  it.runIf(isRoot)('says where there is no room, and leaves the image as it was', () => {
    const small = join(folder, 'small');
    mkdirSync(small);
    const script = `mount -t tmpfs -o size=260k,mode=755 none "$1" && cp -a "$2"/profiles "$1" && mkdir -m 755 "$1/images"
"$3" build --store "$1" --name one --only share > /dev/null || exit 90; readlink "$1/images/one"
"$3" build --store "$1" --name one --only share; echo $?; readlink "$1/images/one"; ls -A "$1/images"
exec "$1/images/one/launch" say`;
    const words = ['--mount', 'sh', '-c', script, 'sh', small, scene.store, WINNOW];
    const ran = spawnSync('unshare', words, { encoding: 'utf8', env: { ...scene.env, OWN: 'x' } });
    expect(ran.stderr).toContain('winnow: E_IMAGE_FULL: ');
    expect(ran.stderr).toMatch(/^linked$/m);
    expect(ran.status).toBe(5);
    const [before, status, after, ...rest] = ran.stdout.split('\n');
    expect(before).toMatch(/^\.one@/);
    expect([status, after]).not.toEqual(['0', before]);
    expect(after).toBe(before);
    expect(rest.slice(0, -2).sort()).toEqual(['.lock', before, 'one']);
  });

  it('that is killed leaves the image as it was, and no process; the next one clears up', async () => {
    const before = readlinkSync(scene.image('one'));
    for (const ms of [250, 400, 550, 700, 850]) {
      const words = ['build', '--store', scene.store, '--name', 'one', '--only', 'share'];
      const child = spawn(WINNOW, words, { stdio: 'ignore', env: scene.env });
      await sleep(ms);
      child.kill('SIGKILL');
      // Death takes a moment.
      await expect.poll(() => processesOf(program)).toEqual([]);
      expect(start()).toMatchObject({ status: 5, stdout: SAID, stderr: 'linked\n' });
    }
    scene.good('build', '--name', 'one', '--only', 'share');
    expect(readlinkSync(scene.image('one'))).not.toBe(before);
    const left = readdirSync(join(scene.store, 'images')).filter((name) => name.endsWith('.stage'));
    expect(left).toEqual([]);
    expect(start()).toEqual(FROM_IMAGE);
  });

  it.runIf(isRoot)('tells of a program that may not be read', () => {
    const home = join(folder, 'nobody');
    mkdirSync(home);
    chownSync(home, 65_534, 65_534);
    const hidden = join(folder, 'bin', 'hidden');
    cpSync(program, hidden);
    chmodSync(hidden, 0o711);
    const words = [
      '--reuid=65534',
      '--regid=65534',
      '--clear-groups',
      WINNOW,
      'record',
      '--quick',
      '--store',
      join(home, 'store'),
    ];
    const env = { ...process.env, HOME: home, XDG_CACHE_HOME: home };
    const ran = spawnSync('setpriv', [...words, '--', hidden, 'nothing'], { encoding: 'utf8', env });
    expect(ran.stderr).toContain('winnow: E_PROGRAM_NOT_READABLE: ');
  });
});

/** Processes that execute `path`. */
function processesOf(path: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readlinkSync(`/proc/${pid}/exe`) === path;
    } catch {
      // It has ended.
      return false;
    }
  });
}
