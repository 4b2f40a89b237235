/**
 * A recording from inside, put together: which program image wrote which part of the log, and what nobody wrote of.
 *
 * Method: a program notes at its start where its vDSO lies, which is another place after each exec; the watcher saw the same in
 * its mappings. An image that never wrote was seen by the watcher alone: a static program, one that could not open the
 * log, one that was killed before it could.
 */
import type { Pid, UserAddress } from '../../base/brands.ts';
import type { InsideEntry, InsideLog } from '../../sys/inside-log.ts';
import type { PathReader } from '../paths.ts';
import type { Image } from '../tracees.ts';
import { InsideUse } from './inside-use.ts';

/** What the watcher saw. */
export interface SeenImages {
  /** In the order of their start. */
  readonly images: readonly Image[];
  readonly vdsos: ReadonlyMap<Image, UserAddress>;
  /** Children of vfork that had no memory of their own. */
  readonly borrowers: ReadonlySet<Image>;
  /** Processes whose pages were rounded up for want of room. */
  readonly givenUp: ReadonlySet<Pid>;
}

export interface InsideView {
  readonly use: InsideUse;
  /** Images that did not write, or said that they could not see everything. */
  readonly unseen: readonly Image[];
  /** Processes that nobody looked at, from their beginning to their end. */
  readonly unmet: number;
  /** Entries for which there was no room. */
  readonly lost: number;
}

export function viewFromInside(log: InsideLog, seen: SeenImages, paths: PathReader): InsideView {
  const wrote = new Set<Image>();
  const current = new Map<Pid, Image>();
  const unseen = new Set<Image>();
  const known = new Set(seen.images.map(({ pid }) => pid));
  const unmet = new Set<Pid>();
  const imageOf = (entry: InsideEntry): Image | undefined => {
    if (entry.kind !== 'started' && entry.kind !== 'forked') return undefined;
    if (!known.has(entry.process)) unmet.add(entry.process);
    const images = seen.images.filter(({ pid }) => pid === entry.process);
    const at = Number(entry.vdso);
    const image =
      images.find((one) => seen.vdsos.get(one) === at) ?? images.findLast((one) => !seen.vdsos.has(one));
    if (image === undefined) return undefined;
    wrote.add(image);
    current.set(entry.process, image);
    return image;
  };
  const use = new InsideUse(paths, imageOf);
  use.add(log.entries);
  for (const entry of log.entries) {
    const image = entry.kind === 'unseen' ? current.get(entry.process) : undefined;
    if (image !== undefined) unseen.add(image);
  }
  for (const image of seen.images) {
    const isReal = image.program !== '' && !seen.borrowers.has(image);
    if (isReal && (!wrote.has(image) || seen.givenUp.has(image.pid))) unseen.add(image);
  }
  return { use, unseen: [...unseen], unmet: unmet.size, lost: log.lost };
}
