/** `winnow report --sharing`: reads the program's modules, measures its starts, prints the table. */
import { readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { WinnowError } from '../base/errors.ts';
import type { Image } from '../image/images.ts';
import type { Command } from '../profile/model.ts';
import type { Store } from '../profile/store.ts';
import type { ImageStart, StartsInput } from '../report/sharing-starts.ts';
import { formatBytes, formatCount } from '../term/format.ts';
import { type JsonOption, type Operands, type StoreOption, writeJson } from './options.ts';

/**
 * The command behind the dashes, which need not have been recorded, or that of a profile.
 * @throws WinnowError E_PROGRAM_…, E_NO_PROFILE
 */
export async function sharedCommand(store: Store, operands: Operands): Promise<Command> {
  const [typed] = operands.command ?? [];
  if (operands.command === undefined || typed === undefined || operands.before.length > 0) {
    const { selectProfile } = await import('./select-profile.ts');
    const [run] = selectProfile(store, operands).runs;
    if (run !== undefined) return run.command;
  }
  const { resolveProgram } = await import('../record/resolve.ts');
  const cwd = process.cwd();
  const program = resolveProgram(typed ?? '', cwd, process.env.PATH);
  return { program, argv: operands.command ?? [], cwd };
}

const VARIANT_ROUNDS = 15;

/** @throws WinnowError E_NOT_DYNAMIC, E_CLOSURE, E_ELF_… */
export async function reportSharing(
  command: Command,
  store: Store,
  options: StoreOption & JsonOption,
): Promise<void> {
  const { program, argv } = command;
  const { readClosure } = await import('../share/closure/modules.ts');
  const { sharingFigures } = await import('../share/notes/figures.ts');
  const { SHARING_JSON_VERSION, sharingReport } = await import('../report/sharing.ts');
  const { startProgress } = await import('../term/progress.ts');
  const progress = startProgress('looking at modules');
  try {
    const closure = readClosure(program);
    if ('kind' in closure) {
      throw new WinnowError({
        code: 'E_NOT_DYNAMIC',
        kind: 'unsupported',
        what: `the program has no modules to share: ${closure.reason}`,
        where: program,
        next: 'name a program that is linked dynamically',
      });
    }
    const figures = sharingFigures(closure);
    const images = await imageStartsOf(store, options, command, closure.program);
    const { measureStarts } = await import('../report/sharing-starts.ts');
    const onProgress = (text: string): void => progress.update(text);
    const starts = await measureStarts({ closure, argv, images, onProgress });
    const { measureVariants } = await import('../report/sharing-variants.ts');
    const variants = await measureVariants(
      { program: closure.program, argv, rounds: VARIANT_ROUNDS },
      onProgress,
    );
    progress.stop();
    const libraries = 'missing' in images.fixed ? undefined : images.fixed.libraries;
    const report = sharingReport({ command: argv, figures, starts, libraries, variants });
    if (options.json === true) return writeJson('sharing', SHARING_JSON_VERSION, report);
    const { renderSharing } = await import('../report/sharing-text.ts');
    process.stdout.write(renderSharing(report));
  } finally {
    progress.stop();
  }
}

/** The images that were built for the command and would be used: one of fixed addresses, and one that slides. */
async function imageStartsOf(
  store: Store,
  options: StoreOption,
  command: Command,
  program: string,
): Promise<StartsInput['images']> {
  const { findImage, imagesOfCommand } = await import('../image/images.ts');
  const { imagesDirs } = await import('./images-of.ts');
  const dirs = imagesDirs(store, options);
  const path = realpathSync(program);
  const images: Image[] = [];
  try {
    images.push(findImage(dirs, command));
  } catch (error) {
    if (!(error instanceof WinnowError) || error.code !== 'E_NO_IMAGE') throw error;
  }
  images.push(...imagesOfCommand(dirs, command));
  const start = async (slides: boolean): Promise<MaybeImage> => {
    for (const image of images) {
      const shared = image.manifest.share?.programs.find((one) => one.path === path);
      if (shared === undefined || (shared.slide !== undefined) !== slides) continue;
      return await imageStartOf(image, shared);
    }
    const how = slides ? 'winnow build --only share --slide' : 'winnow build --only share';
    return { missing: `no image after relocation was built (${how})` };
  };
  return { fixed: await start(false), slid: await start(true) };
}

type MaybeImage = ImageStart | { readonly missing: string };
type SharedProgram = NonNullable<Image['manifest']['share']>['programs'][number];

async function imageStartOf(image: Image, shared: SharedProgram): Promise<MaybeImage> {
  const { checkShared } = await import('../image/share-check.ts');
  const { decodeLinked } = await import('../share/linked/linked-decode.ts');
  const { restoreEnd } = await import('../share/linked/restore-end.ts');
  if (image.manifest.root !== undefined) return { missing: 'the image was built for another root' };
  const refused = checkShared(image).find((one) => one.path === shared.path)?.refused;
  if (refused !== undefined) return { missing: `the image would not be used: ${refused}` };
  const program = join(image.path, shared.copy);
  const linked = join(image.path, shared.linked);
  const libraries = whereLibrariesAre(shared);
  if (shared.slide === undefined)
    return { program, linked, libraries, at: { address: decodeLinked(readFileSync(linked), linked).start } };
  const restore = join(image.path, shared.restore);
  const end = restoreEnd(readFileSync(restore), restore);
  return end === undefined
    ? { missing: 'the end of its launcher is not known' }
    : { program, linked, libraries, at: { rva: end } };
}

function whereLibrariesAre({ joined, taken }: Pick<SharedProgram, 'joined' | 'taken'>): string {
  if (joined !== undefined)
    return joined.shared === undefined || joined.shared === 0
      ? 'all libraries stand in it'
      : `small libraries stand in it (joined), ${formatBytes(joined.shared)} of large ones are mapped from their files`;
  if (taken === undefined || taken.libraries === 0) return 'libraries are mapped from their files';
  const stand = taken.libraries === 1 ? 'library stands' : 'libraries stand';
  return `${formatCount(taken.libraries)} small ${stand} in it (${formatBytes(taken.bytes)}), the others are mapped from their files`;
}
