/** How often the programs of an image have started by their own loaders, and why: what runtime/restore-misses.c noted. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { WinnowError } from '../base/errors.ts';
import { decodeMisses } from '../base/misses.ts';
import { readTrusted } from '../profile/store-files.ts';
import { missesName } from '../share/built.ts';
import { decodeLinked } from '../share/linked/linked-decode.ts';
import { REFUSALS } from '../share/linked/linked-layout.ts';
import type { PlacedImage } from '../share/linked/linked-model.ts';
import type { ImageManifest } from './manifest.ts';

type SharedProgram = NonNullable<ImageManifest['share']>['programs'][number];

export interface MissCause {
  /** Of REFUSALS; `unknown` where a newer launcher wrote it. */
  readonly cause: (typeof REFUSALS)[number] | 'unknown';
  /** The module or path that it is about. */
  readonly path?: string;
  readonly starts: number;
}

export interface ProgramMisses {
  readonly starts: number;
  /** There may have been more: nobody adds to it any more. */
  readonly isFull: boolean;
  /** Milliseconds since the epoch; absent where there was none. */
  readonly newest?: number;
  /** Most first. */
  readonly causes: readonly MissCause[];
}

/** Undefined where the image does not count: it was built before that, or its file is gone. @throws WinnowError E_STORE_… */
export function readMisses(folder: string, program: SharedProgram): ProgramMisses | undefined {
  const path = join(folder, missesName(program.linked));
  const bytes = readTrusted(path);
  if (bytes === undefined) return undefined;
  const { causes, count, isFull } = decodeMisses(bytes);
  const named = causes.some(({ what }) => hasPath(what)) ? pathsOf(folder, program) : undefined;
  return {
    starts: count,
    isFull,
    ...(count === 0 ? {} : { newest: Math.trunc(statSync(path).mtimeMs) }),
    causes: causes.map(({ what, index, count: starts }) => {
      const about = pathAt(named, what, index);
      return { cause: REFUSALS[what] ?? 'unknown', ...(about === undefined ? {} : { path: about }), starts };
    }),
  };
}

const hasPath = (what: number): boolean => REFUSALS[what] === 'file' || REFUSALS[what] === 'watch';

type Named = Pick<PlacedImage, 'files' | 'watches'>;

function pathAt(named: Named | undefined, what: number, index: number): string | undefined {
  if (!hasPath(what)) return undefined;
  return (REFUSALS[what] === 'file' ? named?.files : named?.watches)?.[index]?.path;
}

/** What is damaged cannot say what its numbers stood for. */
function pathsOf(folder: string, { linked }: SharedProgram): Named | undefined {
  const path = join(folder, linked);
  try {
    const bytes = readTrusted(path);
    return bytes === undefined ? undefined : decodeLinked(bytes, path);
  } catch (error) {
    if (error instanceof WinnowError) return undefined;
    throw error;
  }
}
