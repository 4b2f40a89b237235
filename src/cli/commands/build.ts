/** `winnow build`: from a profile to an image. */
import { type Command, Option } from 'commander';
import { usageError } from '../../base/errors.ts';
import type { Cold, OnMiss } from '../../select/model.ts';
import { isVariant, type ShareVariant } from '../../share/model.ts';
import { type Sharing, TECHNIQUES, type Technique } from '../build-techniques.ts';
import {
  addExample,
  addJsonOption,
  addStoreOption,
  type JsonOption,
  parseFolder,
  type StoreOption,
  splitAtDashes,
  writeJson,
} from '../options.ts';
import { addShowOption, type ShowOption, showMode } from '../show-option.ts';

interface Options extends JsonOption, ShowOption, StoreOption {
  readonly name?: string;
  readonly root?: string;
  readonly gap?: string;
  readonly only?: string;
  readonly cold?: string;
  readonly onMiss?: string;
  readonly share?: string;
  readonly variant?: string;
  readonly slide?: boolean;
  readonly pageIn?: boolean;
  readonly all?: boolean;
  readonly rootfs?: string;
  readonly out?: string;
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
    .option('--root <dir>', 'build for the copied root file system in this folder', parseFolder)
    .option(
      '--only <techniques>',
      'prefetch, select, share (default: prefetch, and select where the profile has functions)',
    )
    .option('--cold <how>', 'code that no run used: file (default: paged when touched), deny or store')
    .option('--on-miss <how>', 'where denied code is come to: abort (default: with a report) or log')
    .option('--share <how>', 'share: image (default), or prelink: copies for the stock dynamic loader')
    .option(
      '--variant <how>',
      'share: small libraries are taken into the image (auto, default), none (files), or all: joined, direct',
    )
    .option('--slide', 'share: random addresses at each start, for relocated pages of its own')
    .option('--page-in', 'with --slide: read-only pages are relocated when they are first touched')
    .option(
      '--rootfs <dir>',
      'in place of an image: copy the root file system in this folder to --out,',
      parseFolder,
    )
    .option('--out <dir>', 'with rewritten modules in place of the originals', parseFolder)
    .option('--gap <pages>', 'read over gaps of so many pages (default: by the device, which is measured)');
  // For tests: the most that can go wrong.
  command.addOption(new Option('--all', 'select: copy all code, used or not').hideHelp());
  addStoreOption(addJsonOption(addShowOption(command)));
  addExample(command, 'winnow build -- python3 app.py', 'winnow build --name git-status');
  command.action(build);
}

async function build(operands: string[], options: Options): Promise<void> {
  const { openStore } = await import('../../profile/store.ts');
  const { selectProfile } = await import('../select-profile.ts');
  const { buildTechniques } = await import('../build-techniques.ts');
  const { explainPlan } = await import('../../prefetch/explain.ts');
  const { hasFunctions } = await import('../../select/uses.ts');
  const { analysesDir } = await import('../analyses.ts');
  const { before, command } = splitAtDashes(operands);
  const store = openStore(options);
  const gapPages = options.gap === undefined ? undefined : parseGap(options.gap);
  const show = showMode(options);
  const profile =
    options.name === undefined
      ? selectProfile(store, { before, command })
      : selectProfile(store, { before: [options.name, ...before], command: undefined });
  if (options.rootfs !== undefined || options.out !== undefined) {
    const { buildRootCopy } = await import('../root-copy.ts');
    const cold = coldOf(options, new Set(['select']));
    if (cold === 'store' || options.onMiss !== undefined)
      throw usageError(
        'a copied root file system has no audit object',
        'leave out --cold store and --on-miss',
      );
    return await buildRootCopy(profile, { ...options, cold, cache: analysesDir() });
  }
  const techniques = techniquesOf(options.only, hasFunctions(profile));
  const cold = coldOf(options, techniques);
  const onMiss = onMissOf(options, cold);
  const variant = variantOf(options, techniques);
  if (options.slide === true && !techniques.has('share'))
    throw usageError('--slide is about the technique share, which is not used', 'add it: --only share');
  if (options.pageIn === true && options.slide !== true)
    throw usageError('--page-in is about addresses that slide', 'add --slide');
  const sharing = sharingOf(options, techniques);
  if (techniques.has('share') && techniques.has('select')) checkBoth(cold, show);
  if (cold === 'store' && (show === 'mounts' || show === 'user-mounts'))
    throw usageError('modules with stored code are never mounted', 'leave out --show, or give --show audit');
  const buildOptions = {
    imagesDir: store.imagesDir,
    prefetch: techniques.has('prefetch'),
    ...(options.root === undefined ? {} : { root: options.root }),
    ...(gapPages === undefined ? {} : { gapPages }),
    ...(show === undefined ? {} : { show }),
    cold,
  };
  const image = await buildTechniques(profile, buildOptions, {
    techniques,
    cold,
    onMiss,
    variant,
    slides: options.slide === true,
    pagesIn: options.pageIn === true,
    sharing,
    all: options.all === true,
    cache: analysesDir(),
  });
  const explanation = explainPlan(image.prefetch);
  const { select, share, prelink } = image.manifest;
  if (options.json === true) {
    const { name, path, planBytes, manifest } = image;
    const { explainSelect } = await import('../../select/explain.ts');
    const { explainShare } = await import('../../share/explain.ts');
    writeJson('build', JSON_VERSION, {
      name,
      path,
      planBytes,
      command: manifest.command,
      techniques: manifest.techniques,
      prefetch: explanation,
      ...(select === undefined ? {} : { select: { cold: select.cold, ...explainSelect(select) } }),
      ...(share === undefined ? {} : { share: explainShare(share) }),
      ...(prelink === undefined ? {} : { prelink }),
    });
    return;
  }
  const { renderBuilt } = await import('../image-text.ts');
  const { checkShared } = await import('../../image/share-check.ts');
  // What can be mounted in another root is not known here.
  const programs = options.root === undefined ? checkShared(image) : [];
  process.stdout.write(renderBuilt(image, explanation, programs));
}

