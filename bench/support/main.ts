/** What the suites' command lines have in common: options, help, and errors as a person should see them. */
import { type ParseArgsConfig, parseArgs } from 'node:util';
import { describeError, WinnowError } from '../../src/base/errors.ts';

/** The options that every suite has. */
export const COMMON_OPTIONS = {
  json: { type: 'string' },
  'no-install': { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

/** @throws WinnowError `E_USAGE` with the usage for an option that there is not. */
export function parseSuiteArgs<const T extends ParseArgsConfig>(
  config: T,
  usage: string,
): ReturnType<typeof parseArgs<T>> {
  try {
    return parseArgs(config);
  } catch (error) {
    throw badUsage(error instanceof Error ? error.message : String(error), usage);
  }
}

export const badUsage = (what: string, usage: string): WinnowError =>
  new WinnowError({ code: 'E_USAGE', kind: 'usage', what, next: `\n${usage}` });

/** The exit code of a suite: what it returns, or that of the error, which is told on stderr. */
export async function exitCodeOf(suite: () => Promise<number>): Promise<number> {
  try {
    return await suite();
  } catch (error) {
    if (!(error instanceof WinnowError)) throw error;
    process.stderr.write(`\n${describeError(error)}`);
    return error.exitCode;
  }
}

/** What a comma-separated list names of `all`; all of it where there is no list. @throws WinnowError `E_USAGE` */
export function choose<T extends { readonly name: string }>(
  flag: string,
  text: string | undefined,
  all: readonly T[],
  usage: string,
): readonly T[] {
  if (text === undefined) return all;
  return text.split(',').map((name) => {
    const found = all.find((one) => one.name === name);
    if (found === undefined) throw badUsage(`${flag}: there is no ${JSON.stringify(name)}`, usage);
    return found;
  });
}
