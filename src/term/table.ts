/** A table in plain text: titles, then rows, two spaces between columns, no lines drawn. */
import { visibleWidth } from './text.ts';

export interface Column {
  readonly title: string;
  /** Left unless said otherwise; figures go right. */
  readonly align?: 'left' | 'right';
}

/**
 * The table as text that ends with a line end. A row may have fewer cells than there are columns, not
 * more. Cells must be one line each (`printable`); colour in them takes no width.
 */
export function renderTable(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const lines = [columns.map((column) => column.title), ...rows];
  const widths = columns.map(() => 0);
  for (const line of lines) {
    if (line.length > columns.length) {
      throw new RangeError(`a row of ${line.length} cells in a table of ${columns.length} columns`);
    }
    line.forEach((cell, index) => {
      widths[index] = Math.max(widths[index] ?? 0, visibleWidth(cell));
    });
  }
  return lines
    .map((line) => {
      const cells = columns.map((column, index) => {
        const cell = line[index] ?? '';
        const space = ' '.repeat((widths[index] ?? 0) - visibleWidth(cell));
        return column.align === 'right' ? space + cell : cell + space;
      });
      return `${cells.join('  ').trimEnd()}\n`;
    })
    .join('');
}
