/** The table of programs with and without an image after linking: Markdown. */
import type { Machine } from '../../src/bench/machine.ts';
import { renderMachine } from '../../src/bench/terminal.ts';
import type { Sharing } from '../../src/cli/build-techniques.ts';
import { markdownTable } from './markdown.ts';
import type { CorpusResult } from './share-corpus.ts';

export interface CorpusReport {
  readonly date: string;
  readonly share: Sharing;
  readonly machine: Machine;
  /** Of each program. */
  readonly starts: number;
  readonly packages: number;
  readonly results: readonly CorpusResult[];
}

export function renderCorpus(report: CorpusReport): string {
  const { date, machine, share: sharing, starts, packages, results } = report;
  const count = (kind: CorpusResult['kind']): number => results.filter((one) => one.kind === kind).length;
  const images = count('same') + count('built') + count('wrong');
  const share = (part: number): string => `${part} (${((100 * part) / results.length).toFixed(1)} %)`;
  const reasons = new Map<string, number>();
  for (const one of results)
    if (one.kind === 'kept') reasons.set(one.reason, (reasons.get(one.reason) ?? 0) + 1);
  const wrong = results.flatMap((one) =>
    one.kind === 'wrong'
      ? [`- ${one.path} ${one.args}: ${one.what}\n`]
      : one.kind === 'unused'
        ? [`- ${one.path}: not so started: ${one.why}\n`]
        : [],
  );
  const plain = results.flatMap((one) => (one.kind === 'same' && one.plain !== undefined ? [one] : []));
  const causes = plain.map(({ path, plain: counted }) => {
    const words = Object.entries(counted ?? {}).map(([cause, count]) => `${cause} ${count} times`);
    return `- ${path}: plain starts: ${words.join(', ')}\n`;
  });
  const rows = [
    ['dynamic programs under /usr/bin', String(results.length)],
    [sharing === 'image' ? 'start from an image' : 'start with prelinked libraries', share(images)],
    [`&nbsp;&nbsp;the same output and exit code in ${starts} starts each`, String(count('same'))],
    ['&nbsp;&nbsp;&nbsp;&nbsp;of these, with a plain start among them', String(plain.length)],
    ['&nbsp;&nbsp;without an invocation that ends and says the same twice', String(count('built'))],
    ['&nbsp;&nbsp;**other output or exit code**', String(count('wrong'))],
    ['built, and not used', String(count('unused'))],
    ['kept as they are', share(count('kept'))],
    ...[...reasons].sort((a, b) => b[1] - a[1]).map(([reason, n]) => [`&nbsp;&nbsp;${reason}`, String(n)]),
  ];
  const text = `Measured ${date.slice(0, 10)} with \`npm run bench:share-programs${sharing === 'image' ? '' : ' -- --share prelink'}\`: what ${packages} Debian packages bring, and what was there.\n\n\`\`\`\n${renderMachine(machine)}\`\`\`\n\n`;
  return `${text}${markdownTable(['every dynamic program', ''], rows)}${[...wrong, ...causes].length > 0 ? `\n${[...wrong, ...causes].join('')}` : ''}`;
}
