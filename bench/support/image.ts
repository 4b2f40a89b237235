/** Builds a program's image inside the mounted disk. */
import { join } from 'node:path';
import { WinnowError } from '../../src/base/errors.ts';
import { buildImage, buildImageWith } from '../../src/image/build.ts';
import type { PrefetchOptions } from '../../src/prefetch/plan.ts';
import { buildSelect } from '../../src/select/build.ts';
import { contextOf } from '../../src/select/plan.ts';
import { modulesUsed } from '../../src/select/uses.ts';
import type { Variant } from '../options.ts';
import type { Recorded } from './winnow.ts';

const NUMBERS = ['gapPages', 'chunkPages', 'workers'] as const;

/**
 * Returns the launcher's path as the programs of the mount see it.
 * @throws WinnowError as `buildImage`, and `E_USAGE` for a variant that there is not
 */
export function buildInRoot(root: string, one: Recorded, variant: Variant | undefined): string {
  const suffix = variant === undefined ? '' : `-${variant.name.replace(/[^A-Za-z0-9]+/g, '-')}`;
  const name = `${one.program.name}${suffix}`;
  buildImage(one.profile, { ...optionsOf(variant), root, name, imagesDir: join(root, 'image') });
  return `/image/${name}/launch`;
}

/** The same with modules rewritten so that only used functions are loaded. @throws what `buildImageWith` throws */
export async function buildSelectedInRoot(root: string, one: Recorded, cache: string): Promise<string> {
  const name = `${one.program.name}-select`;
  const options = { root, name, imagesDir: join(root, 'image') };
  await buildImageWith(one.profile, options, {
    select: (folder, inside) =>
      buildSelect(
        modulesUsed(one.profile),
        contextOf(one.profile, { cold: 'file', ...(inside === undefined ? {} : { root: inside }) }),
        { folder, cache },
      ),
  });
  return `/image/${name}/launch`;
}

function optionsOf(variant: Variant | undefined): PrefetchOptions {
  const options: { -readonly [K in (typeof NUMBERS)[number]]?: number } = {};
  for (const [key, value] of Object.entries(variant?.options ?? {})) {
    const known = NUMBERS.find((name) => name === key);
    if (known === undefined || !Number.isSafeInteger(Number(value))) {
      throw new WinnowError({
        code: 'E_USAGE',
        kind: 'usage',
        what: `--variant knows ${NUMBERS.join(', ')} with a number, not ${key}=${value}`,
        next: 'see npm run bench -- --help',
      });
    }
    options[known] = Number(value);
  }
  return options;
}
