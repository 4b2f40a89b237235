/** What several commands share: options that mean the same everywhere, and JSON on stdout. */
import { type Command, InvalidArgumentError } from 'commander';

export interface StoreOption {
  /** Folder of the store; the person's own where it is not given. */
  readonly store?: string;
}

export interface JsonOption {
  readonly json?: boolean;
}

/** A folder that a person names; an empty name, of a variable that is not set, would be the current folder. */
export function parseFolder(text: string): string {
  if (text !== '') return text;
  throw new InvalidArgumentError('it must be the path of a folder.');
}

/** Adds `--store DIR`. */
export function addStoreOption(command: Command): Command {
  return command.option(
    '--store <dir>',
    'folder of profiles and images (default: $XDG_DATA_HOME/winnow)',
    parseFolder,
  );
}

/** Adds `--json`. */
export function addJsonOption(command: Command): Command {
  return command.option('--json', 'print JSON in place of text (docs/formats.md)');
}

/** Puts an example in front of the command's help. */
export function addExample(command: Command, ...lines: readonly string[]): Command {
  const example = lines.map((line) => `  $ ${line}\n`).join('');
  return command.addHelpText('before', `Example:\n${example}`);
}

/**
 * JSON of a value in which bigints are decimal strings. Undefined members are left out, as JSON has no
 * word for them.
 */
export function toJson(kind: string, version: number, value: unknown): string {
  const isRecord = typeof value === 'object' && value !== null && !Array.isArray(value);
  const members = isRecord ? value : { value };
  const replacer = (_key: string, member: unknown) => (typeof member === 'bigint' ? String(member) : member);
  return `${JSON.stringify({ winnow: kind, version, ...members }, replacer, 2)}\n`;
}

/**
 * Prints `{ "winnow": kind, "version": version, … }` on stdout. The members of an object follow; any
 * other value becomes the member `value`.
 */
export function writeJson(kind: string, version: number, value: unknown): void {
  process.stdout.write(toJson(kind, version, value));
}

export interface Operands {
  /** What stands before `--`. */
  readonly before: readonly string[];
  /** The command behind `--`; undefined where there is none. */
  readonly command: readonly string[] | undefined;
}

/**
 * Tells `winnow report NAME` from `winnow report -- CMD`: commander drops the dashes.
 *
 * @param operands all operands that commander found.
 * @param argv the arguments of this process; everything behind its first `--` is an operand.
 */
export function splitAtDashes(operands: readonly string[], argv: readonly string[] = process.argv): Operands {
  const dashes = argv.indexOf('--');
  if (dashes < 0) return { before: operands, command: undefined };
  const first = operands.length - (argv.length - dashes - 1);
  return { before: operands.slice(0, first), command: operands.slice(first) };
}
