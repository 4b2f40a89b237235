/** The fields that lead from one unit into another: what has to follow a unit that moves. */

import type { FoundUnits } from './find-units.ts';
import { isBranch, LINK_SHORT, Links, NumberList } from './links.ts';
import { type CodeReferences, REFERENCE_ADDRESS, REFERENCE_BRANCH } from './model.ts';
import { RangeCursor, RangeIndex } from './pieces.ts';

/**
 * Fields of doubtful code are left out: they may be data. Short branches are within a unit, or their unit
 * stays.
 */
export function collectReferences(found: FoundUnits): CodeReferences {
  const { units, pieces } = found;
  const links = Links.merged(found.links, found.partLinks);
  const index = new RangeIndex(units);
  const unitOfField = new RangeCursor(index);
  const pieceOfField = new RangeCursor(pieces);
  const chosen = new NumberList();
  for (let i = 0; i < links.length; i++) {
    if ((links.kindAt(i) & LINK_SHORT) !== 0) continue;
    const to = index.indexOf(links.target.at(i));
    const field = links.field.at(i);
    if (to < 0 || to === unitOfField.indexOf(field)) continue;
    if (pieceOfField.find(field)?.trusted === true) chosen.push(i);
  }
  const count = chosen.length;
  const references = {
    field: new Uint32Array(count),
    target: new Uint32Array(count),
    tail: new Uint8Array(count),
    kind: new Uint8Array(count),
  };
  for (let row = 0; row < count; row++) {
    const i = chosen.at(row);
    references.field[row] = links.field.at(i);
    references.target[row] = links.target.at(i);
    references.tail[row] = links.tailAt(i);
    references.kind[row] = isBranch(links.kindAt(i)) ? REFERENCE_BRANCH : REFERENCE_ADDRESS;
  }
  return references;
}
