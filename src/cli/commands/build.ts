/** `winnow build`: from a profile to an image. */
import type { Command } from 'commander';
import { WinnowError } from '../../base/errors.ts';
import {
  addExample,
  addJsonOption,
  addStoreOption,
  type JsonOption,
  type StoreOption,
  splitAtDashes,
  writeJson,
} from '../options.ts';

interface Options extends JsonOption, StoreOption {
  readonly name?: string;
  readonly root?: string;
  readonly gap?: string;
}

/** The version of the JSON form (docs/formats-image.md). */
const JSON_VERSION = 1;
const MOST_GAP = 4096;

export function registerBuild(program: Command): void {
  const command = program
    .command('build')
    .usage('[options] [-- CMD...]')
    .description('make the image of a recorded command; without NAME and CMD, of the newest profile')
    .argument('[command...]', 'the recorded command, after --')
    .option('--name <name>', 'the profile, and the name of the image')
    .option('--root <dir>', 'build for the copied root file system in this folder')
    .option('--gap <pages>', 'read over gaps of so many pages (default: by the device, 4 or 64)');
  addStoreOption(addJsonOption(command));
  addExample(command, 'winnow build -- python3 app.py', 'winnow build --name git-status');
  command.action(build);
}

async function build(operands: string[], options: Options): Promise<void> {
  const { openStore } = await import('../../profile/store.ts');
  const { selectProfile } = await import('../select-profile.ts');
  const { buildImage } = await import('../../image/build.ts');
  const { explainPlan } = await import('../../prefetch/explain.ts');
  const { before, command } = splitAtDashes(operands);
  const store = openStore(options);
  const gapPages = options.gap === undefined ? undefined : parseGap(options.gap);
  const profile =
    options.name === undefined
      ? selectProfile(store, { before, command })
      : selectProfile(store, { before: [options.name, ...before], command: undefined });
  const image = buildImage(profile, {
    imagesDir: store.imagesDir,
    ...(options.root === undefined ? {} : { root: options.root }),
    ...(gapPages === undefined ? {} : { gapPages }),
  });
  const explanation = explainPlan(image.prefetch);
  if (options.json === true) {
    const { name, path, planBytes, manifest } = image;
    writeJson('build', JSON_VERSION, {
      name,
      path,
      planBytes,
      command: manifest.command,
      prefetch: explanation,
    });
    return;
  }
  const { renderBuilt } = await import('../image-text.ts');
  process.stdout.write(renderBuilt(image, explanation));
}

function parseGap(text: string): number {
  const gap = Number(text);
  if (/^\d+$/.test(text) && gap <= MOST_GAP) return gap;
  throw new WinnowError({
    code: 'E_USAGE',
    kind: 'usage',
    what: `'${text}' is no number of pages`,
    next: `give a whole number from 0 to ${MOST_GAP}: --gap 16`,
  });
}
