/**
 * Plain runs and the image's run in, differences and noise out. Pure.
 *
 * A place is noise when the plain runs differ there. A place where they agree, also by all having
 * nothing, must be the same in the image's run.
 */
import { posix } from 'node:path';
import type { ExitStatus } from '../sys/spawn.ts';
import type { Aspect, Difference, Place } from './model.ts';
import { compareStreams } from './streams.ts';
import type { Tree } from './tree.ts';

/** What one run left behind. */
export interface Observation {
  readonly status: ExitStatus;
  readonly timedOut: boolean;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  readonly tree: Tree;
}

export interface Findings {
  readonly differences: readonly Difference[];
  readonly notDeterministic: readonly Place[];
}

/** Compares; `plain` holds at least one run, and noise needs two to be seen. */
export function compareRuns(plain: readonly Observation[], image: Observation): Findings {
  const parts = [
    comparePlace({ kind: 'end' }, plain.map(endOf), endOf(image)),
    compareStreams(
      'stdout',
      plain.map((run) => run.stdout),
      image.stdout,
    ),
    compareStreams(
      'stderr',
      plain.map((run) => run.stderr),
      image.stderr,
    ),
    compareTrees(
      plain.map((run) => run.tree),
      image.tree,
    ),
  ];
  return join(parts);
}

/** How a run ended, in words. */
export function endOf(run: Pick<Observation, 'status' | 'timedOut'>): string {
  if (run.timedOut) return 'still running at the time-out';
  return run.status.kind === 'exited'
    ? `exit code ${run.status.code}`
    : `killed by signal ${run.status.signal}`;
}

const NOTHING: Findings = { differences: [], notDeterministic: [] };

function join(parts: readonly Findings[]): Findings {
  return {
    differences: parts.flatMap((part) => part.differences),
    notDeterministic: parts.flatMap((part) => part.notDeterministic),
  };
}

function comparePlace(place: Place, plain: readonly string[], image: string): Findings {
  const first = plain[0] ?? '';
  if (plain.some((other) => other !== first)) return { differences: [], notDeterministic: [place] };
  if (image === first) return NOTHING;
  return { differences: [{ place, plain: first, image }], notDeterministic: [] };
}

function compareTrees(plain: readonly Tree[], image: Tree): Findings {
  const paths = new Set([...plain, image].flatMap((tree) => [...tree.keys()]));
  const parts: Findings[] = [];
  const folders = changingFolders(plain);
  for (const path of [...paths].sort()) {
    const holders = plain.filter((tree) => tree.has(path)).length;
    // What lies in a folder whose own name changes goes with that name.
    if (holders < plain.length && belongsToChanging(path, folders)) continue;
    parts.push(compareEntry(path, plain, image));
  }
  for (const folder of folders) parts.push(compareChangingNames(folder, plain, image));
  return join(parts);
}

/** Folders that hold names which not every plain run has: temporary files with random names. */
function changingFolders(plain: readonly Tree[]): Set<string> {
  const folders = new Set<string>();
  for (const tree of plain) {
    for (const path of tree.keys()) {
      if (!plain.every((other) => other.has(path))) folders.add(posix.dirname(path));
    }
  }
  return folders;
}

function belongsToChanging(path: string, folders: ReadonlySet<string>): boolean {
  for (let folder = posix.dirname(path); ; folder = posix.dirname(folder)) {
    if (folders.has(folder)) return true;
    if (folder === '.') return false;
  }
}

/** Of names that change only the number can be compared. */
function compareChangingNames(folder: string, plain: readonly Tree[], image: Tree): Findings {
  const changing = (tree: Tree): string => {
    const names = [...tree.keys()].filter(
      (path) => path !== '.' && posix.dirname(path) === folder && !plain.every((other) => other.has(path)),
    );
    return `${names.length} changing names`;
  };
  const found = comparePlace({ kind: 'names', folder }, plain.map(changing), changing(image));
  return { ...found, notDeterministic: [{ kind: 'names', folder }] };
}

function compareEntry(path: string, plain: readonly Tree[], image: Tree): Findings {
  const presence = (tree: Tree): string => (tree.has(path) ? 'present' : 'missing');
  const place = (aspect: Aspect): Place => ({ kind: 'file', path, aspect });
  const here = comparePlace(place('presence'), plain.map(presence), presence(image));
  if (here !== NOTHING || !image.has(path)) return here;
  const aspects = new Set([...plain, image].flatMap((tree) => [...(tree.get(path)?.keys() ?? [])]));
  // A symbolic link's mode is always 777 and a folder's size says nothing: readTree leaves them out or equal.
  const parts = [...aspects].map((aspect) => {
    const value = (tree: Tree): string => tree.get(path)?.get(aspect) ?? 'none';
    return comparePlace(place(aspect), plain.map(value), value(image));
  });
  return withoutEcho(join(parts));
}

/** Another type or size changes the content too: once is enough. */
function withoutEcho(found: Findings): Findings {
  const aspects = new Set(
    found.differences.map((d) => (d.place.kind === 'file' ? d.place.aspect : undefined)),
  );
  if (aspects.has('type')) {
    return {
      ...found,
      differences: found.differences.filter((d) => d.place.kind === 'file' && d.place.aspect === 'type'),
    };
  }
  return found;
}
