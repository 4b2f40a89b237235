/** Techniques that make files of an image: what each is given, and what comes of it. */
import { join } from 'node:path';
import { WinnowError } from '../base/errors.ts';
import { trustedFolder } from '../profile/store-files.ts';
import type { BuiltSelect } from '../select/model.ts';
import type { OtherImage } from '../share/build.ts';
import type { BuiltShare } from '../share/built.ts';
import type { BuiltPrelink } from '../share/prelinked/model.ts';
import { listImages } from './images.ts';
import type { Launcher } from './launcher.ts';
import { seenInRoot } from './root-place.ts';
import type { Stage } from './stage.ts';

/** What the files of an image besides the launcher's are made by. */
export interface Makers {
  /** Is given an empty folder and the root. */
  readonly select?: (folder: string, root: string | undefined) => Promise<BuiltSelect>;
  /** Is given the same folder. */
  readonly share?: (place: SharePlace) => Promise<BuiltShare>;
  /** In place of `share`. */
  readonly prelink?: (place: PrelinkPlace) => Promise<BuiltPrelink>;
}

export interface PrelinkPlace {
  readonly folder: string;
  /** The audit object that shows the copies. */
  readonly object: Launcher;
  readonly sharedMode: number;
}

export interface SharePlace {
  readonly folder: string;
  /** Where that folder will be, absolute; as seen in the root, where there is one. */
  readonly image: string;
  /** The folder that will be the programs' root; it holds both folders. Undefined: this machine's. */
  readonly root: string | undefined;
  readonly restore: Launcher;
  /** Modules that were rewritten into the folder before: a start shows them to the programs. */
  readonly select: BuiltSelect | undefined;
  /** For files that whoever may use the image reads: added to their mode. */
  readonly sharedMode: number;
  /** Linked programs of the other images beside it, those built last first. */
  readonly others: readonly (OtherImage & { readonly builtAt: number })[];
}

export interface Made {
  readonly select?: BuiltSelect;
  readonly share?: BuiltShare;
  readonly prelink?: BuiltPrelink;
}

export async function make(
  { select, share, prelink }: Makers,
  {
    imagesDir,
    name,
    stage,
    root,
    restore,
    prelinkObject,
  }: {
    readonly imagesDir: string;
    /** Of the image. */
    readonly name: string;
    readonly stage: Stage;
    readonly root: string | undefined;
    readonly restore: Launcher | undefined;
    readonly prelinkObject: Launcher | undefined;
  },
): Promise<Made> {
  const folder = stage.modules;
  const beside = join(imagesDir, stage.version);
  const image = root === undefined ? beside : (seenInRoot(root, beside) ?? beside);
  const sharedMode = (trustedFolder(imagesDir) ?? 0o700) & 0o055;
  const selected = select === undefined ? undefined : await select(folder, root);
  const shared =
    share === undefined || restore === undefined
      ? undefined
      : await share({
          folder,
          image,
          root,
          restore,
          sharedMode,
          select: selected,
          others: otherImages(imagesDir, name),
        });
  const prelinked =
    prelink === undefined || prelinkObject === undefined
      ? undefined
      : await prelink({ folder, object: prelinkObject, sharedMode });
  return {
    ...(prelinked === undefined ? {} : { prelink: prelinked }),
    ...(selected === undefined ? {} : { select: selected }),
    ...(shared === undefined ? {} : { share: asOriginals(shared, selected) }),
  };
}

/** An image that is replaced has its own addresses, and the next one others. */
function otherImages(imagesDir: string, name: string): (OtherImage & { readonly builtAt: number })[] {
  return listImages([imagesDir])
    .flatMap(({ name: other, path, manifest }) => {
      if (other === name || manifest instanceof WinnowError) return [];
      const { builtAt, share } = manifest;
      return (share?.programs ?? []).map(({ path: program, linked }) => ({
        program,
        linked: join(path, linked),
        builtAt,
      }));
    })
    .sort((a, b) => b.builtAt - a.builtAt);
}

/** A program that was linked in its rewritten form stands for the original all the same. */
function asOriginals({ programs, kept }: BuiltShare, select: BuiltSelect | undefined): BuiltShare {
  const rewritten = new Map((select?.modules ?? []).map((module) => [module.path, module]));
  return {
    kept,
    programs: programs.map((program) => {
      const original = rewritten.get(program.path);
      if (original === undefined) return program;
      const { size, mtimeNs, inode } = original;
      return { ...program, size, mtimeNs, inode };
    }),
  };
}
