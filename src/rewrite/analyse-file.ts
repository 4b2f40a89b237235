/** Files to what a recorder needs of them: what cannot be read is kept, like what cannot be analysed. */
import { readFileSync } from 'node:fs';
import { errnoOf, WinnowError } from '../base/errors.ts';
import type { ElfImage } from '../elf/image.ts';
import { readElf, readElfFile } from '../elf/read.ts';
import { analyseModule, breakpointPlaces } from './analyse.ts';
import { AnalysisCache } from './analysis-cache.ts';
import type { Question } from './analyst.ts';
import type { BreakpointPlaces, Kept } from './model.ts';

/** The analysis is read from the cache, or put into it. */
export function analyseFile(path: string, cache: string | undefined): BreakpointPlaces | Kept {
  const image = readOrKeep(path);
  return isKept(image) ? image : placesIn(image, cache);
}

/** The same of a file that is open; undefined where it cannot be read. */
export function analyseOpenFile(
  { fd, path }: Question,
  cache: string | undefined,
): BreakpointPlaces | Kept | undefined {
  try {
    // Opened anew: who asks may read it too, and a descriptor has one place to read at.
    return placesIn(readElf(readFileSync(`/proc/self/fd/${fd}`), path), cache);
  } catch (error) {
    if (error instanceof WinnowError || errnoOf(error) !== undefined) return undefined;
    throw error;
  }
}

function placesIn(image: ElfImage, cache: string | undefined): BreakpointPlaces | Kept {
  const analysis = cache === undefined ? analyseModule(image) : AnalysisCache.open(cache).analyse(image);
  return 'kind' in analysis ? analysis : breakpointPlaces(analysis);
}

function readOrKeep(path: string): ElfImage | Kept {
  try {
    return readElfFile(path);
  } catch (error) {
    if (error instanceof WinnowError) return { kind: 'kept', reason: `unreadable: ${error.code}` };
    throw error;
  }
}

const isKept = (read: ElfImage | Kept): read is Kept => 'kind' in read;
