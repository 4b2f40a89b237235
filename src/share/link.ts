/** From a program's path to what its dynamic loader makes of it: the door of the differential snapshot. */
import type { LinkedState, NotLinked } from './model.ts';

export interface LinkOptions {
  /** How often the loader is run, each time under other circumstances: 3 or more. */
  readonly runs?: number;
}

/** Whether a program was linked; else the result says why not. */
export const isLinked = (result: LinkedState | NotLinked): result is LinkedState => !('kind' in result);

/**
 * Runs the program's dynamic loader up to the first constructor, several times, and explains what differs.
 * No code of the program runs but its IFUNC resolvers. Blocks; 0.3 to 4 seconds.
 *
 * @param path of the program, links followed.
 * @throws WinnowError E_PROGRAM_NOT_FOUND, E_PROGRAM_NOT_EXECUTABLE, E_PROGRAM_FORMAT.
 */
export function linkProgram(path: string, options: LinkOptions = {}): LinkedState | NotLinked {
  void options;
  return { kind: 'kept', reason: 'not built yet', detail: path };
}
