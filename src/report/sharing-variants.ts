/**
 * What the variants of an image after relocation would be for a program: each is built in a temporary folder and started in turn
 * with the others, up to the first constructor. So what is paid (disk, memory that others do not share, protections) stands beside what is gained.
 */
import { mkdirSync, realpathSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errnoOf } from '../base/errors.ts';
import { readRestore } from '../image/launcher.ts';
import { readTrusted } from '../profile/store-files.ts';
import { buildShare } from '../share/build.ts';
import { decodeLinked } from '../share/linked/linked-decode.ts';
import { readProcessor } from '../share/linked/restore-answer.ts';
import type { ShareVariant } from '../share/model.ts';
import { measureStart, type StartCost, type StartRequest } from '../sys/start-cost.ts';
import { noTemporary, openTemporary } from '../sys/temporary.ts';
import { type MaybeVariants, median, type VariantFigures } from './sharing.ts';

const VARIANTS: readonly ShareVariant[] = ['files', 'auto', 'joined', 'direct'];

interface Built extends Pick<VariantFigures, 'variant' | 'diskBytes' | 'copiedBytes' | 'executableBytes'> {
  readonly linked: string;
  readonly start: StartRequest;
  readonly costs: StartCost[];
}

/** @throws WinnowError E_TEMPORARY, E_RUNTIME_MISSING */
export async function measureVariants(
  {
    program,
    argv,
    rounds,
  }: { readonly program: string; readonly argv: readonly string[]; readonly rounds: number },
  onProgress: (text: string) => void,
): Promise<MaybeVariants> {
  const { path: folder, close } = openTemporary(join(tmpdir(), 'winnow-variants-'));
  try {
    const all: Built[] = [];
    for (const variant of VARIANTS) {
      onProgress(`building ${variant}`);
      const built = await buildVariant(variant, program, argv, join(folder, variant));
      if ('missing' in built) return built;
      all.push(built);
    }
    for (let round = 0; round < rounds; round += 1) {
      onProgress(`start ${round + 1} of ${rounds}`);
      for (let i = 0; i < all.length; i += 1) {
        const one = all[(round + i) % all.length];
        const cost = one === undefined ? undefined : measureStart(one.start);
        if (one === undefined || cost?.files.has(one.linked) !== true)
          return { missing: 'an image was not used when it was started' };
        one.costs.push(cost);
      }
    }
    return all.map(({ linked: _, start: __, costs, ...figures }) => ({
      ...figures,
      mappings: median(costs.map(({ mappings }) => mappings)),
      startMs: median(costs.map(({ execNs, linkNs }) => (execNs + linkNs) / 1e6)),
    }));
  } catch (error) {
    const errno = errnoOf(error);
    throw errno === 'ENOSPC' || errno === 'EDQUOT' ? noTemporary(errno, folder) : error;
  } finally {
    close();
  }
}

async function buildVariant(
  variant: ShareVariant,
  program: string,
  argv: readonly string[],
  folder: string,
): Promise<Built | { readonly missing: string }> {
  mkdirSync(folder);
  const { LD_BIND_NOW: _, ...env } = process.env;
  const libraryPath = env.LD_LIBRARY_PATH;
  const { programs, kept } = await buildShare(
    { programs: [{ path: program, ...(libraryPath === undefined ? {} : { libraryPath }) }], kept: [] },
    {
      folder,
      image: folder,
      restore: readRestore().bytes,
      processor: readProcessor(),
      mapped: [],
      sharedMode: 0,
      variant,
    },
  );
  const [built] = programs;
  const linked = built === undefined ? '' : realpathSync(join(folder, built.linked));
  const bytes = built === undefined ? undefined : readTrusted(linked);
  if (built === undefined || bytes === undefined)
    return { missing: `it gets no image: ${kept[0]?.reason ?? 'its file is gone'}` };
  return {
    variant,
    diskBytes: statSync(linked).blocks * 512,
    copiedBytes: built.joined?.copied ?? built.taken?.bytes ?? 0,
    executableBytes: built.joined?.executable ?? 0,
    linked,
    start: {
      program: join(folder, built.copy),
      argv,
      env,
      at: { address: decodeLinked(bytes, linked).start },
    },
    costs: [],
  };
}
