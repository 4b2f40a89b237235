/** Two images of the same program have one file of what linking made, whoever is built, refreshed, dropped or killed when. */
import { spawn } from 'node:child_process';
import {
  chmodSync,
  readdirSync,
  readFileSync,
  realpathSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeLinked } from '../src/share/linked/linked-decode.ts';
import { ShareScene } from './share-scene.ts';
import { WINNOW } from './support/winnow.ts';

const scene = new ShareScene();
afterAll(() => scene.remove());
const { program, other } = scene;

beforeAll(() => {
  for (const name of ['one', 'two', 'three'])
    scene.good('record', '-q', '--name', name, '--', program, 'nothing');
  scene.good('record', '-q', '--name', 'tree', '--', program, 'child', other, 'nothing');
  scene.good('record', '-q', '--name', 'twin', '--', scene.compileTwin(), 'nothing');
});

const build = (name: string, ...words: string[]) =>
  scene.good('build', '--name', name, '--only', 'share', ...words);
const linkedOf = (name: string, of = 'main'): string => {
  const folder = realpathSync(scene.image(name));
  const file = readdirSync(folder).find((one) => one.endsWith(`-${of}.linked`));
  if (file === undefined) throw new Error(`${name} has no ${of}`);
  return join(folder, file);
};
const inodeOf = (name: string): number => statSync(linkedOf(name)).ino;
const addressOf = (name: string): number => {
  const path = linkedOf(name);
  return decodeLinked(readFileSync(path), path).base;
};

