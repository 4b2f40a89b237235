/** Where an image for another root lies, as programs in there find it. */
import { statSync } from 'node:fs';
import { usageError, type WinnowError } from '../base/errors.ts';
import { insideRoot } from '../profile/inside-root.ts';

/** `folder` as seen in `root`, both absolute; undefined where it is not in there. */
export function seenInRoot(root: string, folder: string): string | undefined {
  if (root === '/') return folder;
  return folder.startsWith(`${root}/`) ? folder.slice(root.length) : undefined;
}

/** Programs can be linked in `root`. @throws WinnowError E_USAGE where they cannot */
export function requireLinkable(root: string, imagesDir: string): void {
  const refuse = (what: string, where: string, next: string): WinnowError => usageError(what, next, where);
  if (process.geteuid?.() !== 0)
    throw refuse(
      'only root can run the loaders of another root',
      root,
      'run winnow as root, or leave share out: --only prefetch',
    );
  // A linked program names its loader, and that its image, by their paths in the root.
  if (seenInRoot(root, imagesDir) === undefined)
    throw refuse(
      'the images of linked programs must lie in their root',
      imagesDir,
      'give --store a folder in there, by the path that --root begins with',
    );
  const proc = insideRoot(root, '/proc');
  if (statSync(proc, { throwIfNoEntry: false })?.isDirectory() !== true)
    throw refuse('the root has no folder for /proc, by which loaders are followed', proc, `mkdir ${proc}`);
}
