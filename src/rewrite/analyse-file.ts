/** Files to analyses: what cannot be read is kept, like what cannot be analysed. */
import { WinnowError } from '../base/errors.ts';
import type { ElfImage } from '../elf/image.ts';
import { readElfFile } from '../elf/read.ts';
import { analyseModule } from './analyse.ts';
import { AnalysisCache } from './analysis-cache.ts';
import { encodeAnalysis } from './analysis-codec.ts';
import type { Kept, ModuleAnalysis } from './model.ts';

/** The bytes of a new analysis, which is put into the cache too. */
export function analyseFile(path: string, cache: string | undefined): Uint8Array {
  const image = readOrKeep(path);
  if (isKept(image)) return encodeAnalysis(image);
  const encoded = encodeAnalysis(analyseModule(image));
  if (cache !== undefined) AnalysisCache.open(cache).write(image, encoded);
  return encoded;
}

/** What the cache has of the file. */
export function cachedFile(path: string, cache: string): ModuleAnalysis | Kept | undefined {
  const image = readOrKeep(path);
  return isKept(image) ? image : AnalysisCache.open(cache).read(image);
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
