/** `winnow image`: what has been built. */
import { statSync } from 'node:fs';
import type { Command } from 'commander';
import { WinnowError } from '../../base/errors.ts';
import {
  addExample,
  addJsonOption,
  addStoreOption,
  type JsonOption,
  type StoreOption,
  writeJson,
} from '../options.ts';

interface ReadOptions extends JsonOption, StoreOption {}

/** A root may be on a disk that is not mounted, or be gone with its container. */
const isThere = (root: string | undefined): boolean =>
  root === undefined || statSync(root, { throwIfNoEntry: false })?.isDirectory() === true;

/** The version of the JSON forms (docs/formats-image.md). */
const JSON_VERSION = 1;

const say = (text: string): void => void process.stderr.write(`${text}\n`);

async function openDirs(options: StoreOption): Promise<{ dirs: string[]; own: string }> {
  const { openStore } = await import('../../profile/store.ts');
  const { imagesDirs } = await import('../images-of.ts');
  const store = openStore(options);
  return { dirs: imagesDirs(store, options), own: store.imagesDir };
}

function addList(group: Command): void {
  const command = addStoreOption(addJsonOption(group.command('list').description('list all images')));
  addExample(command, 'winnow image list');
  command.action(async (options: ReadOptions) => {
    const { listImages } = await import('../../image/images.ts');
    const { dirs, own } = await openDirs(options);
    const images = listImages(dirs);
    if (options.json === true) {
      const lines = images.map(({ name, path, manifest }) =>
        manifest instanceof WinnowError
          ? { name, path, problem: manifest.code }
          : {
              name,
              path,
              builtAt: manifest.builtAt,
              command: manifest.command,
              figures: manifest.prefetch.figures,
            },
      );
      writeJson('images', JSON_VERSION, { images: lines });
      return;
    }
    if (images.length === 0) return say(`nothing has been built in ${own}: winnow build -- CMD`);
    const { renderImages } = await import('../image-text.ts');
    process.stdout.write(renderImages(images));
  });
}

function addShow(group: Command): void {
  const command = group.command('show').description('show what an image does').argument('<name>');
  command.option('--files', 'list each file of the plan, in the order of the prefetch');
  addExample(addStoreOption(addJsonOption(command)), 'winnow image show git-status --files');
  command.action(async (name: string, options: ReadOptions & { readonly files?: boolean }) => {
    const { readImage, readPlan, requireParts } = await import('../../image/images.ts');
    const { readPlanMisses } = await import('../../image/plan-misses.ts');
    const { checkModules } = await import('../../image/modules-check.ts');
    const { checkShared } = await import('../../image/share-check.ts');
    const { checkPrelinked } = await import('../../image/prelink-check.ts');
    const image = readImage((await openDirs(options)).dirs, name);
    requireParts(image);
    const plan = readPlan(image);
    const unfetched = readPlanMisses(image, plan);
    // What can be mounted in another root is not known here.
    const isHere = image.manifest.root === undefined;
    const modules = isHere ? checkModules(image) : undefined;
    const programs = isThere(image.manifest.root) ? checkShared(image) : [];
    const prelinked = isHere ? checkPrelinked(image) : undefined;
    if (options.json === true) {
      const { manifest, path } = image;
      const shown = {
        name,
        path,
        manifest: { ...manifest, inputs: manifest.inputs.length },
        plan,
        modules,
        unfetched,
      };
      const more = { ...(manifest.share && { programs }), ...(prelinked && { prelinked }) };
      writeJson('image', JSON_VERSION, { ...shown, ...more });
      return;
    }
    const { renderImage } = await import('../image-text.ts');
    process.stdout.write(
      renderImage(image, { plan, modules, programs, prelinked, unfetched }, options.files === true),
    );
  });
}

function addDrop(group: Command): void {
  const command = group
    .command('drop')
    .description('remove images; their profiles stay, installed commands no longer start')
    .argument('<names...>');
  addExample(addStoreOption(command), 'winnow image drop git-status');
  command.action(async (names: string[], options: StoreOption) => {
    const { dropImage } = await import('../../image/images.ts');
    const { own } = await openDirs(options);
    for (const name of names) {
      dropImage(own, name);
      say(`dropped ${name}`);
    }
  });
}

function addRefresh(group: Command): void {
  const command = group
    .command('refresh')
    .description('build images anew: linked programs get other random addresses')
    .argument('[names...]', 'default: all images of your store with linked programs or prelinked libraries')
    .option('--stale', 'only those of which a program would start plainly now');
  addExample(addStoreOption(command), 'winnow image refresh git-status', 'winnow image refresh --stale');
  command.action(async (names: string[], options: StoreOption & { readonly stale?: boolean }) => {
    const { openStore } = await import('../../profile/store.ts');
    const { listImages, readImage } = await import('../../image/images.ts');
    const { isStale, refreshImage } = await import('../refresh.ts');
    const store = openStore(options);
    const dirs = [store.imagesDir];
    const since = Date.now();
    const wanted =
      names.length > 0
        ? names
        : listImages(dirs).flatMap(({ name, manifest }) =>
            !(manifest instanceof WinnowError) && (manifest.share ?? manifest.prelink) !== undefined
              ? [name]
              : [],
          );
    for (const name of wanted) {
      const image = readImage(dirs, name);
      const { root } = image.manifest;
      if (names.length === 0 && !isThere(root)) {
        say(`left ${name} as it is: its root ${root} is not there`);
        continue;
      }
      if (options.stale === true && !(await isStale(image))) continue;
      await refreshImage(store, image, since);
      say(`refreshed ${name}`);
    }
  });
}

export function registerImage(program: Command): void {
  const group = program.command('image').description('list, show, refresh and drop images');
  addExample(group, 'winnow image list');
  for (const add of [addList, addShow, addRefresh, addDrop]) add(group);
}
