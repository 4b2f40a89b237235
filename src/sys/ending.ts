/** The signals by which people and systems ask a process to end. */
import { hasSignal, readCaller } from './caller.ts';

const ENDING = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;
const NAMES = ['SIGHUP', 'SIGINT', 'SIGTERM'] as const;

/** @param act gets the signal's number; what winnow's caller ignores (nohup) is ignored. @returns ends the watch. */
export function onEnding(act: (signal: number) => void): () => void {
  const { ignoredSignals } = readCaller();
  const handle = (name: keyof typeof ENDING): void => {
    const signal = ENDING[name];
    // Node has forgotten what was ignored.
    if (!hasSignal(ignoredSignals, signal)) act(signal);
  };
  for (const name of NAMES) process.on(name, handle);
  return () => {
    for (const name of NAMES) process.off(name, handle);
  };
}

/** Work that ends in good order when it is asked to: it is told by the AbortSignal. */
export async function abortable<T>(work: (abort: AbortSignal) => Promise<T>): Promise<T> {
  const control = new AbortController();
  const unwatch = onEnding(() => control.abort());
  try {
    return await work(control.signal);
  } finally {
    unwatch();
  }
}
