/**
 * The JSON inside a profile file: its schema, and how runs become it and come back.
 *
 * Paths and identities repeat from run to run, so they stand once in tables (`paths`, `files`) and runs
 * refer to them by index. Extents are deltas (`toDeltas`), entries of functions the differences from one to
 * the next, bigints decimal strings.
 */
import * as v from 'valibot';
import { pagesIn, type Rva, rva } from '../base/brands.ts';
import { fromDeltas, toDeltas } from './extents.ts';
import type { Ended, EnteredCode, FileIdentity, Profile, Run, UsedFile, UsedProcess } from './model.ts';
import { LIGHT_RUNS_KEPT, RUNS_KEPT } from './model.ts';
import { isValidName } from './name.ts';
import { compareRuns, runKey } from './order.ts';

const natural = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const milliseconds = v.pipe(v.number(), v.finite(), v.minValue(0));
const noNul = (text: string): boolean => !text.includes('\0');
const text = v.pipe(v.string(), v.check(noNul, 'a NUL byte'));
const path = v.pipe(v.string(), v.startsWith('/'), v.check(noNul, 'a NUL byte'));
const bigintText = v.pipe(v.string(), v.regex(/^(?:0|-?[1-9][0-9]{0,19})$/));
// A check for each figure would cost more than reading the file: fromDeltas looks at them all anyway.
const numbers = v.custom<readonly number[]>(
  (value) => Array.isArray(value) && value.every((member) => typeof member === 'number'),
);

const identity = v.strictObject({
  size: natural,
  mtimeNs: bigintText,
  inode: bigintText,
  buildId: v.optional(v.pipe(v.string(), v.regex(/^(?:[0-9a-f]{2}){1,64}$/))),
  hash: v.optional(v.pipe(v.string(), v.regex(/^sha256(?:-ends)?:[0-9a-f]{64}$/))),
});

const ended = v.variant('kind', [
  v.strictObject({ kind: v.literal('exited'), code: v.pipe(natural, v.maxValue(255)) }),
  v.strictObject({ kind: v.literal('killed'), signal: v.pipe(natural, v.minValue(1), v.maxValue(64)) }),
  v.strictObject({ kind: v.literal('execed') }),
  v.strictObject({ kind: v.literal('left-running') }),
]);

const processMembers = {
  parent: v.optional(natural),
  // Any text: a process whose executable was deleted or lies in another mount namespace has no path.
  program: text,
  argvShape: v.array(text),
  ended,
  pages: v.array(v.strictObject({ file: natural, how: v.picklist(['mapped', 'read']), extents: numbers })),
};

const method = {
  pages: v.picklist(['exact', 'fault-around']),
  lookups: v.picklist(['seen', 'unseen']),
  kernel: v.string(),
};

/** The members of a run that every version of the format has. */
export const runMembers = {
  id: v.pipe(v.string(), v.regex(/^[0-9a-f]{32}$/)),
  startedAt: milliseconds,
  durationMs: milliseconds,
  command: v.strictObject({ program: path, argv: v.array(text), cwd: text }),
  method: v.strictObject(method),
  ended,
  files: v.array(natural),
  processes: v.array(v.strictObject(processMembers)),
  /** Index into `paths`, then 1 if it was found, else 0. */
  lookups: numbers,
  notes: v.array(v.strictObject({ code: v.string(), text: v.string() })),
};

/** Those of a run with functions. */
export const functionMembers = {
  method: v.strictObject({ ...method, functions: v.picklist(['seen', 'unseen']) }),
  /** By index into the run's own `files`. */
  entered: v.array(v.strictObject({ file: natural, entries: numbers })),
};

const run = v.strictObject({
  ...runMembers,
  ...functionMembers,
  processes: v.array(v.strictObject({ ...processMembers, libraryPath: v.nullable(text) })),
});

/** The members of a profile that every version of the format has. */
export const profileMembers = {
  name: v.pipe(v.string(), v.check(isValidName, 'not a name')),
  paths: v.array(text),
  files: v.array(v.strictObject({ path: natural, identity })),
};

export const wireSchema = v.strictObject({
  ...profileMembers,
  runs: v.pipe(v.array(run), v.maxLength(RUNS_KEPT + LIGHT_RUNS_KEPT)),
});

export type WireProfile = v.InferOutput<typeof wireSchema>;
type WireRun = v.InferOutput<typeof run>;

const toWireIdentity = (of: FileIdentity) => ({
  size: of.size,
  mtimeNs: String(of.mtimeNs),
  inode: String(of.inode),
  ...(of.buildId === undefined ? {} : { buildId: of.buildId }),
  ...(of.hash === undefined ? {} : { hash: of.hash }),
});

function toWireEnded(of: Ended): Ended {
  if (of.kind === 'exited') return { kind: of.kind, code: of.code };
  if (of.kind === 'killed') return { kind: of.kind, signal: of.signal };
  return { kind: of.kind };
}

/** A table that gives each new key the next index. */
class Table<T> {
  readonly rows: T[] = [];
  readonly #indices = new Map<string, number>();

  indexOf(key: string, row: () => T): number {
    const known = this.#indices.get(key);
    if (known !== undefined) return known;
    this.rows.push(row());
    this.#indices.set(key, this.rows.length - 1);
    return this.rows.length - 1;
  }
}

