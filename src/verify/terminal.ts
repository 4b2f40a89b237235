/** Words for a verification's report. */
import { formatPlural } from '../term/format.ts';
import { printable } from '../term/text.ts';
import { endOf } from './compare.ts';
import type { Difference, Place, VerifyReport } from './model.ts';

/** Differences that a terminal shows; JSON has all. */
const SHOWN = 20;

/** The report as text that ends with a line end. */
export function renderVerify(report: VerifyReport): string {
  const lines: string[] = [];
  const image = report.runs.find((run) => run.who === 'image');
  const ended =
    image === undefined
      ? ''
      : ` (${endOf(image)}, ${image.stdoutBytes} bytes on stdout, ${image.stderrBytes} on stderr)`;
  const plainRuns = report.runs.filter((run) => run.who === 'plain').length;
  if (report.verdict === 'same') {
    lines.push(`same: the image's run is like ${formatPlural(plainRuns, 'plain run')}${ended}`);
  } else {
    lines.push(
      `different: ${formatPlural(report.differences.length, 'difference')} between the image's run and ${formatPlural(plainRuns, 'plain run')}`,
    );
    for (const difference of report.differences.slice(0, SHOWN)) lines.push(...wordDifference(difference));
    const more = report.differences.length - SHOWN;
    if (more > 0)
      lines.push(`  and ${formatPlural(more, 'more')} (--json lists all)`.replace('mores', 'more'));
  }
  if (report.notDeterministic.length > 0) {
    const places = report.notDeterministic.slice(0, 5).map(wordPlace).join(', ');
    const more = report.notDeterministic.length - 5;
    lines.push(
      `not deterministic (the plain runs differ there too): ${places}${more > 0 ? ` and ${more} more` : ''}`,
    );
  }
  for (const note of report.notes) lines.push(`note: ${note.text}`);
  for (const run of report.runs) if (run.kept !== undefined) lines.push(`kept: ${run.kept}`);
  return `${lines.join('\n')}\n`;
}

function wordDifference(difference: Difference): string[] {
  const content = difference.place.kind === 'file' && difference.place.aspect === 'content';
  const show = (value: string): string => printable(content ? `sha256 ${value.slice(0, 16)}…` : value);
  return [
    `  ${wordPlace(difference.place)}`,
    `    plain: ${show(difference.plain)}`,
    `    image: ${show(difference.image)}`,
  ];
}

/** `stdout, line 3`, `work/out.txt: mode`. */
export function wordPlace(place: Place): string {
  switch (place.kind) {
    case 'end':
      return 'how it ended';
    case 'stdout':
    case 'stderr':
      return place.line === undefined ? place.kind : `${place.kind}, line ${place.line}`;
    case 'file':
      return `${printable(place.path)}: ${place.aspect}`;
    case 'names':
      return `names in ${printable(place.folder)}`;
  }
}
