import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { errorOf, ImageScene } from '../../test/support/image-scene.ts';
import { WinnowError } from '../base/errors.ts';
import { dropImage, findImage, listImages, readImage } from './images.ts';

const scene = new ImageScene();
const { folder, imagesDir, program } = scene;
const dirs = [imagesDir];
afterAll(() => scene.remove());
beforeEach(() => scene.clear());

describe('finding images', () => {
  it('lists them, broken ones with their error', () => {
    scene.build('b');
    scene.build('a');
    scene.build('broken');
    writeFileSync(join(imagesDir, 'broken', 'manifest.json'), '{"winnow":"image","version":1}');
    scene.build('newer');
    writeFileSync(join(imagesDir, 'newer', 'manifest.json'), '{"winnow":"image","version":6}');
    const listed = listImages(dirs).map(({ name, manifest }) => [
      name,
      manifest instanceof WinnowError ? manifest.code : 'good',
    ]);
    expect(listed).toEqual([
      ['a', 'good'],
      ['b', 'good'],
      ['broken', 'E_IMAGE_DAMAGED'],
      ['newer', 'E_IMAGE_NEWER'],
    ]);
    expect(() => readImage(dirs, 'c')).toThrow(errorOf('E_NO_IMAGE'));
    expect(listImages([join(folder, 'nowhere')])).toEqual([]);
  });

  it('finds the one built for a command, else the only one of the program', () => {
    scene.build('true-a', ['true', 'a']);
    const command = (...argv: readonly string[]) => ({ program, argv, cwd: '/' });
    expect(findImage(dirs, command('true', 'a')).name).toBe('true-a');
    expect(findImage(dirs, command('true', 'other')).name).toBe('true-a');
    scene.build('named', ['true', 'b']);
    expect(findImage(dirs, command('true', 'b')).name).toBe('named');
    expect(() => findImage(dirs, command('true', 'c'))).toThrow(errorOf('E_NO_IMAGE'));
    expect(() => findImage(dirs, { program: '/bin/false', argv: ['false'], cwd: '/' })).toThrow(
      errorOf('E_NO_IMAGE'),
    );
  });

  it('finds one under a name that a person gave: the one built last', () => {
    const command = { program, argv: ['true', 'a'], cwd: '/' };
    for (const [name, builtAt] of [
      ['first', 1],
      ['second', 3],
      ['third', 2],
    ] as const) {
      const path = join(scene.build(name).path, 'manifest.json');
      writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), builtAt }));
    }
    scene.build('broken');
    writeFileSync(join(imagesDir, 'broken', 'manifest.json'), '');
    expect(findImage(dirs, command).name).toBe('second');
    scene.build('true-a');
    expect(findImage(dirs, command).name).toBe('true-a');
  });

  it('drops one with all its versions', () => {
    scene.build('one');
    scene.build('one');
    scene.build('two');
    dropImage(imagesDir, 'one');
    expect(listImages(dirs).map(({ name }) => name)).toEqual(['two']);
    expect(scene.entries()).toHaveLength(2);
    expect(() => dropImage(imagesDir, 'one')).toThrow(errorOf('E_NO_IMAGE'));
    expect(() => dropImage(imagesDir, '../store')).toThrow(errorOf('E_BAD_NAME'));
  });
});
