/** Programs that start linked, in words and tables. */
import type { CheckedProgram } from '../image/share-check.ts';
import type { MissCause, ProgramMisses } from '../image/share-misses.ts';
import { REFUSED } from '../image/share-words.ts';
import { formatTime } from '../report/usage-text.ts';
import type { JoinedFigures, SlideFigures, TakenFigures } from '../share/built.ts';
import type { ShareExplanation } from '../share/explain.ts';
import { formatBytes, formatCount, formatPlural } from '../term/format.ts';
import { type Column, renderTable } from '../term/table.ts';
import { printable } from '../term/text.ts';

const right = (title: string): Column => ({ title, align: 'right' });

/** What `winnow build` says, and `winnow image show` after its head. */
export function renderShare({ programs, kept, totals }: ShareExplanation): string {
  const columns = [
    right('modules'),
    right('relocated pages'),
    right('addresses'),
    right('mappings'),
    right('by ld.so'),
    right('image'),
    { title: 'program' },
  ];
  const rows = programs.map(({ path, figures }) => [
    formatCount(figures.modules),
    formatCount(figures.linkedPages),
    formatCount(figures.pointers),
    formatCount(figures.maps),
    formatCount(figures.loaderMaps),
    formatBytes(figures.bytes),
    printable(path),
  ]);
  const reasons = kept.map(
    ({ reason, programs: count, example, detail }) =>
      `  ${formatPlural(count, 'program')}: ${reason} (${printable(example)}${detail === undefined ? '' : `: ${printable(detail)}`})\n`,
  );
  return [
    `${formatPlural(totals.programs, 'program')} linked, ${formatBytes(totals.bytes)}\n`,
    rows.length === 0 ? '' : renderTable(columns, rows),
    takenLine(programs),
    reasons.length === 0 ? '' : `started by their own loader:\n${reasons.join('')}`,
  ].join('');
}

/** What `winnow build` adds: programs that would not start linked here and now, whatever was made for them. */
export function renderNotLinked(checks: readonly CheckedProgram[]): string {
  const byReason = new Map<string, string[]>();
  for (const { path, refused, notShown } of checks) {
    const reason = refused ?? notShown;
    if (reason !== undefined) byReason.set(reason, [...(byReason.get(reason) ?? []), path]);
  }
  if (byReason.size === 0) return '';
  const lines = [...byReason].map(
    ([reason, [example = '', ...others]]) =>
      `  ${formatPlural(others.length + 1, 'program')}: ${printable(reason)} (${printable(example)})\n`,
  );
  return `would start by their own loader now:\n${lines.join('')}`;
}

/** What `winnow image show` adds: what each start writes, and which guards hold now. */
export function renderShareChecks(explanation: ShareExplanation, checks: readonly CheckedProgram[]): string {
  return checks
    .map((check) => {
      const program = explanation.programs.find(({ path }) => path === check.path);
      const reason = check.refused ?? check.notShown;
      const broken = check.guards.filter((guard) => !guard.holds);
      const count = (kind: string): string =>
        formatCount(check.guards.filter((guard) => guard.kind === kind).length);
      const names = (all: readonly { readonly name: string; readonly count: number }[] | undefined): string =>
        (all ?? []).map(({ name, count: times }) => (times === 1 ? name : `${name} ×${times}`)).join(', ') ||
        'none';
      return [
        `${printable(check.path)}: ${reason === undefined ? 'would start linked now' : `would start by its own loader now: ${printable(reason)}`}`,
        `  maps       ${formatBytes(check.mapped.files)} of its files, ${formatBytes(check.mapped.pages)} of the image, ${formatBytes(check.mapped.zeros)} of zeros`,
        ...(check.otherImages === 0
          ? []
          : [`  file       the same as in ${formatPlural(check.otherImages, 'other image')}`]),
        ...joinedLines(program?.joined),
        ...takenLines(program?.taken),
        slideLine(program?.slide),
        `  each start writes ${names(program?.figures.fixUps)}`,
        `  may differ ${names(program?.figures.leftovers)}`,
        ...(program?.asksForItself === undefined
          ? []
          : [
              `  may ask for its own path, so it is shown by mounts only: ${printable(program.asksForItself)}`,
            ]),
        ...(program?.libraryPath === undefined
          ? []
          : [`  linked for LD_LIBRARY_PATH=${printable(program.libraryPath)}`]),
        `  guards     ${count('module')} modules and ${count('unchanged')} other paths unchanged, ${count('absent')} absent; ` +
          `${broken.length === 0 ? 'all hold' : `${formatCount(broken.length)} do not hold`}`,
        ...broken.map(({ kind, path }) => `             ${WORDS[kind]}: ${printable(path)}`),
        ...renderMisses(check.misses).map((line) => `  ${line}`),
        '',
      ].join('\n');
    })
    .join('');
}