/** The profile as plain JSON values; equal profiles give equal values, members in one order. */
export function toWire(profile: Profile): WireProfile {
  const paths = new Table<string>();
  const files = new Table<WireProfile['files'][number]>();
  const pathIndex = (of: string): number => paths.indexOf(of, () => of);
  const fileIndex = (file: UsedFile): number => {
    const row = { path: pathIndex(file.path), identity: toWireIdentity(file.identity) };
    return files.indexOf(JSON.stringify(row), () => row);
  };
  const runs = profile.runs.map(
    (of): WireRun => ({
      id: of.id,
      startedAt: of.startedAt,
      durationMs: of.durationMs,
      command: { program: of.command.program, argv: [...of.command.argv], cwd: of.command.cwd },
      method: {
        pages: of.method.pages,
        lookups: of.method.lookups,
        functions: of.method.functions,
        kernel: of.method.kernel,
      },
      ended: toWireEnded(of.ended),
      files: of.files.map(fileIndex),
      processes: of.processes.map((one) => ({
        ...(one.parent === undefined ? {} : { parent: one.parent }),
        program: one.program,
        argvShape: [...one.argvShape],
        libraryPath: one.libraryPath ?? null,
        ended: toWireEnded(one.ended),
        pages: one.pages.map(({ file, how, extents }) => ({ file, how, extents: toDeltas(extents) })),
      })),
      lookups: of.lookups.flatMap((lookup) => [pathIndex(lookup.path), lookup.found ? 1 : 0]),
      entered: of.entered.map(({ file, entries }) => ({ file, entries: toDifferences(entries) })),
      notes: of.notes.map((note) => ({ code: note.code, text: note.text })),
    }),
  );
  return { name: profile.name, paths: paths.rows, files: files.rows, runs };
}

/** The first entry, then what each is beyond the one before it: small figures, as calls stay close. */
function toDifferences(entries: readonly Rva[]): number[] {
  let before = 0;
  return entries.map((entry) => {
    const difference = entry - before;
    before = entry;
    return difference;
  });
}

/** What JSON of the right shape can still get wrong: indices, order, extents. */
export class WireError extends Error {}

function at<T>(rows: readonly T[], index: number, what: string): T {
  const row = rows[index];
  if (row === undefined) throw new WireError(`${what} ${index} is not there`);
  return row;
}

function fromWireProcess(
  wire: WireRun['processes'][number],
  index: number,
  files: readonly UsedFile[],
): UsedProcess {
  if (wire.parent !== undefined && wire.parent >= index) {
    throw new WireError(`process ${index} comes from process ${wire.parent}, which is not before it`);
  }
  return {
    ...(wire.parent === undefined ? {} : { parent: wire.parent }),
    program: wire.program,
    argvShape: wire.argvShape,
    ...(wire.libraryPath === null ? {} : { libraryPath: wire.libraryPath }),
    ended: wire.ended,
    pages: wire.pages.map(({ file, how, extents }) => {
      const pages = pagesIn(at(files, file, 'file').identity.size);
      const read = fromDeltas(extents, pages);
      if (read === undefined) throw new WireError(`process ${index} has bad extents in file ${file}`);
      return { file, how, extents: read };
    }),
  };
}

function fromDifferences(differences: readonly number[], file: number): Rva[] {
  const entries: Rva[] = [];
  let at = 0;
  for (const difference of differences) {
    at += difference;
    if (!Number.isSafeInteger(at) || at < 0) throw new WireError(`a bad entry in file ${file}`);
    entries.push(rva(at));
  }
  if (new Set(entries).size !== entries.length) throw new WireError(`an entry of file ${file} stands twice`);
  return entries;
}

function fromWireEntered(wire: WireRun['entered'], files: readonly UsedFile[]): EnteredCode[] {
  let before = -1;
  return wire.map(({ file, entries }) => {
    at(files, file, 'file');
    if (file <= before) throw new WireError('the entered files are out of order');
    before = file;
    return { file, entries: fromDifferences(entries, file) };
  });
}

function fromWireRun(wire: WireRun, files: readonly UsedFile[], paths: readonly string[]): Run {
  const used = wire.files.map((index) => at(files, index, 'file'));
  const lookups = [];
  for (let index = 0; index < wire.lookups.length; index += 2) {
    const found = wire.lookups[index + 1];
    if (found !== 0 && found !== 1) throw new WireError('a look-up is neither found nor missing');
    lookups.push({ path: at(paths, wire.lookups[index] ?? -1, 'path'), found: found === 1 });
  }
  return {
    ...wire,
    files: used,
    processes: wire.processes.map((one, index) => fromWireProcess(one, index, used)),
    lookups,
    entered: fromWireEntered(wire.entered, used),
  };
}

/** The profile that `toWire` was given. @throws WireError where figures contradict each other. */
export function fromWire(wire: WireProfile): Profile {
  const files = wire.files.map(
    ({ path: index, identity: { mtimeNs, inode, size, buildId, hash } }): UsedFile => {
      const where = at(wire.paths, index, 'path');
      if (!where.startsWith('/')) throw new WireError('the path of a file is not absolute');
      return {
        path: where,
        identity: {
          size,
          mtimeNs: BigInt(mtimeNs),
          inode: BigInt(inode),
          ...(buildId === undefined ? {} : { buildId }),
          ...(hash === undefined ? {} : { hash }),
        },
      };
    },
  );
  const runs = wire.runs.map((of) => fromWireRun(of, files, wire.paths));
  runs.forEach((of, index) => {
    const before = runs[index - 1];
    if (before !== undefined && compareRuns(before, of) >= 0)
      throw new WireError('the runs are out of order');
  });
  if (new Set(runs.map(runKey)).size !== runs.length) throw new WireError('two runs have one id');
  return { name: wire.name, runs };
}