function techniquesOf(only: string | undefined, hasFunctions: boolean): ReadonlySet<Technique> {
  if (only === undefined) return new Set(hasFunctions ? ['prefetch', 'select'] : ['prefetch']);
  const words = only.split(',');
  const found = TECHNIQUES.filter((name) => words.includes(name));
  const other = words.find((word) => !TECHNIQUES.some((name) => name === word));
  if (other !== undefined)
    throw usageError(
      `'${other}' is no technique`,
      `give one or more of ${TECHNIQUES.join(',')}: --only select`,
    );
  return new Set(found);
}

/** Linked programs hold addresses of rewritten modules, which a start must therefore find: by mounts, all or none. */
function checkBoth(cold: Cold, show: string | undefined): void {
  if (process.geteuid?.() !== 0)
    throw usageError(
      'select and share together need mounts, which root alone can have',
      'leave one of them out',
    );
  if (cold !== 'file')
    throw usageError(
      `programs with --cold ${cold} need audit.so in their process, which those that start linked do not load`,
      'leave out --cold, or share: --only prefetch,select',
    );
  if (show === 'audit' || show === 'user-mounts')
    throw usageError(
      `select and share together need mounts, not ${show}`,
      'leave out --show, or give mounts',
    );
}

function coldOf({ cold }: Options, techniques: ReadonlySet<Technique>): Cold {
  if (cold === undefined) return 'file';
  if (cold !== 'file' && cold !== 'deny' && cold !== 'store')
    throw usageError(
      `'${cold}' is no way to treat unused code`,
      'give --cold file, --cold deny or --cold store',
    );
  if (!techniques.has('select'))
    throw usageError('--cold is about the technique select, which is not used', 'add it: --only select');
  return cold;
}

function onMissOf({ onMiss }: Options, cold: Cold): OnMiss {
  if (onMiss === undefined) return 'abort';
  if (onMiss !== 'abort' && onMiss !== 'log')
    throw usageError(
      `'${onMiss}' is nothing that can be done with denied code`,
      'give --on-miss abort or --on-miss log',
    );
  if (cold !== 'deny') throw usageError('--on-miss is about code that is denied', 'add it: --cold deny');
  return onMiss;
}

function variantOf({ variant }: Options, techniques: ReadonlySet<Technique>): ShareVariant {
  if (variant === undefined) return 'auto';
  if (!isVariant(variant))
    throw usageError(
      `'${variant}' is no variant of linked programs`,
      'give --variant auto, files, joined or direct',
    );
  if (!techniques.has('share'))
    throw usageError('--variant is about the technique share, which is not used', 'add it: --only share');
  return variant;
}

function sharingOf(options: Options, techniques: ReadonlySet<Technique>): Sharing {
  const { share, variant, slide, root, show } = options;
  if (share === undefined || share === 'image') return 'image';
  if (share !== 'prelink')
    throw usageError(`'${share}' is no way to share what is linked`, 'give --share image or --share prelink');
  if (!techniques.has('share'))
    throw usageError('--share is about the technique share, which is not used', 'add it: --only share');
  if (techniques.size > 1)
    throw usageError(
      'prelinked libraries go with no other technique yet',
      'leave the others out: --only share',
    );
  if (variant !== undefined || slide === true)
    throw usageError(
      '--variant and --slide are about programs in an image',
      'leave them out, or give --share image',
    );
  if (show !== undefined)
    throw usageError('prelinked libraries are shown by the audit object alone', 'leave out --show');
  if (root !== undefined)
    throw usageError(
      'libraries are not prelinked for another root',
      'leave out --root, or give --share image',
    );
  return 'prelink';
}

function parseGap(text: string): number {
  const gap = Number(text);
  if (/^\d+$/.test(text) && gap <= MOST_GAP) return gap;
  throw usageError(`'${text}' is no number of pages`, `give a whole number from 0 to ${MOST_GAP}: --gap 16`);
}
