/**
 * Where a joined image has the pages of its modules.
 *
 * Problem. What was recorded is told in pages of libraries; a start from a joined image reads none of them.
 * Example. Pages 40 to 45 of libz.so.1 were used. Its code lies at 0x3a10_0041_b000, which the image shows from its page 9,112 on: pages
 * 9,130 to 9,135 are to be fetched.
 * Method. For each page of a mapping of a file, the map that shows it now. What linking made is needed whatever was recorded, as is the head. Pages that
 * a map shows from the module's own file have not moved.
 * Limits. Of written pages nobody knows whether a start touches them: the loader wrote to all of them.
 */
import { PAGE_SIZE, pagesIn } from '../base/brands.ts';
import type { JoinedPages, PageRun, PlacedPages } from './built.ts';
import type { PlacedImage } from './linked/linked-model.ts';
import type { LinkedState, Place } from './model.ts';
import type { Bases } from './place/addresses.ts';

/** @param headBytes in front of the pages of NAME.linked. */
export function joinedPages(
  { files, mappings }: Pick<LinkedState, 'files' | 'mappings'>,
  bases: Bases,
  { maps }: Pick<PlacedImage, 'maps'>,
  headBytes: number,
): JoinedPages {
  /** The page of NAME.linked that is shown there; undefined where it is none. */
  const pageAt = ({ anchor, offset }: Place): number | undefined => {
    const at = bases[anchor] + offset;
    const map = maps.find((one) => one.at <= at && at < one.at + one.size);
    return map?.source.kind === 'pages'
      ? (headBytes + map.source.offset + at - map.at) / PAGE_SIZE
      : undefined;
  };
  const always: PageRun[] = [{ page: 0, count: pagesIn(headBytes) }];
  const pieces = files.map((): PlacedPages[] => []);
  for (const { place, size, source, dirty, protection } of mappings) {
    // Room between segments: the image has nothing there.
    if (!protection.read && !protection.write && !protection.execute) continue;
    for (const { offset } of dirty) {
      const page = pageAt({ ...place, offset: place.offset + offset });
      if (page !== undefined) always.push({ page, count: 1 });
    }
    if (source === undefined || place.anchor === 'program') continue;
    const own = pieces[source.file] ?? [];
    for (let inside = 0; inside < size; inside += PAGE_SIZE) {
      const to = pageAt({ ...place, offset: place.offset + inside });
      if (to !== undefined) addPage(own, (source.offset + inside) / PAGE_SIZE, to);
    }
  }
  const modules = files.flatMap(({ path }, index) => {
    const own = pieces[index] ?? [];
    return own.length === 0 ? [] : [{ path, pieces: own }];
  });
  return { always, modules };
}

function addPage(pieces: PlacedPages[], page: number, to: number): void {
  const last = pieces.at(-1);
  const goesOn = last !== undefined && last.page + last.count === page && last.to + last.count === to;
  if (goesOn) pieces[pieces.length - 1] = { ...last, count: last.count + 1 };
  else pieces.push({ page, count: 1, to });
}
