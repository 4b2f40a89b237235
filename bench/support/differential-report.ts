/** What programs and CPython's tests did with copied functions, linked or prelinked: Markdown. */
import { describeMachine, type Machine } from '../../src/bench/machine.ts';
import { renderMachine } from '../../src/bench/terminal.ts';
import type { Technique } from './copied-image.ts';
import type { Leak } from './leaks.ts';
import { markdownTable } from './markdown.ts';
import type { MissedStarts } from './share-json.ts';

interface Report {
  readonly date: string;
  readonly technique: Technique;
  readonly machine: Machine;
}

export interface CopiedResult {
  readonly name: string;
  readonly kind: string;
  readonly modules: number;
  /** Of these, what a start of the first program has mapped. */
  readonly shown: number;
  readonly copiedFunctions: number;
  /** Empty: as before. */
  readonly differences: readonly string[];
  readonly leaks: number;
}

export interface LinkedResult {
  readonly name: string;
  readonly kind: string;
  readonly linked: readonly string[];
  readonly kept: readonly { readonly path: string; readonly reason: string }[];
  /** Empty: as before. */
  readonly differences: readonly string[];
  /** Starts of the run that were plain although the program has an image. */
  readonly missed: readonly MissedStarts[];
}

export interface ModuleResult {
  readonly module: string;
  readonly tests: number;
  /** How the plain run of the module ended. */
  readonly end: string;
  /** Of its tests. */
  readonly outcomes: Readonly<Record<string, number>>;
  /** Tests that end otherwise than with the plain program, each time. */
  readonly differences: readonly string[];
  /** Tests that ended otherwise at first, and alike when they were tried again. */
  readonly unsteady: readonly string[];
}

/** When and on what machine a run began. */
export function openReport(technique: Technique): Report {
  return { date: new Date().toISOString(), technique, machine: { ...describeMachine([]), devices: [] } };
}

const measured = ({ date, technique, machine }: Report, bench: string): string => {
  const options = technique === 'select' ? '' : ` -- --technique ${technique}`;
  return `Measured ${date.slice(0, 10)} with \`npm run bench:${bench}${options}\`.\n\n\`\`\`\n${renderMachine(machine)}\`\`\`\n\n`;
};

const verdict = (differences: readonly string[]): string =>
  differences.length === 0 ? 'the same' : `**${differences.join('; ')}**`;

const sum = <T>(all: readonly T[], of: (one: T) => number): number =>
  all.reduce((total, one) => total + of(one), 0);

/** Most first. */
function counts(texts: readonly string[]): string[][] {
  const found = new Map<string, number>();
  for (const text of texts) found.set(text, (found.get(text) ?? 0) + 1);
  return [...found].toSorted((a, b) => b[1] - a[1]).map(([text, count]) => [text, String(count)]);
}

export function renderCopied(
  report: Report & { readonly programs: readonly CopiedResult[] },
  leaks: readonly Leak[],
): string {
  const { programs } = report;
  const rows = programs.map(({ name, kind, modules, copiedFunctions, leaks: found, differences }) => [
    `${name}: ${kind}`,
    ...[modules, copiedFunctions, found].map(String),
    verdict(differences),
  ]);
  const reasons = leaks.map(({ reason, explained }) => (explained ? reason : `**not explained:** ${reason}`));
  const titles = ['program', 'modules', 'functions copied', 'places', 'output and end'];
  return (
    measured(report, 'all-cloned-programs') +
    markdownTable(titles, rows) +
    '\nPlaces: where the original was come to when nothing of it could be executed, by the reason; each counted once, whatever programs come to it.\n\n' +
    markdownTable(['why there', 'places'], [...counts(reasons), ['all', String(leaks.length)]])
  );
}

export function renderLinked(report: Report & { readonly programs: readonly LinkedResult[] }): string {
  const { programs } = report;
  const rows = programs.map(({ name, kind, linked, kept, missed, differences }) => [
    `${name}: ${kind}`,
    ...[linked.length, kept.length, sum(missed, ({ starts }) => starts)].map(String),
    verdict(differences),
  ]);
  const how = report.technique === 'share' ? 'linked' : 'prelinked';
  const titles = ['program', how, 'kept', 'plain starts', 'output and end'];
  const kept = counts(programs.flatMap((one) => one.kept.map(({ reason }) => `kept: ${reason}`)));
  const missed = programs.flatMap(({ name, missed: starts }) =>
    starts.map(({ cause, path, starts: count }) => [
      `plain starts: ${cause}, ${path} (${name})`,
      String(count),
    ]),
  );
  const reasons = [...kept, ...missed];
  return (
    measured(report, 'all-cloned-programs') +
    markdownTable(titles, rows) +
    (reasons.length === 0 ? '' : `\n${markdownTable(['why', 'programs or starts'], reasons)}`)
  );
}

export function renderTests(
  report: Report & {
    readonly modules: readonly ModuleResult[];
    /** Undefined with select, which shows copies and links nothing. */
    readonly missed?: readonly MissedStarts[];
  },
): string {
  const { modules, missed } = report;
  const titles = ['module', 'tests', 'passed', 'skipped', 'otherwise', 'differently', 'differently at first'];
  const rows = modules.map(({ module, tests, outcomes, differences, unsteady }) => {
    const passed = outcomes.ok ?? 0;
    const skipped = outcomes.skipped ?? 0;
    const numbers = [tests, passed, skipped, tests - passed - skipped].map(String);
    const differing = differences.length === 0 ? '0' : `**${differences.length}: ${differences.join('; ')}**`;
    return [module, ...numbers, differing, String(unsteady.length)];
  });
  const all = sum(modules, ({ tests }) => tests);
  const starts = missed?.map(({ cause, path, starts: count }) => [`${cause}, ${path}`, String(count)]) ?? [];
  return (
    measured(report, 'cpython-tests') +
    `${modules.length} modules, ${all} tests, each with the plain python3 and with the image's.\n\n` +
    markdownTable(titles, rows) +
    (starts.length === 0 ? '' : `\n${markdownTable(['starts that were plain', ''], starts)}`)
  );
}