/** The image's program says how it was started. */
async function start(name: string): Promise<string> {
  const env = { ...scene.env, OWN: 'x' };
  const child = spawn(scene.launcher(name), ['say'], {
    argv0: 'main',
    stdio: ['ignore', 'pipe', 'pipe'],
    env,
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
  const status = await new Promise((resolve) => child.on('close', resolve));
  return `${status} ${said.includes('main main x 42 3\n')} ${said.includes('linked\n')}`;
}
const LINKED = '5 true true';

describe('two images of one program', () => {
  it.each([
    [[]],
    [['--variant', 'joined']],
    [['--variant', 'files']],
    [['--variant', 'direct']],
    [['--slide']],
  ])('have one file: %j', async (words: string[]) => {
    for (const name of ['one', 'two']) build(name, ...words);
    expect(inodeOf('two')).toBe(inodeOf('one'));
    expect(statSync(linkedOf('one')).nlink).toBe(2);
    for (const name of ['one', 'two']) expect(await start(name)).toBe(LINKED);
    expect(scene.good('verify', '--name', 'two', '--', program, 'die').stdout).toMatch(/^same: /);
  });

  it('have one for each program of a tree that is the same', async () => {
    for (const name of ['one', 'tree']) build(name);
    expect(inodeOf('tree')).toBe(inodeOf('one'));
    expect(statSync(linkedOf('tree', 'other')).nlink).toBe(1);
    expect(await start('tree')).toBe(LINKED);
    scene.good('image drop', 'tree');
  });

  it('say so', () => {
    for (const name of ['one', 'two']) build(name);
    expect(scene.good('image show', 'two').stdout).toMatch(/^ {2}file {7}the same as in 1 other image$/m);
    const { programs } = JSON.parse(scene.good('image show', 'two', '--json').stdout);
    expect(programs[0].otherImages).toBe(1);
  });

  it('each start where the other one is dropped', async () => {
    for (const name of ['one', 'two']) build(name);
    scene.good('image drop', 'one');
    expect(scene.good('image show', 'two').stdout).not.toMatch(/^ {2}file /m);
    expect(await start('two')).toBe(LINKED);
    build('one');
    expect(inodeOf('one')).toBe(inodeOf('two'));
    scene.good('image drop', 'two');
    expect(await start('one')).toBe(LINKED);
  });

  it('have other addresses when one of them is built anew alone, or refreshed', async () => {
    for (const name of ['one', 'two']) build(name);
    const [inode, address] = [inodeOf('two'), addressOf('two')];
    scene.good('image refresh', 'one');
    expect(addressOf('one')).not.toBe(address);
    expect([inodeOf('two'), addressOf('two')]).toEqual([inode, address]);
    for (const name of ['one', 'two']) expect(await start(name)).toBe(LINKED);
  });

  it('have one file again, at other addresses, when all are refreshed', async () => {
    for (const name of ['one', 'two']) build(name);
    const address = addressOf('one');
    scene.good('image refresh');
    expect(inodeOf('two')).toBe(inodeOf('one'));
    expect(addressOf('one')).not.toBe(address);
    for (const name of ['one', 'two']) expect(await start(name)).toBe(LINKED);
  });

  it('are built at the same time, and each starts', async () => {
    const builds = ['one', 'two', 'three', 'one'].map((name) => {
      const words = ['build', '--store', scene.store, '--name', name, '--only', 'share'];
      const child = spawn(WINNOW, words, { stdio: 'ignore', env: scene.env });
      return new Promise((resolve) => child.on('close', resolve));
    });
    expect(await Promise.all(builds)).toEqual([0, 0, 0, 0]);
    for (const name of ['one', 'two', 'three']) expect(await start(name)).toBe(LINKED);
    scene.good('image drop', 'three');
  });

  it('stay as they were where a build is killed', async () => {
    for (const name of ['one', 'two']) build(name);
    for (const ms of [250, 400, 550, 700]) {
      const words = ['build', '--store', scene.store, '--name', 'two', '--only', 'share'];
      const child = spawn(WINNOW, words, { stdio: 'ignore', env: scene.env });
      // Before the sleep: it may have ended by itself by then.
      const closed = new Promise((resolve) => child.on('close', resolve));
      await sleep(ms);
      child.kill('SIGKILL');
      await closed;
      for (const name of ['one', 'two']) expect(await start(name)).toBe(LINKED);
    }
    build('two');
    expect(inodeOf('two')).toBe(inodeOf('one'));
    const left = readdirSync(join(scene.store, 'images')).filter((name) =>
      /\.(?:stage|tmp|link)$/.test(name),
    );
    expect(left).toEqual([]);
  });
});

describe('an image has a file of its own', () => {
  const bothStart = async (): Promise<void> => {
    expect(inodeOf('two')).not.toBe(inodeOf('one'));
    expect(statSync(linkedOf('two')).nlink).toBe(1);
    expect(await start('two')).toBe(LINKED);
  };

  it('of another variant', async () => {
    build('one');
    build('two', '--variant', 'joined');
    await bothStart();
    expect(await start('one')).toBe(LINKED);
    build('two', '--slide');
    await bothStart();
  });

  it('of another program that is laid out alike', () => {
    build('one');
    build('twin');
    expect(statSync(linkedOf('twin', 'twin')).nlink).toBe(1);
    expect(statSync(linkedOf('one')).nlink).toBe(1);
  });

  it('where the other one is damaged, wherever that is', async () => {
    for (const at of [9, 400, -1]) {
      build('one');
      const bytes = readFileSync(linkedOf('one'));
      const place = at < 0 ? bytes.length + at : at;
      bytes.writeUInt8(bytes.readUInt8(place) ^ 1, place);
      writeFileSync(linkedOf('one'), bytes);
      build('two');
      await bothStart();
    }
  });

  it('where a library has changed since', async () => {
    build('one');
    const { atime, mtime } = statSync(scene.library);
    utimesSync(scene.library, 1, 1);
    build('two');
    await bothStart();
    expect(await start('one')).toBe('5 true false');
    utimesSync(scene.library, atime, mtime);
  });

  it('where others may read the one and not the other', async () => {
    build('one');
    const images = join(scene.store, 'images');
    chmodSync(images, 0o700);
    try {
      build('two');
      await bothStart();
      expect(statSync(linkedOf('two')).mode & 0o077).toBe(0);
    } finally {
      chmodSync(images, 0o755);
    }
  });
});
