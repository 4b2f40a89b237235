/** What `winnow image show --json` says of the programs that start linked, or with prelinked libraries. */
import * as v from 'valibot';

const KEPT = v.object({
  kept: v.array(v.object({ path: v.string(), reason: v.string(), detail: v.optional(v.string()) })),
});
const MISSES = v.object({
  starts: v.number(),
  isFull: v.boolean(),
  causes: v.array(v.object({ cause: v.string(), path: v.optional(v.string()), starts: v.number() })),
});
const PROGRAMS = v.array(
  v.object({
    path: v.string(),
    refused: v.optional(v.string()),
    notShown: v.optional(v.string()),
    misses: v.optional(MISSES),
  }),
);
const SHOWN = v.union([
  v.object({ manifest: v.object({ share: KEPT }), programs: PROGRAMS }),
  v.object({
    manifest: v.object({ prelink: KEPT }),
    prelinked: v.object({ programs: PROGRAMS, misses: v.optional(MISSES) }),
  }),
]);

interface Reason {
  readonly path: string;
  readonly reason: string;
}

export interface LinkedStarts {
  readonly linked: readonly string[];
  /** Those that have an image and would start by their own loader all the same. */
  readonly plain: readonly Reason[];
  /** Those without an image. */
  readonly kept: readonly Reason[];
  /** Starts that were plain all the same since the image was built; undefined where they are not counted. */
  readonly missed: readonly MissedStarts[] | undefined;
}

export interface MissedStarts {
  readonly cause: string;
  /** The program, or what is another one in its place. */
  readonly path: string;
  readonly starts: number;
}

export function readStarts(json: string): LinkedStarts {
  const shown = v.parse(SHOWN, JSON.parse(json));
  const isPrelinked = 'prelinked' in shown;
  const { programs } = isPrelinked ? shown.prelinked : shown;
  const stayed = isPrelinked ? shown.manifest.prelink.kept : shown.manifest.share.kept;
  const plain = programs.flatMap(({ path, refused, notShown }) => {
    const reason = refused ?? notShown;
    return reason === undefined ? [] : [{ path, reason }];
  });
  const linked = programs.map(({ path }) => path).filter((path) => plain.every((one) => one.path !== path));
  const kept = stayed.map(({ path, reason }) => ({ path, reason }));
  const noted = isPrelinked ? [{ path: '', misses: shown.prelinked.misses }] : programs;
  return { linked, plain, kept, missed: missedStarts(noted) };
}

type Noted = Pick<v.InferOutput<typeof PROGRAMS>[number], 'path' | 'misses'>;

/** @throws Error where a file of them is full: there may have been others. */
function missedStarts(noted: readonly Noted[]): readonly MissedStarts[] | undefined {
  if (noted.some(({ misses }) => misses === undefined)) return undefined;
  return noted.flatMap(({ path: program, misses }) => {
    if (misses?.isFull === true) throw new Error(`${program}: more starts were plain than are noted`);
    return (misses?.causes ?? []).map(({ cause, path, starts }) => ({
      cause,
      path: path ?? program,
      starts,
    }));
  });
}
