/** The suite's command line. */
import type { WinnowError } from '../src/base/errors.ts';
import { badUsage, choose, parseSuiteArgs } from './support/main.ts';
import { MODE_KINDS, type ModeKind, USUAL_MODES } from './support/modes.ts';
import { type BenchProgram, PROGRAMS } from './support/programs.ts';
import { SETTINGS, type Setting } from './support/throttle.ts';

export const PARTS = ['cold', 'warm', 'exactness', 'recorder'] as const;
export type Part = (typeof PARTS)[number];

/** Another image of the same program: `workers=1` becomes the mode `prefetch workers=1`. */
export interface Variant {
  readonly name: string;
  readonly options: Readonly<Record<string, string>>;
}

export interface SuiteOptions {
  readonly programs: readonly BenchProgram[];
  readonly settings: readonly Setting[];
  readonly parts: readonly Part[];
  /** Beside plain. */
  readonly modes: readonly ModeKind[];
  readonly variants: readonly Variant[];
  readonly rounds: number;
  readonly warmRounds: number;
  readonly records: number;
  readonly install: boolean;
  /** Sets everything up and takes it down, without measuring. */
  readonly dryRun: boolean;
  /** The block of docs/measurements.md that is written; undefined: none. By default only when everything was measured. */
  readonly block: string | undefined;
  readonly json: string | undefined;
}

export const USAGE = `usage: npm run bench -- [options]      (as root; node dist/bench/main.js once it is built)
  --programs a,b     of ${PROGRAMS.map((program) => program.name).join(', ')} (default: all)
  --settings a,b     of ${SETTINGS.map((setting) => setting.name).join(', ')} (default: all)
  --parts a,b        of ${PARTS.join(', ')} (default: all)
  --modes a,b        of ${MODE_KINDS.map((mode) => mode.name).join(', ')}
                     (default: ${USUAL_MODES.map((mode) => mode.name).join(', ')})
  --rounds N         cold rounds of each mode (default 7)
  --warm-rounds N    warm rounds (default 40)
  --records N        runs that are recorded of each program (default 3)
  --variant K=V[,K=V]  measure an image built with these options too; may be given again
  --json FILE        where the figures go (default bench/results/prefetch.json for a whole run)
  --write-docs       write docs/measurements.md also after a part of the suite
  --block NAME       write this block of it (default prefetch)
  --no-install       do not install missing Debian packages
  --dry-run          set everything up and take it down, measure nothing
`;

/** @throws WinnowError `E_USAGE` */
export function parseOptions(args: readonly string[]): SuiteOptions | 'help' {
  const { values } = parse(args);
  if (values.help === true) return 'help';
  const programs = choose('--programs', values.programs, PROGRAMS, USAGE);
  const settings = choose('--settings', values.settings, SETTINGS, USAGE);
  const parts = choose(
    '--parts',
    values.parts,
    PARTS.map((name) => ({ name })),
    USAGE,
  ).map(({ name }) => name);
  const modes = values.modes === undefined ? USUAL_MODES : choose('--modes', values.modes, MODE_KINDS, USAGE);
  const variants = (values.variant ?? []).map(parseVariant);
  const whole =
    modes === USUAL_MODES &&
    programs.length === PROGRAMS.length &&
    settings.length === SETTINGS.length &&
    parts.length === PARTS.length;
  return {
    programs,
    settings,
    parts,
    modes,
    variants,
    rounds: count('--rounds', values.rounds, 7),
    warmRounds: count('--warm-rounds', values['warm-rounds'], 40),
    records: count('--records', values.records, 3),
    install: values['no-install'] !== true,
    dryRun: values['dry-run'] === true,
    block:
      values['dry-run'] === true
        ? undefined
        : (values.block ?? (whole || values['write-docs'] === true ? 'prefetch' : undefined)),
    json: values.json ?? (whole ? 'bench/results/prefetch.json' : undefined),
  };
}

function parse(args: readonly string[]) {
  return parseSuiteArgs(
    {
      args: [...args],
      options: {
        programs: { type: 'string' },
        settings: { type: 'string' },
        parts: { type: 'string' },
        rounds: { type: 'string' },
        'warm-rounds': { type: 'string' },
        records: { type: 'string' },
        modes: { type: 'string' },
        block: { type: 'string' },
        variant: { type: 'string', multiple: true },
        json: { type: 'string' },
        'write-docs': { type: 'boolean' },
        'no-install': { type: 'boolean' },
        'dry-run': { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    },
    USAGE,
  );
}

function count(flag: string, text: string | undefined, standard: number): number {
  if (text === undefined) return standard;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw usage(`${flag} takes a number from 1 on, not ${text}`);
  return value;
}

function parseVariant(name: string): Variant {
  const pairs = name.split(',').map((pair) => pair.split('='));
  if (pairs.some((pair) => pair.length !== 2 || pair[0] === ''))
    throw usage(`--variant takes K=V[,K=V], not ${name}`);
  return { name, options: Object.fromEntries(pairs) };
}

const usage = (what: string): WinnowError => badUsage(what, USAGE);
