/** Builds a program's images inside the mounted disk. */
import { join } from 'node:path';
import { WinnowError } from '../../src/base/errors.ts';
import { buildTechniques } from '../../src/cli/build-techniques.ts';
import { buildImage } from '../../src/image/build.ts';
import type { PrefetchOptions } from '../../src/prefetch/plan.ts';
import type { Variant } from '../options.ts';
import type { ModeKind } from './modes.ts';
import type { Recorded } from './winnow.ts';

const NUMBERS = ['gapPages', 'chunkPages', 'workers'] as const;

/**
 * Returns the launcher's path as the programs of the mount see it.
 * @throws WinnowError as `buildImage`, and `E_USAGE` for a variant that there is not
 */
export function buildVariant(root: string, one: Recorded, variant: Variant): string {
  const name = `${one.program.name}-${variant.name.replace(/[^A-Za-z0-9]+/g, '-')}`;
  buildImage(one.profile, { ...optionsOf(variant), root, name, imagesDir: join(root, 'image') });
  return `/image/${name}/launch`;
}

export interface BuiltBy {
  /** The launcher's path as the programs of the mount see it. */
  readonly launch: string;
  /** What was chosen for the devices that it fetches from. */
  readonly gaps: readonly number[];
}

/**
 * The same by the techniques that are named, as `winnow build --only` does.
 * @param place what its name ends in. @throws what `buildTechniques` throws
 */
export async function buildBy(
  root: string,
  one: Recorded,
  { name: suffix, techniques = new Set() }: ModeKind,
  cache: string,
  place = '',
): Promise<BuiltBy> {
  const name = `${one.program.name}-${suffix.replaceAll('+', '-')}${place}`;
  const options = { root, name, imagesDir: join(root, 'image'), prefetch: techniques.has('prefetch') };
  const { prefetch } = await buildTechniques(one.profile, options, {
    techniques,
    cold: 'file',
    onMiss: 'abort',
    variant: 'files',
    slides: false,
    pagesIn: false,
    all: false,
    cache,
  });
  return { launch: `/image/${name}/launch`, gaps: prefetch.devices.map(({ gapPages }) => gapPages) };
}

function optionsOf(variant: Variant): PrefetchOptions {
  const options: { -readonly [K in (typeof NUMBERS)[number]]?: number } = {};
  for (const [key, value] of Object.entries(variant.options)) {
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
