/** Files that cold starts did not fetch, as they had changed or were gone: what runtime/prefetch.c noted. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { decodeMisses } from '../base/misses.ts';
import type { PrefetchPlan } from '../prefetch/model.ts';
import { readTrusted } from '../profile/store-files.ts';
import { PLAN_MISS_CHANGED, PLAN_MISS_GONE } from './plan-layout.ts';

export const PLAN_MISSES = 'plan.misses';

export interface UnfetchedFile {
  /** `unknown` where a newer launcher wrote it. */
  readonly cause: 'gone' | 'changed' | 'unknown';
  readonly path?: string;
  /** Cold starts that met it so. */
  readonly starts: number;
}

export interface PlanMisses {
  /** There may have been more: nobody adds to it any more. */
  readonly isFull: boolean;
  /** Milliseconds since the epoch; absent where there was none. */
  readonly newest?: number;
  /** Most first. */
  readonly files: readonly UnfetchedFile[];
}

const CAUSES: Readonly<Record<number, UnfetchedFile['cause']>> = {
  [PLAN_MISS_GONE]: 'gone',
  [PLAN_MISS_CHANGED]: 'changed',
};

/** Undefined where the image does not count them: it was built before that. @throws WinnowError E_STORE_… */
export function readPlanMisses(image: { readonly path: string }, plan: PrefetchPlan): PlanMisses | undefined {
  const path = join(image.path, PLAN_MISSES);
  const bytes = readTrusted(path);
  if (bytes === undefined) return undefined;
  const { causes, count, isFull } = decodeMisses(bytes);
  return {
    isFull,
    ...(count === 0 ? {} : { newest: Math.trunc(statSync(path).mtimeMs) }),
    files: causes.map(({ what, index, count: starts }) => {
      const file = plan.files[index]?.path;
      return { cause: CAUSES[what] ?? 'unknown', ...(file === undefined ? {} : { path: file }), starts };
    }),
  };
}
