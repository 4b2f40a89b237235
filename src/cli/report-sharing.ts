/** `winnow report --sharing`: reads the program's modules, measures its starts, prints the table. */
import { readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { WinnowError } from '../base/errors.ts';
import type { Command } from '../profile/model.ts';
import type { Store } from '../profile/store.ts';
import type { ImageStart } from '../report/sharing-starts.ts';
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
    const image = await imageStartOf(store, options, command, closure.program);
    const { measureStarts } = await import('../report/sharing-starts.ts');
    const onProgress = (text: string): void => progress.update(text);
    const starts = measureStarts({ closure, argv, image, onProgress });
    progress.stop();
    const report = sharingReport({ command: argv, figures, starts });
    if (options.json === true) return writeJson('sharing', SHARING_JSON_VERSION, report);
    const { renderSharing } = await import('../report/sharing-text.ts');
    process.stdout.write(renderSharing(report));
  } finally {
    progress.stop();
  }
}

/** The image that was built for the command, where it has the program and would be used. */
async function imageStartOf(
  store: Store,
  options: StoreOption,
  command: Command,
  program: string,
): Promise<ImageStart | { readonly missing: string }> {
  const { findImage } = await import('../image/images.ts');
  const { checkShared } = await import('../image/share-check.ts');
  const { decodeLinked } = await import('../share/linked/linked-decode.ts');
  const { imagesDirs } = await import('./images-of.ts');
  const none = { missing: 'no image after relocation was built (winnow build --only share)' };
  let image: ReturnType<typeof findImage>;
  try {
    image = findImage(imagesDirs(store, options), command);
  } catch (error) {
    if (error instanceof WinnowError && error.code === 'E_NO_IMAGE') return none;
    throw error;
  }
  if (image.manifest.root !== undefined) return { missing: 'the image was built for another root' };
  const path = realpathSync(program);
  const shared = image.manifest.share?.programs.find((one) => one.path === path);
  if (shared === undefined) return none;
  const refused = checkShared(image).find((one) => one.path === path)?.refused;
  if (refused !== undefined) return { missing: `the image would not be used: ${refused}` };
  const linked = join(image.path, shared.linked);
  return { program: join(image.path, shared.copy), at: decodeLinked(readFileSync(linked), linked).start };
}
