/** What has to be undone, in reverse order, whatever happens: also after SIGINT and SIGTERM. */
import process from 'node:process';

export interface Cleanup {
  /** Fires on SIGINT and SIGTERM; the suite stops after the run that is going on. */
  readonly abort: AbortSignal;
  /** Notes how to undo what was just done. */
  defer(what: string, undo: () => void): void;
  /** Undoes everything, last first; returns what could not be undone, in words. */
  run(): string[];
}

export function openCleanup(): Cleanup {
  const control = new AbortController();
  const undos: { what: string; undo: () => void }[] = [];
  const onSignal = (signal: NodeJS.Signals): void => {
    process.stderr.write(`\n${signal}: stopping after this run, then cleaning up\n`);
    control.abort();
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  return {
    abort: control.signal,
    defer(what, undo) {
      undos.push({ what, undo });
    },
    run() {
      const failed: string[] = [];
      for (const { what, undo } of undos.splice(0).reverse()) {
        try {
          undo();
        } catch (error) {
          failed.push(`${what}: ${error instanceof Error ? error.message : String(error)}`);
        }
      }
      process.off('SIGINT', onSignal);
      process.off('SIGTERM', onSignal);
      return failed;
    },
  };
}
