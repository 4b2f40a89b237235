/** What `winnow report` tells of a profile's image: starts of its linked programs by their own loaders. */
import { WinnowError } from '../base/errors.ts';
import { type Image, readImage } from '../image/images.ts';
import { type ProgramMisses, readMisses } from '../image/share-misses.ts';

export interface MissedProgram {
  readonly path: string;
  readonly misses: ProgramMisses;
}

/** Undefined where there is no image of that name with linked programs that count. @throws WinnowError E_STORE_… */
export function missesOf(dirs: readonly string[], name: string): readonly MissedProgram[] | undefined {
  const image = imageOf(dirs, name);
  const programs = (image?.manifest.share?.programs ?? []).flatMap((program): MissedProgram[] => {
    const misses = readMisses(image?.path ?? '', program);
    return misses === undefined ? [] : [{ path: program.path, misses }];
  });
  return programs.length === 0 ? undefined : programs;
}

/** One that cannot be read is a matter of `winnow image`. */
function imageOf(dirs: readonly string[], name: string): Image | undefined {
  try {
    return readImage(dirs, name);
  } catch (error) {
    if (error instanceof WinnowError) return undefined;
    throw error;
  }
}
