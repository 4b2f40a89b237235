/** How often programs of an image have started without their prelinked libraries, and why: what runtime/prelink.c and show.c noted. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { decodeMisses } from '../base/misses.ts';
import { readTrusted } from '../profile/store-files.ts';
import type { PrelinkedProgram } from '../share/prelinked/model.ts';
import { PRELINK_MISSES } from '../share/prelinked/prelinked-layout.ts';

export interface PrelinkMiss {
  /** `unknown` where a newer launcher wrote it. */
  readonly cause: (typeof PRELINK_MISSES)[number]['cause'] | 'unknown';
  /** The program or library that it is about. */
  readonly path?: string;
  readonly starts: number;
}

export interface PrelinkMisses {
  readonly starts: number;
  /** There may have been more: nobody adds to it any more. */
  readonly isFull: boolean;
  /** Milliseconds since the epoch; absent where there was none. */
  readonly newest?: number;
  /** Most first. */
  readonly causes: readonly PrelinkMiss[];
}

interface Named {
  /** In the order of the table. */
  readonly programs: readonly PrelinkedProgram[];
  readonly pathOf: (program: PrelinkedProgram) => string | undefined;
}

/** Undefined where its file is gone. @throws WinnowError E_STORE_… */
export function readPrelinkMisses(folder: string, { programs, pathOf }: Named): PrelinkMisses | undefined {
  const path = join(folder, 'prelink.misses');
  const bytes = readTrusted(path);
  if (bytes === undefined) return undefined;
  const { causes, count, isFull } = decodeMisses(bytes);
  const modules = programs.flatMap((program) => program.modules);
  return {
    starts: count,
    isFull,
    ...(count === 0 ? {} : { newest: Math.trunc(statSync(path).mtimeMs) }),
    causes: causes.map(({ what, index, count: starts }) => {
      const known = PRELINK_MISSES[what - 1];
      const program = programs[index];
      const own = program === undefined ? undefined : pathOf(program);
      const about = known?.about === 'module' ? modules[index]?.path : own;
      return { cause: known?.cause ?? 'unknown', ...(about === undefined ? {} : { path: about }), starts };
    }),
  };
}
