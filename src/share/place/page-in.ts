/**
 * Whether the starts of an image may leave words of read-only pages to be slid when the pages are touched (runtime/page-in.c).
 *
 * Problem: what reads such a page must be the process's own instructions, or a system call, which the launcher sees first. The kernel reads
 * one kind of constant at a time of its own: descriptions of restartable sequences (struct rseq_cs), when it has taken the processor away.
 * Method: who uses them finds the area of its thread by the name __rseq_offset, by a symbol or by dlsym; so a module whose bytes have that name keeps the image from it.
 * libc and the loader, which define it, have none themselves. Modules that are loaded later have their descriptions in their own pages.
 */
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { PAGE_SIZE } from '../../base/brands.ts';
import { errnoOf } from '../../base/errors.ts';
import type { PlacedImage, PlacedMap } from '../linked/linked-model.ts';

/** As PAGES_LEAST of runtime/restore-page-in.c. */
const PAGES_LEAST = 32;
const RESTARTABLE = '__rseq_offset';
const DEFINES_IT = /^(?:ld-linux-x86-64\.so\.2|libc(?:-[\d.]+)?\.so(?:\.6)?)$/;

export type PageIn =
  /** At most so many pages are left to be slid when they are touched. */
  | { readonly kind: 'left'; readonly pages: number }
  | { readonly kind: 'kept'; readonly reason: string; readonly detail?: string };

/** @param modules paths, the program too. */
export function pageInOf(image: PlacedImage, modules: readonly string[]): PageIn {
  const pages = pagesToLeave(image);
  if (pages < PAGES_LEAST)
    return { kind: 'kept', reason: `fewer than ${PAGES_LEAST} read-only pages hold addresses` };
  const restarts = modules.find(usesRestartableSequences);
  if (restarts !== undefined)
    return { kind: 'kept', reason: 'the kernel reads constants of restartable sequences', detail: restarts };
  return { kind: 'left', pages };
}

function pagesToLeave({ slide, maps, fixUps }: PlacedImage): number {
  if (slide === undefined) return 0;
  const written = new Set(fixUps.flatMap(({ at, size }) => [pageOf(at), pageOf(at + size - 1)]));
  const isReadOnly = ({ source, protection }: PlacedMap): boolean =>
    source.kind === 'pages' && protection.read && !protection.write && !protection.execute;
  const left = maps.filter(isReadOnly);
  const pages = new Set(slide.pages.map(({ at }) => at));
  let next = 0;
  let count = 0;
  for (const at of pages) {
    while (next < left.length && at >= (left[next]?.at ?? 0) + (left[next]?.size ?? 0)) next += 1;
    const map = left[next];
    if (map !== undefined && at >= map.at && !written.has(pageOf(at))) count += 1;
  }
  return count;
}

const pageOf = (at: number): number => Math.floor(at / PAGE_SIZE);

function usesRestartableSequences(path: string): boolean {
  if (DEFINES_IT.test(basename(path))) return false;
  try {
    return readFileSync(path).includes(RESTARTABLE);
  } catch (error) {
    // Gone since it was linked: its guard finds that out.
    if (errnoOf(error) !== undefined) return false;
    throw error;
  }
}
