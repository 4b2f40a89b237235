/**
 * One file for the same program in several images.
 *
 * Problem. `git status` and `git log` are two images of one program, and many trees have a shell in them. What linking made is the same in each
 * but for the addresses, so each has it on disk and in memory once more.
 *
 * Example. inkscape's image takes 8.6 MiB (joined: 30). A second one, for another command, is linked at the addresses of the first, and its NAME.linked
 * is a second name of that file. Processes of both share its pages. When the first image is dropped, the file is that of the second.
 *
 * Method. The file is linked first, so that nobody can take it away, and then read. The program is placed at its addresses; the few words that may have any value
 * (times, processor numbers) are taken over; and if all bytes are the same then, the file is. So it does not matter what made the other one: guards,
 * modules, variant, all stand in these bytes. The file system counts the names: nothing is left over, nothing is missing, whoever is killed or dropped when.
 *
 * Limits. The images of one folder, with the same owner and mode. Two images have the same addresses then: who knows those of one, knows those of
 * the other; `image refresh` chooses others. Of rewritten modules each image has its own, and so the linked program. Damage to the file is damage to both.
 */
import { linkSync, lstatSync, readFileSync, rmSync } from 'node:fs';
import { PAGE_SIZE } from '../base/brands.ts';
import { errnoOf, WinnowError } from '../base/errors.ts';
import { decodeLinked } from './linked/linked-decode.ts';
import type { PlacedImage } from './linked/linked-model.ts';
import { mapAt } from './linked/linked-rules.ts';
import type { Leftover, LinkedState, Place } from './model.ts';
import type { Bases } from './place/addresses.ts';

export interface OtherFile {
  readonly bytes: Buffer;
  readonly image: PlacedImage;
}

/**
 * Makes `path` a second name of the file `other`. Undefined, and nothing is there, where it is gone, damaged, another user's or of another mode, or where the
 * file system has no such links.
 */
export function linkFile(
  other: string,
  { path, mode }: { readonly path: string; readonly mode: number },
): OtherFile | undefined {
  try {
    linkSync(other, path);
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return undefined;
  }
  const stat = lstatSync(path);
  const isOurs = stat.isFile() && stat.uid === process.geteuid?.() && (stat.mode & 0o7777) === mode;
  try {
    const bytes = isOurs ? readFileSync(path) : undefined;
    if (bytes !== undefined) return { bytes, image: decodeLinked(bytes, path) };
  } catch (error) {
    if (!(error instanceof WinnowError)) throw error;
  }
  rmSync(path);
  return undefined;
}

/** Where the program lies in `image`; undefined where it does not say so. */
export function addressesOf(state: LinkedState, image: PlacedImage): Bases | undefined {
  const known: readonly [Place | undefined, number | undefined][] = [
    [state.threadPointer, image.threadPointer],
    [state.tidAt, image.tidAt],
    [state.robust?.at, image.robust?.at],
    [state.rseq?.at, image.rseq?.at],
  ];
  for (const [place, address] of known) {
    if (place?.anchor === 'arena' && address !== undefined)
      return {
        program: image.program.at,
        arena: address - place.offset,
        loader: image.base,
        vdso: image.vdsoAt ?? 0,
      };
  }
  return undefined;
}

/** Gives words that may have any value those that they have in `like`, whose maps are the same as far as it matters. */
export function keepValues(
  image: PlacedImage,
  like: PlacedImage,
  leftovers: readonly Leftover[],
  bases: Bases,
): void {
  for (const { at, size } of leftovers) {
    for (let i = 0; i < size; i += 1) {
      const [to, from] = [image, like].map(({ maps }) => pageByte(maps, bases[at.anchor] + at.offset + i));
      if (to !== undefined && from !== undefined) image.pages[to] = like.pages[from] ?? 0;
    }
  }
}

function pageByte(maps: PlacedImage['maps'], address: number): number | undefined {
  const map = mapAt(maps, address - (address % PAGE_SIZE));
  return map?.source.kind === 'pages' ? map.source.offset + address - map.at : undefined;
}
