/** `winnow record --functions`: code is analysed before the program starts, then its entries are watched. */
import type { Command, Profile } from '../profile/model.ts';
import type { CodeObserver } from '../record/events.ts';
import { analyseAhead, likelyModules } from '../select/ahead.ts';
import { EntryFinder } from '../select/entries.ts';
import { Functions } from '../select/observe.ts';
import { analysesDir } from './analyses.ts';

export interface OpenFunctions {
  readonly observer: CodeObserver;
  /** To be called when the recording has ended. */
  close(): void;
}

export async function openFunctions(
  command: Command,
  env: Readonly<Record<string, string>>,
  profile: Profile | undefined,
  onProgress: (done: number, all: number) => void,
): Promise<OpenFunctions> {
  const cache = analysesDir();
  const finder = new EntryFinder(cache);
  const analyst = await analyseAhead(likelyModules(command, env, profile), finder, { cache, onProgress });
  return {
    observer: new Functions((path, fd) => finder.find(path, fd, analyst)),
    close: () => analyst?.close(),
  };
}
