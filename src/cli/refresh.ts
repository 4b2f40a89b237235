/** `winnow image refresh`: the same image anew, at other random addresses (where each start chooses them: at other distances), from the profile as it is now. */
import type { BuiltImage } from '../image/build.ts';
import type { Image } from '../image/images.ts';
import type { Store } from '../profile/store.ts';
import type { SharedProgram } from '../share/built.ts';
import type { ShareVariant } from '../share/model.ts';
import { analysesDir } from './analyses.ts';
import { buildTechniques, TECHNIQUES } from './build-techniques.ts';

/**
 * @param since when refreshing began, milliseconds since the epoch: addresses of older images are left.
 * @throws WinnowError E_NO_PROFILE, E_NO_FUNCTIONS, and what building an image throws; the image is unchanged then.
 */
export async function refreshImage(store: Store, image: Image, since: number): Promise<BuiltImage> {
  const { checkModules } = await import('../image/modules-check.ts');
  const { manifest, name } = image;
  const { techniques, select, share, prelink, root } = manifest;
  const show = checkModules(image)?.show;
  const asked = manifest.prefetch.devices?.find(({ why }) => why.kind === 'asked')?.gapPages;
  const cold = select?.cold ?? 'file';
  return await buildTechniques(
    store.read(manifest.profile.name),
    {
      imagesDir: store.imagesDir,
      name,
      prefetch: techniques.includes('prefetch'),
      cold,
      ...(asked === undefined ? {} : { gapPages: asked }),
      ...(root === undefined ? {} : { root }),
      ...(show === undefined ? {} : { show }),
    },
    {
      techniques: new Set(TECHNIQUES.filter((one) => techniques.includes(one))),
      cold,
      onMiss: select?.onMiss ?? 'abort',
      variant: variantOf(share?.programs ?? []),
      pagesIn: share?.programs.some(({ slide }) => slide?.pageIn !== undefined) ?? false,
      since,
      slides: share?.programs.some(({ slide }) => slide !== undefined) ?? false,
      sharing: prelink === undefined ? 'image' : 'prelink',
      all: false,
      cache: analysesDir(),
    },
  );
}

/** Images that were built before there was `auto` stay as they are, too. */
function variantOf(programs: readonly Partial<Pick<SharedProgram, 'joined' | 'taken'>>[]): ShareVariant {
  const joined = programs.find((program) => program.joined !== undefined)?.joined;
  if (joined !== undefined) return joined.calls === undefined ? 'joined' : 'direct';
  const isFiles = programs.length > 0 && programs.every(({ taken }) => taken === undefined);
  return isFiles ? 'files' : 'auto';
}

/** Whether a program of the image would start by its own loader now. @throws WinnowError E_STORE_… */
export async function isStale(image: Image): Promise<boolean> {
  const { checkShared } = await import('../image/share-check.ts');
  const { checkPrelinked } = await import('../image/prelink-check.ts');
  return [...checkShared(image), ...(checkPrelinked(image)?.programs ?? [])].some(
    ({ refused }) => refused !== undefined,
  );
}
