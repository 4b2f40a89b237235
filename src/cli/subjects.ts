/** A command as it was typed, and the same from its image: what verify and bench run side by side. */
import type { Image } from '../image/images.ts';
import type { Command } from '../profile/model.ts';
import type { StoreOption } from './options.ts';

interface Subject {
  readonly file: string;
  readonly argv: readonly string[];
}

export interface Subjects {
  readonly command: Command;
  readonly plain: Subject;
  readonly image: Subject;
  /** Name of the profile that the image was built from. */
  readonly profile: string;
}

/**
 * Finds the program on `path` and the image that was built for it.
 * @throws WinnowError E_PROGRAM_…, E_NO_IMAGE, E_IMAGE_…
 */
export async function imageOf(
  words: readonly string[],
  options: StoreOption & { readonly name?: string },
  path: string | undefined,
): Promise<{ readonly command: Command; readonly image: Image }> {
  const { openStore } = await import('../profile/store.ts');
  const { resolveProgram } = await import('../record/resolve.ts');
  const { findImage, readImage } = await import('../image/images.ts');
  const { imagesDirs } = await import('./images-of.ts');
  const cwd = process.cwd();
  const command = { program: resolveProgram(words[0] ?? '', cwd, path), argv: words, cwd };
  const dirs = imagesDirs(openStore(options), options);
  const image = options.name === undefined ? findImage(dirs, command) : readImage(dirs, options.name);
  return { command, image };
}

/** The same, to be run side by side. */
export async function subjectsOf(
  words: readonly string[],
  options: StoreOption & { readonly name?: string },
  path: string | undefined,
): Promise<Subjects> {
  const { launcherOf } = await import('../image/images.ts');
  const { command, image } = await imageOf(words, options, path);
  return {
    command,
    plain: { file: command.program, argv: words },
    image: { file: launcherOf(image), argv: words },
    profile: image.manifest.profile.name,
  };
}
