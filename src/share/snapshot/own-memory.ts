/** The pages that linking made, in all runs side by side. */
import { PAGE_SIZE, userAddress } from '../../base/brands.ts';
import { type AddressRange, ownPages } from '../../sys/pagemap.ts';
import type { Anchor } from '../model.ts';
import { type Region, SourcePages } from './regions.ts';
import type { SnapshotRun } from './snapshot.ts';

/** Neighbouring pages of one anchor, with their bytes in each run. */
export interface Span {
  readonly anchor: Exclude<Anchor, 'vdso'>;
  readonly offset: number;
  readonly bytes: readonly Buffer[];
}

interface Page {
  readonly anchor: Exclude<Anchor, 'vdso'>;
  readonly offset: number;
  readonly region: Region;
}

/**
 * The pages that are the process's own in any of the runs and not, in all runs, what their source has: ascending
 * by anchor and offset, spans do not touch.
 */
export function ownSpans(runs: readonly SnapshotRun[], regions: readonly Region[]): readonly Span[] {
  const pages = pagesOfAny(runs, regions);
  const spans: Span[] = [];
  const sources = new SourcePages();
  try {
    for (let from = 0; from < pages.length; ) {
      const to = endOfSpan(pages, from);
      const first = pages[from];
      if (first === undefined) break;
      const { anchor, offset } = first;
      const size = (to - from) * PAGE_SIZE;
      const bytes = runs.map(({ stopped, bases }) => stopped.memory.read(bases[anchor] + offset, size));
      const changed = pages.slice(from, to).map((page, index) => isChanged(page, index, bytes, sources));
      spans.push(...cut({ anchor, offset, bytes }, changed));
      from = to;
    }
  } finally {
    sources.close();
  }
  return spans;
}

function pagesOfAny(runs: readonly SnapshotRun[], regions: readonly Region[]): readonly Page[] {
  return regions.flatMap((region) => {
    const { anchor, offset, size } = region;
    const found = new Set<number>();
    for (const { stopped, bases } of runs) {
      const start = bases[anchor] + offset;
      const range: AddressRange = { start: userAddress(start), end: userAddress(start + size) };
      for (const { start: low, end } of ownPages(stopped.pid, [range])) {
        for (let at: number = low; at < end; at += PAGE_SIZE) found.add(offset + at - start);
      }
    }
    return [...found].sort((a, b) => a - b).map((at) => ({ anchor, offset: at, region }));
  });
}

function endOfSpan(pages: readonly Page[], from: number): number {
  let to = from + 1;
  for (; to < pages.length; to++) {
    const previous = pages[to - 1];
    const page = pages[to];
    if (page === undefined || previous === undefined) break;
    if (page.anchor !== previous.anchor || page.offset !== previous.offset + PAGE_SIZE) break;
  }
  return to;
}

const ZEROS = Buffer.alloc(PAGE_SIZE);

/** Whether a page has more than its source. Written with what it had, it need not be in the image. */
function isChanged(
  { offset, region }: Page,
  index: number,
  bytes: readonly Buffer[],
  sources: SourcePages,
): boolean {
  const { source } = region;
  const original =
    source === undefined ? ZEROS : sources.page(source.path, source.offset + offset - region.offset);
  const at = index * PAGE_SIZE;
  return bytes.some((run) => original.compare(run, at, at + PAGE_SIZE) !== 0);
}

function cut({ anchor, offset, bytes }: Span, changed: readonly boolean[]): Span[] {
  const spans: Span[] = [];
  for (let from = 0; from < changed.length; from++) {
    if (changed[from] !== true) continue;
    let to = from;
    while (changed[to] === true) to++;
    const part = bytes.map((run) => run.subarray(from * PAGE_SIZE, to * PAGE_SIZE));
    spans.push({ anchor, offset: offset + from * PAGE_SIZE, bytes: part });
    from = to;
  }
  return spans;
}