const why = ({ cause, path }: MissCause): string => {
  const words = cause === 'unknown' ? 'a cause that this winnow does not know' : REFUSED[cause];
  return path === undefined ? words : `${words}: ${printable(path)}`;
};

/** How often it did not start linked, and why; a line, and one for each cause. */
function renderMisses(misses: ProgramMisses | undefined): string[] {
  if (misses === undefined) return ['misses     are not counted'];
  if (misses.newest === undefined) return ['misses     none noted'];
  const count = `${misses.isFull ? 'at least ' : ''}${formatPlural(misses.starts, 'start')}`;
  return [
    `misses     ${count} by its own loader, the last one at ${formatTime(misses.newest)}`,
    ...misses.causes.map((cause) => `           ${formatCount(cause.starts)}: ${why(cause)}`),
  ];
}

/** What `winnow report` adds of the profile's image. */
export function renderImageMisses(
  name: string,
  programs: readonly { readonly path: string; readonly misses: ProgramMisses }[],
): string {
  const missed = programs.filter(({ misses }) => misses.starts > 0);
  if (missed.length === 0) return '';
  const lines = missed.flatMap(({ path, misses }) => {
    const starts = `${misses.isFull ? 'at least ' : ''}${formatCount(misses.starts)}`;
    const [first] = misses.causes;
    const most = first === undefined ? '' : `; ${formatCount(first.starts)}: ${why(first)}`;
    return [`  ${starts} of ${printable(path)}${most}`];
  });
  return `starts of the image that were not linked (winnow image show ${name}):\n${lines.join('\n')}\n`;
}

/** What stays random, and what that costs. */
function slideLine(slide: SlideFigures | undefined): string {
  if (slide === undefined)
    return '  addresses  of the program and its modules are the same at each start of this image; stack, heap and later mappings are not';
  const { programBits, modulesBits, pages, pageIn } = slide;
  const bits = (value: number): string => `${formatCount(Math.floor(value))} random bits`;
  const own =
    programBits === 0 ? 'fixed for the program, as it is linked' : `${bits(programBits)} for the program`;
  return `  addresses  other ones at each start: ${own}, ${bits(modulesBits)} for its modules; ${formatPlural(pages, 'page')} with addresses are each process’s own${pageInWords(pageIn)}`;
}

function pageInWords(pageIn: SlideFigures['pageIn']): string {
  if (pageIn === undefined) return '';
  if (pageIn.kind === 'left')
    return `, up to ${formatCount(pageIn.pages)} of them only once they are touched`;
  const { reason, detail } = pageIn;
  return `, all from the start on: ${printable(detail === undefined ? reason : `${reason}: ${detail}`)}`;
}

const takenWords = ({ libraries, bytes }: TakenFigures): string =>
  `${libraries === 1 ? '1 small library' : `${formatCount(libraries)} small libraries`}, ${formatBytes(bytes)} of code and constants`;

/** Of all programs; libraries that several take are in each image. */
function takenLine(programs: ShareExplanation['programs']): string {
  const all = programs.flatMap(({ taken }) => taken ?? []);
  const libraries = all.reduce((sum, one) => sum + one.libraries, 0);
  const bytes = all.reduce((sum, one) => sum + one.bytes, 0);
  return libraries === 0 ? '' : `taken into the image: ${takenWords({ libraries, bytes })}\n`;
}

function takenLines(taken: TakenFigures | undefined): string[] {
  if (taken === undefined || taken.libraries === 0) return [];
  return [`  taken      ${takenWords(taken)} are this image's own, not shared with other programs`];
}

/** What is paid for few mappings. */
function joinedLines(joined: JoinedFigures | undefined): string[] {
  if (joined === undefined) return [];
  return [
    `  joined     ${formatBytes(joined.copied)} of code and constants are this image's own; ${formatBytes(joined.shared ?? 0)} stay in their libraries, ` +
      `shared with other images and programs; ${formatBytes(joined.executable)} of constants and relocated data are executable`,
    ...(joined.calls === undefined
      ? []
      : [
          `  direct     ${formatCount(joined.calls.direct)} stubs of the PLT jump directly, ${formatCount(joined.calls.far)} lead too far`,
        ]),
  ];
}

const WORDS = {
  module: 'has changed or is gone',
  unchanged: 'has changed or is gone',
  absent: 'has come',
} as const;
