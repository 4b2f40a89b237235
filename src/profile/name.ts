/** Names of profiles: from the command, safe as file names, typed by people. */
import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { argvShape } from './argv-shape.ts';
import { badName } from './errors.ts';
import type { Command } from './model.ts';

const MAX_DEFAULT = 40;
const NAME = /^[A-Za-z0-9_][A-Za-z0-9._+-]{0,79}$/;

export const isValidName = (name: string): boolean => NAME.test(name);

/** @throws WinnowError E_BAD_NAME */
export function checkName(name: string): string {
  if (!isValidName(name)) throw badName(name);
  return name;
}

/** Two commands with the same key share a profile: same program, same shape of arguments. */
export function commandKey(command: Command): string {
  return JSON.stringify([command.program, ...argvShape(command.argv).slice(1)]);
}

const slug = (text: string): string => text.replace(/[^A-Za-z0-9._+]+/g, '-').replace(/^[-.+]+|[-.]+$/g, '');

/** `git-status`, `python3-app.py`, `node-e-0`: at most 40 characters; `program` where nothing is left. */
export function defaultName(command: Command): string {
  const words = [command.program, ...argvShape(command.argv).slice(1)].map((word) => slug(basename(word)));
  const name = words.filter((word) => word !== '').join('-');
  return slug(name.slice(0, MAX_DEFAULT)) || 'program';
}

/** The name for a command whose default name another command has: `NAME-xxxxxx`. */
export function distinctName(command: Command): string {
  const digest = createHash('sha256').update(commandKey(command)).digest('hex');
  return `${defaultName(command)}-${digest.slice(0, 6)}`;
}

/** How many single-character edits lead from `a` to `b`. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

/** At most three of `names` that someone who typed `name` may have meant, nearest first. */
export function similarNames(name: string, names: readonly string[]): string[] {
  const wanted = name.slice(0, 80).toLowerCase();
  return names
    .map((known) => {
      const lower = known.toLowerCase();
      const contains = wanted.length > 1 && (lower.includes(wanted) || wanted.includes(lower));
      return { known, distance: contains ? 1 : editDistance(wanted, lower) };
    })
    .filter(({ known, distance }) => distance <= Math.max(2, Math.floor(known.length / 3)))
    .sort((a, b) => a.distance - b.distance || (a.known < b.known ? -1 : 1))
    .slice(0, 3)
    .map(({ known }) => known);
}
