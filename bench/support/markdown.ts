/** A Markdown table; the first column is text, the others are figures. */
export function markdownTable(titles: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |\n`;
  return (
    line(titles) + line(titles.map((_, index) => (index === 0 ? '---' : '---:'))) + rows.map(line).join('')
  );
}
