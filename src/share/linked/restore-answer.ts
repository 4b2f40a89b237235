/** What `restore`, run by itself, says of this machine and of an image: the same checks as in front of a program. */
import { spawnSync } from 'node:child_process';
import { WinnowError } from '../../base/errors.ts';
import { runtimeFile } from '../../sys/runtime.ts';
import { LINKED_ANSWER, REFUSALS } from './linked-layout.ts';
import type { ProcessorTraits } from './linked-model.ts';
import { decodeProcessor } from './linked-processor.ts';

export interface Answer {
  /** `good`, or what restore found first. */
  readonly refused: (typeof REFUSALS)[number];
  /** Of the file, watch or map that it is about. */
  readonly index: number;
  readonly processor: ProcessorTraits;
}

/**
 * @param restore its path.
 * @param linked NAME.linked; without it the answer is about this machine alone.
 * @param libraryPath LD_LIBRARY_PATH of the start; undefined: not set.
 * @throws WinnowError E_RUNTIME_MISSING where it cannot be run.
 */
export function askRestore(restore: string, linked?: string, libraryPath?: string): Answer {
  // Nothing else in the environment: variables of this shell say nothing about later starts.
  const env = libraryPath === undefined ? {} : { LD_LIBRARY_PATH: libraryPath };
  const words = linked === undefined ? [] : [linked];
  const { stdout, error } = spawnSync(restore, words, { env, stdio: ['ignore', 'pipe', 'ignore'] });
  const answer = error === undefined && stdout.length === LINKED_ANSWER.size ? decode(stdout) : undefined;
  if (answer !== undefined) return answer;
  throw new WinnowError({
    code: 'E_RUNTIME_MISSING',
    kind: 'environment',
    what: 'the launcher of linked images gives no answer',
    where: restore,
    next: 'run `npm run build`, or install winnow again',
    cause: error,
  });
}

/** What the loader and resolvers choose by on this machine. @throws WinnowError E_RUNTIME_MISSING */
export const readProcessor = (): ProcessorTraits => askRestore(runtimeFile('restore')).processor;

function decode(bytes: Buffer): Answer | undefined {
  const refused = REFUSALS[bytes.readUInt32LE(LINKED_ANSWER.refused)];
  const processor = decodeProcessor(bytes.subarray(LINKED_ANSWER.processor));
  if (refused === undefined || processor === undefined) return undefined;
  return { refused, index: bytes.readUInt32LE(LINKED_ANSWER.index), processor };
}
