/** Builds an image by the techniques that are asked for, and says on the way how far it is. */
import { join } from 'node:path';
import type { BuildOptions, BuiltImage } from '../image/build.ts';
import type { PrelinkPlace, SharePlace } from '../image/makers.ts';
import { insideRoot } from '../profile/inside-root.ts';
import type { Profile } from '../profile/model.ts';
import type { BuiltSelect, Cold, OnMiss } from '../select/model.ts';
import type { BuiltShare } from '../share/built.ts';
import type { ShareVariant } from '../share/model.ts';
import type { BuiltPrelink } from '../share/prelinked/model.ts';
import { startProgress } from '../term/progress.ts';

export const TECHNIQUES = ['prefetch', 'select', 'share'] as const;
/** `image`: they start from an image after linking; `prelink`: the stock loader maps prelinked copies of their libraries. */
export type Sharing = 'image' | 'prelink';
export type Technique = (typeof TECHNIQUES)[number];

export interface TechniqueOptions {
  readonly techniques: ReadonlySet<Technique>;
  readonly cold: Cold;
  readonly onMiss: OnMiss;
  readonly variant: ShareVariant;
  /** share: each start chooses other addresses. */
  readonly slides: boolean;
  /** With it: words of read-only pages are written when they are touched. */
  readonly pagesIn: boolean;
  /** share: images that were built before then have addresses that are to be left; milliseconds since the epoch. */
  readonly since?: number;
  /** How programs share what is linked. Default: image. */
  readonly sharing?: Sharing;
  /** select: copy all code, used or not. */
  readonly all: boolean;
  /** Folder of the analyses of modules. */
  readonly cache: string;
}

/** @throws what building an image throws; the one that was there before is unchanged then. */
export async function buildTechniques(
  profile: Profile,
  options: BuildOptions,
  how: TechniqueOptions,
): Promise<BuiltImage> {
  const { buildImage, buildImageWith } = await import('../image/build.ts');
  const { techniques } = how;
  const select = techniques.has('select') ? await selector(profile, how) : undefined;
  if (techniques.has('share') && how.sharing === 'prelink')
    return buildImageWith(profile, options, { prelink: await prelinker(profile) });
  const share = techniques.has('share') ? await sharer(profile, how) : undefined;
  if (select === undefined && share === undefined) return buildImage(profile, options);
  return await buildImageWith(profile, options, {
    ...(select === undefined ? {} : { select }),
    ...(share === undefined ? {} : { share }),
  });
}

/** @throws WinnowError E_NO_FUNCTIONS */
async function selector(profile: Profile, { cold, onMiss, all, cache }: TechniqueOptions) {
  const { buildSelect } = await import('../select/build.ts');
  const { contextOf } = await import('../select/plan.ts');
  const { modulesUsed } = await import('../select/uses.ts');
  const uses = modulesUsed(profile);
  return (folder: string, root: string | undefined): Promise<BuiltSelect> => {
    const context = contextOf(profile, { cold, onMiss, all, ...(root === undefined ? {} : { root }) });
    return reported('rewriting modules', (onProgress) =>
      buildSelect(uses, context, { folder, cache, onProgress }),
    );
  };
}

async function sharer(profile: Profile, { variant, slides, pagesIn, since = 0 }: TechniqueOptions) {
  const { buildShare } = await import('../share/build.ts');
  const { buildShareShown } = await import('../share/build-shown.ts');
  const { mappedFiles } = await import('../share/observe.ts');
  const { seenInRoot } = await import('../image/root-place.ts');
  const { planShare } = await import('../share/plan.ts');
  const { readProcessor } = await import('../share/linked/restore-answer.ts');
  const processor = readProcessor();
  return ({ folder, image, root, restore, sharedMode, select, others }: SharePlace): Promise<BuiltShare> =>
    reported('linking programs', (onProgress) => {
      const mapped = mappedFiles(profile);
      const all = {
        folder,
        image,
        restore: restore.bytes,
        processor,
        mapped,
        sharedMode,
        variant,
        slides,
        pagesIn,
        onProgress,
      };
      const planned = planShare(profile, root);
      if (select === undefined && root === undefined)
        return buildShare(planned, { ...all, others: others.filter(({ builtAt }) => builtAt >= since) });
      const here = (path: string): string => (root === undefined ? path : insideRoot(root, path));
      const copies = select?.modules ?? [];
      const shown = copies.map(({ path, file }) => ({ from: join(folder, file), to: here(path) }));
      if (root === undefined) return buildShareShown(planned, all, { shown });
      const inside = { ...all, folder: seenInRoot(root, folder) ?? folder };
      return buildShareShown(planned, inside, { shown, root: { root, proc: here('/proc') } });
    });
}

async function prelinker(profile: Profile) {
  const { buildPrelinked } = await import('../share/prelinked/build.ts');
  const { planShare } = await import('../share/plan.ts');
  return ({ folder, object, sharedMode }: PrelinkPlace): Promise<BuiltPrelink> =>
    reported('prelinking programs', (onProgress) =>
      buildPrelinked(planShare(profile), { folder, object: object.bytes, sharedMode, onProgress }),
    );
}

async function reported<T>(
  what: string,
  work: (onProgress: (done: number, all: number) => void) => Promise<T>,
): Promise<T> {
  const progress = startProgress(what);
  try {
    return await work((done, all) => progress.update(`${done} of ${all}`));
  } finally {
    progress.stop();
  }
}
