/** What `winnow image show --json` says of the programs that start linked. */
import * as v from 'valibot';

const SHOWN = v.object({
  manifest: v.object({
    share: v.object({
      kept: v.array(v.object({ path: v.string(), reason: v.string(), detail: v.optional(v.string()) })),
    }),
  }),
  programs: v.array(
    v.object({ path: v.string(), refused: v.optional(v.string()), notShown: v.optional(v.string()) }),
  ),
});

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
  const { manifest, programs } = v.parse(SHOWN, JSON.parse(json));
  const plain = programs.flatMap(({ path, refused, notShown }) => {
    const reason = refused ?? notShown;
    return reason === undefined ? [] : [{ path, reason }];
  });
  const linked = programs.map(({ path }) => path).filter((path) => plain.every((one) => one.path !== path));
  return { linked, plain, kept: manifest.share.kept.map(({ path, reason }) => ({ path, reason })) };
}
