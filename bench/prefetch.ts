/**
 * Cold starts: plain, from the image, and with the peer, under each storage setting.
 *
 * Each run finds the file system freshly mounted. What is read is counted on the loop device, from
 * after the mount until after the unmount, so that a prefetch which outlives the program counts too.
 */
import type { Mode, ModeResult, Sample } from '../src/bench/model.ts';
import { interleave } from '../src/bench/run.ts';
import type { ColdSetting } from './support/cold-report.ts';
import { freshScratch, type RootRunner, runInRoot } from './support/root-run.ts';
import type { Setting, Throttle } from './support/throttle.ts';

/** A program that is ready to be measured in the mount. */
export interface Ready {
  readonly title: string;
  /** Its current folder. */
  readonly folder: string;
  /** Plain first. */
  readonly modes: readonly Mode[];
  /** Pages that the builds of its modes chose to read over; without the variants that were told. */
  readonly gaps: readonly number[];
}

export interface ColdOptions {
  readonly runner: RootRunner;
  readonly rounds: number;
  readonly abort: AbortSignal;
  readonly onProgress: (text: string) => void;
}

/** One cold run. */
export function coldRun(runner: RootRunner, mode: Mode, folder: string): Sample {
  const { disk } = runner;
  disk.mount('ro');
  freshScratch(disk.root);
  const before = disk.bytesRead();
  const sample = runInRoot(runner, mode.steps, folder);
  disk.unmount();
  return { ...sample, diskBytes: disk.bytesRead() - before };
}

const GAP = '--gap ';
/** Name of the variant whose image was built with the setting's other gap. */
export const gapName = ({ otherGap }: Setting): string => `${GAP}${otherGap ?? 'none'}`;

/** Measures every program under one setting. Without a `throttle` only `free` is possible. */
export async function measureCold(
  programs: readonly Ready[],
  setting: Setting,
  throttle: Throttle | undefined,
  options: ColdOptions,
): Promise<ColdSetting> {
  throttle?.set(setting);
  const probed = probe(options.runner, setting);
  const results: { title: string; gaps: readonly number[]; modes: ModeResult[] }[] = [];
  for (const program of programs) {
    const modes = await interleave({
      modes: program.modes.filter(({ name }) => !name.includes(GAP) || name.endsWith(gapName(setting))),
      rounds: options.rounds,
      abort: options.abort,
      onRound: (done, rounds) => options.onProgress(`${setting.title}: ${program.title} ${done}/${rounds}`),
      runOnce: async (mode) => coldRun(options.runner, mode, program.folder),
    });
    results.push({ title: program.title, gaps: program.gaps, modes });
  }
  return { setting, probe: probed, programs: results };
}

/** How fast a process of the control group can read: shows whether the limit bites. */
function probe(runner: RootRunner, { iops, bps }: Setting): ColdSetting['probe'] {
  const { disk } = runner;
  disk.mount('ro');
  const read = (size: number, count: number): number => {
    const argv = [
      'dd',
      `if=${disk.device}`,
      'of=/dev/null',
      `bs=${size}`,
      `count=${count}`,
      'iflag=direct',
      'status=none',
    ];
    return runInRoot(runner, [{ file: PROBE, argv }], '/').wallMs / 1e3;
  };
  // About a second of what is allowed: the kernel lets a tenth of a second pass at once.
  const requests = iops ?? 10_000;
  const megabytes = Math.ceil((bps ?? 500_000_000) / 2 ** 20);
  try {
    return {
      iops: requests / read(4096, requests),
      bytesPerSecond: (megabytes * 2 ** 20) / read(2 ** 20, megabytes),
    };
  } finally {
    disk.unmount();
  }
}

/** Must be in the mount. */
export const PROBE = '/usr/bin/dd';
