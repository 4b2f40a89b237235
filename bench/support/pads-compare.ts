/**
 * Where copies go on when something throws there, against the originals: the same pads, or their copies, for the same
 * types, at every place where a call site begins or ends.
 *
 * Method: the data areas of both are read by src/elf, and their actions here: down to what each type leads to.
 */
import { type Rva, rva } from '../../src/base/brands.ts';
import { DW_EH_PE_omit, formatSize } from '../../src/elf/dwarf.ts';
import { type Fde, isLeftover, readEhFrame } from '../../src/elf/eh-frame.ts';
import type { ElfImage } from '../../src/elf/image.ts';
import { readSiteTable, type SiteRow, type SiteTable } from '../../src/elf/landing-pads.ts';
import type { CloneMap } from '../../src/rewrite/model.ts';
import { RangeIndex } from '../../src/rewrite/pieces.ts';

/** What differs, in words; `compared` places were looked at. */
export function differingPads(
  original: ElfImage,
  copy: ElfImage,
  map: CloneMap,
): { readonly differing: readonly string[]; readonly compared: number } {
  const [before, after] = [new Areas(original), new Areas(copy)];
  const differing: string[] = [];
  let compared = 0;
  for (const { unit, at } of map.clones) {
    for (const fde of before.within(unit.start, unit.end)) {
      const from = Math.max(fde.start, unit.start);
      const to = Math.min(fde.end, unit.end);
      for (const place of before.placesOf(fde, from, to)) {
        compared++;
        const was = before.answer(place, (pad) => map.copyOf(pad) ?? pad);
        const is = after.answer(at + (place - unit.start), (pad) => pad);
        if (was !== is) differing.push(`0x${place.toString(16)}: ${was}, in the copy ${is}`);
      }
    }
  }
  return { differing, compared };
}

class Areas {
  readonly #image: ElfImage;
  readonly #fdes: RangeIndex<Fde>;
  readonly #tables = new Map<Fde, SiteTable>();

  constructor(image: ElfImage) {
    this.#image = image;
    this.#fdes = new RangeIndex(
      readEhFrame(image)
        .fdes.filter((fde) => !isLeftover(fde) && image.offsetOf(fde.start) !== undefined)
        .toSorted((a, b) => a.start - b.start),
    );
  }

  /** Those with a data area that describe code of a range. */
  within(start: number, end: number): readonly Fde[] {
    const found: Fde[] = [];
    const { ranges } = this.#fdes;
    for (let i = Math.max(this.#fdes.before(start), 0); (ranges[i]?.start ?? end) < end; i++) {
      const fde = ranges[i];
      if (fde?.lsda !== undefined && fde.end > start) found.push(fde);
    }
    return found;
  }

  /** Where call sites begin, where they end and just before, as far as they lie in a range; and its own ends. */
  placesOf(fde: Fde, from: number, to: number): readonly number[] {
    const places = this.#tableOf(fde).rows.flatMap(({ start, end }) => [start, end - 1, end]);
    return [from, ...places, to - 1].filter((at) => at >= from && at < to);
  }

  /** What happens to an exception that passes an address. */
  answer(at: number, pads: (pad: Rva) => number): string {
    const fde = this.#fdes.find(at);
    if (fde === undefined) return 'no FDE';
    if (fde.lsda === undefined) return 'no data area';
    const table = this.#tableOf(fde);
    const row = table.rows.find(({ start, end }) => at >= start && at < end);
    if (row === undefined) return 'no call site';
    if (row.pad === undefined) return 'goes on';
    // The area says where its pads are, wherever the code is.
    const pad = table.hasPadStart ? row.pad : pads(row.pad);
    return `lands at 0x${pad.toString(16)} for ${this.#actionsOf(table, row)}`;
  }

  #tableOf(fde: Fde): SiteTable {
    const known = this.#tables.get(fde);
    if (known !== undefined) return known;
    const table = readSiteTable(this.#image, fde, fde.lsda ?? rva(0));
    this.#tables.set(fde, table);
    return table;
  }

  #actionsOf({ reader, actionsAt, typesAt, typeEncoding }: SiteTable, { action }: SiteRow): string {
    if (action === 0) return 'cleaning up';
    const size = typeEncoding === DW_EH_PE_omit ? 0 : (formatSize(typeEncoding) ?? 0);
    const typeOf = (filter: number): string => {
      reader.at = typesAt - filter * size;
      return reader.pointer(typeEncoding).toString(16);
    };
    const told: string[] = [];
    for (let at = actionsAt + action - 1; told.length < 1000; ) {
      reader.at = at;
      const filter = reader.sleb();
      const nextAt = reader.at;
      const next = reader.sleb();
      if (filter >= 0) told.push(filter === 0 ? 'cleaning up' : `${filter} = ${typeOf(filter)}`);
      else {
        const allowed: number[] = [];
        reader.at = typesAt - filter - 1;
        for (let type = reader.uleb(); type !== 0; type = reader.uleb()) allowed.push(type);
        told.push(`${filter}, all but ${allowed.map(typeOf).join(' ')}`);
      }
      if (next === 0) break;
      at = nextAt + next;
    }
    return told.join(', ');
  }
}
