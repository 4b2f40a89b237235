/** Has everything of a module bound at the start: a dynamic section says so in one of three ways. */
import { viewOf } from '../../elf/bytes.ts';
import type { ElfImage } from '../../elf/image.ts';
import * as spec from '../../elf/spec.ts';

interface Entry {
  readonly index: number;
  readonly tag: number;
  readonly value: number;
}

/** The entry that says so, to be written; undefined where there is no room for one. */
export function bindNowEntry({ dynamic, segments }: ElfImage): Entry | undefined {
  const { entries } = dynamic;
  for (const [tag, flag] of [
    [spec.DT_FLAGS_1, spec.DF_1_NOW],
    [spec.DT_FLAGS, spec.DF_BIND_NOW],
    [spec.DT_BIND_NOW, 0],
  ] as const) {
    const index = entries.findLastIndex((entry) => entry.tag === tag);
    const entry = entries[index];
    if (entry !== undefined) return { index, tag, value: (entry.value | flag) >>> 0 };
  }
  const now = { tag: spec.DT_FLAGS_1, value: spec.DF_1_NOW };
  // Linkers leave some empty entries at the end. The one that ends the list stays.
  const size = segments.find(({ type }) => type === spec.PT_DYNAMIC)?.fileSize ?? 0;
  if (entries.length + 1 < Math.floor(size / spec.DYN_SIZE)) return { index: entries.length, ...now };
  // A hint of how many relocations at the table's beginning are RELATIVE: nobody needs it.
  const hint = entries.findIndex(({ tag }) => tag === spec.DT_RELACOUNT);
  return hint < 0 ? undefined : { index: hint, ...now };
}

/** @param bytes the copy. */
export function setBindNow(image: ElfImage, bytes: Uint8Array): void {
  const segment = image.segments.find(({ type }) => type === spec.PT_DYNAMIC);
  const entry = bindNowEntry(image);
  if (segment === undefined || entry === undefined) return;
  const view = viewOf(bytes);
  const at = segment.offset + entry.index * spec.DYN_SIZE;
  view.setBigUint64(at, BigInt(entry.tag), true);
  view.setBigUint64(at + 8, BigInt(entry.value), true);
}
