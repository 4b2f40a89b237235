/** Colour for one stream: only where a terminal shows it and the person did not decline it. */
import picocolors from 'picocolors';

export type Colors = ReturnType<typeof picocolors.createColors>;

/** A stream as far as colour and progress care. */
export interface TerminalLike {
  readonly isTTY?: boolean | undefined;
}

/**
 * The colour functions for `stream`. They leave text as it is unless the stream is a terminal and
 * NO_COLOR is unset or empty (no-color.org).
 */
export function colorsFor(
  stream: TerminalLike,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Colors {
  const declined = (environment.NO_COLOR ?? '') !== '' || environment.TERM === 'dumb';
  return picocolors.createColors(stream.isTTY === true && !declined);
}
