/**
 * How large a gap between two extents is read rather than skipped.
 *
 * Problem: a request for a gap's pages costs bandwidth, a second request costs a request, and which of them is short differs
 * from device to device. What the kernel says of a device does not tell: limits of control groups and of rented volumes are
 * nowhere in /sys, and virtual disks say that they turn whatever they are made of.
 *
 * Example: a volume of 500 requests and 100 MB a second reads 48 pages in the time of a request. An extent 30 pages behind
 * another is cheaper to reach by reading on: `node -e 0` started there in 450 ms with gaps of 48 pages, in 981 with 4.
 *
 * Method: the files that are to be fetched are read for some milliseconds (`runtime/read-rate.c`): small reads, many under
 * way. A device that answers ENOUGH of them a second keeps the gap of 4 pages, which measured best on a volume of 3000 requests
 * and 125 MB a second, although bandwidth over requests is 10 pages there. On a slower one that ratio is the gap: 48 pages
 * measured right on 500 requests. ENOUGH lies in the middle of 500 and 3000, in ratio. What is measured varies, so the gap is the
 * nearest of steps that are a factor of two apart, and the same from build to build unless a device lies at a border.
 *
 * Limits: what was measured holds for the time of the build, and for a control group like the builder's. Devices that turn are
 * not measured: how far their heads go depends on the files. Between 500 and 3000 requests a second no program was measured.
 */
import { PAGE_SIZE } from '../base/brands.ts';
import type { NoRates, ReadRates } from '../sys/read-rate.ts';

/** Requests a second from which on requests are not what a start waits for. */
export const ENOUGH = 1200;

/** Right on everything without a head that was measured and is not slow (docs/measurements.md). */
export const GAP_FAST = 4;
/** A head takes 2.5 ms to the next track, in which a disk reads so many pages at 100 MB/s. */
export const GAP_ROTATIONAL = 64;
/** Of slow devices: 48, half and double of it, and so on. */
const STEPS = [GAP_FAST, 12, 24, 48, 96, 192];

/** Why a gap is what it is. */
export type GapReason =
  /** `--gap`. */
  | { readonly kind: 'asked' }
  | { readonly kind: 'rotational' }
  | { readonly kind: 'fast' }
  | { readonly kind: 'slow'; readonly requestsPerSecond: number; readonly bytesPerSecond: number }
  /** Not known, so it is taken for fast. */
  | { readonly kind: 'kept'; readonly reason: NoRates };

export interface ChosenGap {
  readonly gapPages: number;
  readonly why: GapReason;
}

/** @param measure reads of the device's files; called where nothing else decides. */
export function chooseGap(
  asked: number | undefined,
  isRotational: boolean,
  measure: () => ReadRates,
): ChosenGap {
  if (asked !== undefined) return { gapPages: asked, why: { kind: 'asked' } };
  if (isRotational) return { gapPages: GAP_ROTATIONAL, why: { kind: 'rotational' } };
  const why = measure();
  return { gapPages: why.kind === 'slow' ? gapOf(why) : GAP_FAST, why };
}

function gapOf({
  requestsPerSecond,
  bytesPerSecond,
}: {
  requestsPerSecond: number;
  bytesPerSecond: number;
}): number {
  const pages = bytesPerSecond / requestsPerSecond / PAGE_SIZE;
  const distance = (step: number): number => Math.abs(Math.log(pages / step));
  return STEPS.reduce((best, step) => (distance(step) < distance(best) ? step : best));
}
