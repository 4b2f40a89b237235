import { spawnSync } from 'node:child_process';
import {
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { errorOf, ImageScene } from '../../test/support/image-scene.ts';
import { defaultCommandName, installImage, onPath } from './install.ts';

const scene = new ImageScene();
const { folder, imagesDir } = scene;
afterAll(() => scene.remove());
beforeEach(() => scene.clear());

describe('installImage', () => {
  const bin = join(folder, 'bin');
  const options = { dir: bin, as: 'tool', withArguments: false, force: false };
  beforeEach(() => rmSync(bin, { recursive: true, force: true }));

  it('links the launcher, which still works when the image is built anew', () => {
    const image = scene.build('one');
    const { path } = installImage(image, options);
    expect(readlinkSync(path)).toBe(join(imagesDir, 'one', 'launch'));
    scene.build('one');
    expect(spawnSync(path).status).toBe(0);
    expect(installImage(image, { ...options, withArguments: true }).target).toBe(
      join(imagesDir, 'one', 'command'),
    );
    expect(readdirSync(bin)).toEqual(['tool']);
  });

  it('replaces nothing that is not ours, unless it is told to', () => {
    const image = scene.build('one');
    mkdirSync(bin);
    writeFileSync(join(bin, 'tool'), 'mine');
    expect(() => installImage(image, options)).toThrow(errorOf('E_INSTALL_EXISTS'));
    expect(readFileSync(join(bin, 'tool'), 'utf8')).toBe('mine');
    installImage(image, { ...options, force: true });
    expect(lstatSync(join(bin, 'tool')).isSymbolicLink()).toBe(true);
    mkdirSync(join(bin, 'folder'));
    expect(() => installImage(image, { ...options, as: 'folder', force: true })).toThrow(
      errorOf('E_INSTALL_EXISTS'),
    );
    symlinkSync('/bin/ls', join(bin, 'link'));
    expect(() => installImage(image, { ...options, as: 'link' })).toThrow(errorOf('E_INSTALL_EXISTS'));
    expect(() => installImage(image, { ...options, as: 'a/b' })).toThrow(errorOf('E_USAGE'));
    expect(() => installImage(image, { ...options, dir: '/proc/none' })).toThrow(errorOf('E_INSTALL_WRITE'));
  });

  it('takes the program’s name, or the image’s where arguments belong to it', () => {
    const image = scene.build('one');
    expect(defaultCommandName(image, false)).toBe('true');
    expect(defaultCommandName(image, true)).toBe('one');
  });

  it('knows whether a shell will find it', () => {
    mkdirSync(bin);
    expect(onPath(bin, 'true', '/usr/bin:/bin')).toEqual({ found: false });
    expect(onPath(bin, 'true', `${bin}:/usr/bin`)).toEqual({ found: true });
    expect(onPath(bin, 'true', `/usr/bin:${bin}`)).toEqual({ found: true, before: '/usr/bin/true' });
  });
});
