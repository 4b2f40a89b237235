/** Everything a measurement may warn of: a closed list, whose advice knows the flags in use. */
import { formatBytes, formatPlural, formatShare } from '../term/format.ts';
import type { ModeResult, Section, Warning } from './model.ts';
import { slowOutliers } from './stats.ts';

/** What the person asked for, as far as advice depends on it. */
export interface Flags {
  readonly runs: number;
  readonly runsGiven: boolean;
  readonly warmOnly: boolean;
  readonly root: boolean;
}

const FEW = 6;
/** Spread (MAD over median) from which a median is not to be trusted. */
const NOISY = 0.1;
const SHORT_MS = 1;
/** A part of the working set that stays in memory and still leaves a run cold. */
const STILL_COLD = 0.02;

/** The warnings for a section, most serious first. */
export function warningsFor(section: Section, flags: Flags): Warning[] {
  const { temperature } = section;
  const warnings: Warning[] = [];
  const failed = section.modes.filter((mode) => mode.samples.some(hasFailed));
  if (failed.length > 0) {
    warnings.push({
      code: 'failed',
      text: `the program failed in some ${temperature} runs (${names(failed)}): what was measured may be its error path`,
    });
  }
  const { residentBytes, workingSetBytes } = section.cold ?? {};
  if (
    residentBytes !== undefined &&
    workingSetBytes !== undefined &&
    residentBytes > workingSetBytes * STILL_COLD
  ) {
    const files = (section.cold?.residentFiles ?? []).slice(0, 2).map((file) => file.path);
    warnings.push({
      code: 'not-cold',
      text: `${formatBytes(residentBytes)} (${formatShare(residentBytes, workingSetBytes)}) of the working set stay in memory because running processes use them (${files.join(', ')}): cold figures are too good for every mode`,
    });
  }
  if (section.cold?.method === 'fadvise') {
    const advice = flags.root ? 'this container may not drop caches' : 'run as root to drop them too';
    warnings.push({ code: 'lookups-warm', text: `path look-ups stayed warm in the cold runs: ${advice}` });
  }
  if (flags.runs < FEW) {
    const advice = flags.runsGiven ? `--runs ${FEW} or more` : 'more --runs';
    warnings.push({
      code: 'few-runs',
      text: `${formatPlural(flags.runs, 'run')} of each mode ${flags.runs === 1 ? 'says' : 'say'} little: use ${advice}`,
    });
  }
  const noisy = section.modes.filter((mode) => mode.wallMs.mad > mode.wallMs.median * NOISY);
  if (noisy.length > 0) {
    warnings.push({
      code: 'noisy',
      text: `the ${temperature} runs vary by more than ${NOISY * 100} % (${names(noisy)}): close other programs, or use --runs ${Math.max(20, flags.runs * 2)}`,
    });
  } else {
    const outliers = section.modes.filter((mode) => {
      const times = mode.samples.map((sample) => sample.wallMs);
      return times.length >= FEW && slowOutliers(times) > times.length / 5;
    });
    if (outliers.length > 0) {
      warnings.push({
        code: 'outliers',
        text: `slow outliers in the ${temperature} runs (${names(outliers)}): something else ran now and then`,
      });
    }
  }
  if (temperature === 'warm' && section.modes.every((mode) => mode.wallMs.median < SHORT_MS)) {
    const advice = flags.warmOnly ? '' : '; look at the cold figures';
    warnings.push({
      code: 'very-short',
      text: `the program takes less than ${SHORT_MS} ms when warm: starting it is most of that${advice}`,
    });
  }
  return warnings;
}

const hasFailed = ({ status }: ModeResult['samples'][number]): boolean =>
  status.kind === 'killed' || status.code !== 0;
const names = (modes: readonly ModeResult[]): string => modes.map((mode) => mode.name).join(', ');
