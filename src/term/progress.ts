/**
 * One line of progress on stderr, for work that a person waits for.
 *
 * It appears only on a terminal and only after a second, so short work stays silent. The time is also
 * looked at in `update`, because a tracer's synchronous calls keep timers from firing.
 */
import { printable, visibleWidth } from './text.ts';

export interface Progress {
  /** Says what is being done now; drawn at most ten times a second. */
  update(text: string): void;
  /** Takes the line away. Later calls do nothing. */
  stop(): void;
}

export interface ProgressStream {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  write(text: string): unknown;
}

const QUIET_MS = 1000;
const REDRAW_MS = 100;

function fitting(text: string, columns: number): string {
  if (visibleWidth(text) <= columns) return text;
  let kept = '';
  for (const character of text) {
    if (visibleWidth(kept + character) > columns - 1) break;
    kept += character;
  }
  return `${kept}…`;
}

/** Begins to show `label` and the last update, from one second after this call until `stop`. */
export function startProgress(
  label: string,
  stream: ProgressStream = process.stderr,
  now: () => number = () => performance.now(),
): Progress {
  if (stream.isTTY !== true) return { update() {}, stop() {} };
  const began = now();
  let last = '';
  let drawnAt = Number.NEGATIVE_INFINITY;
  let drawn = false;
  let stopped = false;
  const draw = (): void => {
    const at = now();
    if (stopped || at - began < QUIET_MS || at - drawnAt < REDRAW_MS) return;
    drawnAt = at;
    drawn = true;
    const text = printable(last === '' ? label : `${label}: ${last}`);
    stream.write(`\r\x1b[2K${fitting(text, (stream.columns ?? 80) - 1)}`);
  };
  const timer = setInterval(draw, 250);
  timer.unref();
  return {
    update(text) {
      last = text;
      draw();
    },
    stop() {
      clearInterval(timer);
      if (drawn && !stopped) stream.write('\r\x1b[2K');
      stopped = true;
    },
  };
}
