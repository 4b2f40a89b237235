/** What `winnow image show --json` says of the programs that start linked, or with prelinked libraries. */
import * as v from 'valibot';

const KEPT = v.object({
  kept: v.array(v.object({ path: v.string(), reason: v.string(), detail: v.optional(v.string()) })),
});
const PROGRAMS = v.array(
  v.object({ path: v.string(), refused: v.optional(v.string()), notShown: v.optional(v.string()) }),
);
const SHOWN = v.union([
  v.object({ manifest: v.object({ share: KEPT }), programs: PROGRAMS }),
  v.object({ manifest: v.object({ prelink: KEPT }), prelinked: v.object({ programs: PROGRAMS }) }),
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
  return { linked, plain, kept: stayed.map(({ path, reason }) => ({ path, reason })) };
}
