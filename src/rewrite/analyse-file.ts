/** Files to what a recorder needs of them: what cannot be read is kept, like what cannot be analysed. */
import { WinnowError } from '../base/errors.ts';
import type { ElfImage } from '../elf/image.ts';
import { readElfFile } from '../elf/read.ts';
import { analyseModule, breakpointPlaces } from './analyse.ts';
import { AnalysisCache } from './analysis-cache.ts';
import type { BreakpointPlaces, Kept } from './model.ts';

/** The analysis is read from the cache, or put into it. */
export function analyseFile(path: string, cache: string | undefined): BreakpointPlaces | Kept {
  const image = readOrKeep(path);
  if (isKept(image)) return image;
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
