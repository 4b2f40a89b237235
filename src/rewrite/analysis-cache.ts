/**
 * Analyses are kept in a folder, a file for each module.
 *
 * A file is named after the SHA-256 of the module's whole content. A build-id would be quicker to ask for,
 * but outlives tools that change a file in place, and a field patched in other code than was analysed would
 * break the program. Nothing in the folder is needed: what is damaged, old or written by somebody else is
 * found out anew, and where nothing can be written nothing is kept.
 *
 *     winnow-analysis VERSION <sha256 of what follows the line>\n, padded with spaces to 128 bytes
 *     the analysis (analysis-codec.ts, with the version)
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { WinnowError } from '../base/errors.ts';
import type { ElfImage } from '../elf/image.ts';
import { makeFolder, readTrusted, replaceCached, trustedFolder } from '../profile/store-files.ts';
import { analyseModule } from './analyse.ts';
import { ANALYSIS_VERSION, decodeAnalysis, encodeAnalysis } from './analysis-codec.ts';
import type { Kept, ModuleAnalysis } from './model.ts';

const HEAD_BYTES = 128;
const SUFFIX = '.analysis';

export class AnalysisCache {
  readonly #dir: string;
  #problem: WinnowError | undefined;
  /** The last module: it is asked for, then kept. */
  #hashed: { readonly bytes: Uint8Array; readonly name: string } | undefined;

  private constructor(dir: string) {
    this.#dir = dir;
  }

  /** Nothing is read or made before it is needed. */
  static open(dir: string): AnalysisCache {
    return new AnalysisCache(dir);
  }

  /** The last reason why something could not be read or kept: who cares tells it. */
  get problem(): WinnowError | undefined {
    return this.#problem;
  }

  /** What is kept of the module's content, or what analysis finds, which is then kept. */
  analyse(image: ElfImage): ModuleAnalysis | Kept {
    const known = this.read(image);
    if (known !== undefined) return known;
    const analysis = analyseModule(image);
    this.write(image, encodeAnalysis(analysis));
    return analysis;
  }

  /** What is kept of the module's content. */
  read(image: ElfImage): ModuleAnalysis | Kept | undefined {
    return this.#attempt(() => {
      if (trustedFolder(this.#dir) === undefined) return undefined;
      const bytes = readTrusted(this.#pathOf(image));
      return bytes === undefined ? undefined : unwrap(bytes);
    });
  }

  write(image: ElfImage, encoded: Uint8Array): void {
    this.#attempt(() => {
      makeFolder(this.#dir, 0o700);
      replaceCached(this.#pathOf(image), headOf(encoded), encoded);
    });
  }

  #pathOf({ bytes }: ElfImage): string {
    if (this.#hashed?.bytes !== bytes) {
      this.#hashed = { bytes, name: createHash('sha256').update(bytes).digest('hex') + SUFFIX };
    }
    return join(this.#dir, this.#hashed.name);
  }

  #attempt<T>(work: () => T): T | undefined {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof WinnowError)) throw error;
      this.#problem = error;
      return undefined;
    }
  }
}

function headOf(encoded: Uint8Array): Uint8Array {
  const checksum = createHash('sha256').update(encoded).digest('hex');
  return Buffer.from(`${`winnow-analysis ${ANALYSIS_VERSION} ${checksum}`.padEnd(HEAD_BYTES - 1)}\n`);
}

/** The head holds version and checksum, so comparing it checks everything. */
function unwrap(bytes: Uint8Array): ModuleAnalysis | Kept | undefined {
  const encoded = bytes.subarray(HEAD_BYTES);
  const isWhole = Buffer.compare(bytes.subarray(0, HEAD_BYTES), headOf(encoded)) === 0;
  return isWhole ? decodeAnalysis(encoded) : undefined;
}
