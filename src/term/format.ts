/** Figures as people read them: three digits that mean something, the unit always there. */

const grouped = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });

/** Three significant digits, never in scientific notation: 1.23, 12.3, 123, 1,234. */
function threeDigits(value: number): string {
  const size = Math.abs(value);
  if (size >= 99.95) return grouped.format(value);
  return value.toFixed(size >= 9.995 ? 1 : 2);
}

/** Bytes in powers of 1024: `512 B`, `1.50 KiB`, `23.4 MiB`. */
export function formatBytes(bytes: number): string {
  if (Math.abs(bytes) < 1024) return `${bytes} B`;
  const units = ['KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes / 1024;
  let unit = 0;
  // 1023.95 and more would be printed as 1,024 of the smaller unit.
  while (Math.abs(value) >= 1023.5 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${threeDigits(value)} ${units[unit]}`;
}

/** A whole number with thousands apart: `33,243`. */
export function formatCount(count: number): string {
  return grouped.format(count);
}

/** `1 page`, `2 pages`: `plural` where adding an s is wrong. */
export function formatPlural(count: number, singular: string, plural = `${singular}s`): string {
  return `${formatCount(count)} ${count === 1 ? singular : plural}`;
}

/** Milliseconds; from ten seconds on in seconds: `0.42 ms`, `18.0 ms`, `875 ms`, `12.3 s`. */
export function formatMs(milliseconds: number): string {
  if (Math.abs(milliseconds) < 10_000) return `${threeDigits(milliseconds)} ms`;
  return `${threeDigits(milliseconds / 1000)} s`;
}

/** How many times: `1.58x`, `12.3x`. */
export function formatRatio(ratio: number): string {
  return `${threeDigits(ratio)}x`;
}

/** A part of a whole: `42 %`, `0.4 %`; 100 % only where nothing is missing, else `>99 %`. */
export function formatShare(part: number, whole: number): string {
  const percent = whole === 0 ? 0 : (part / whole) * 100;
  if (percent >= 99.5 && part < whole) return '>99 %';
  if (percent > 0 && percent < 0.05) return '<0.1 %';
  return `${percent > 0 && percent < 9.95 ? percent.toFixed(1) : percent.toFixed(0)} %`;
}
