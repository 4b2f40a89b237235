/** `winnow build --rootfs DIR --out DIR`: a root file system with rewritten modules. */
import { usageError } from '../base/errors.ts';
import type { Profile } from '../profile/model.ts';
import type { Cold } from '../select/model.ts';
import { printable } from '../term/text.ts';
import { writeJson } from './options.ts';

/** The version of the JSON form (docs/formats-image.md). */
const JSON_VERSION = 1;

export interface RootCopyRequest {
  readonly rootfs?: string;
  readonly out?: string;
  readonly root?: string;
  readonly only?: string;
  readonly cold: Cold;
  readonly cache: string;
  readonly json?: boolean;
}

/** @throws WinnowError E_USAGE, E_NO_FUNCTIONS, E_ROOT_COPY */
export async function buildRootCopy(profile: Profile, request: RootCopyRequest): Promise<void> {
  const { rootfs, out, cold, cache } = request;
  if (rootfs === undefined || out === undefined)
    throw usageError('--rootfs and --out belong together', 'give both: --rootfs DIR --out DIR');
  if (request.root !== undefined)
    throw usageError('--rootfs is no image, so --root means nothing', 'leave --root out');
  if (request.only !== undefined && request.only !== 'select')
    throw usageError('a copied root file system has nothing that could prefetch', 'leave --only out');
  const { copyRoot } = await import('../image/root-copy.ts');
  const { buildSelect } = await import('../select/build.ts');
  const { explainSelect } = await import('../select/explain.ts');
  const { contextOf } = await import('../select/plan.ts');
  const { modulesUsed } = await import('../select/uses.ts');
  const { startProgress } = await import('../term/progress.ts');
  const { renderKept, renderModules, renderTotals } = await import('../report/functions-text.ts');
  const progress = startProgress('rewriting modules');
  try {
    const uses = modulesUsed(profile);
    const copy = await copyRoot({ root: rootfs, out }, (folder, root) =>
      buildSelect(uses, contextOf(profile, { cold, root }), {
        folder,
        cache,
        onProgress: (done, all) => progress.update(`${done} of ${all}`),
      }),
    );
    progress.stop();
    const explanation = explainSelect(copy.select);
    if (request.json === true)
      return writeJson('root-copy', JSON_VERSION, { path: copy.path, cold, ...explanation });
    process.stdout.write(
      `copied to ${printable(copy.path)}\n\n${renderModules(explanation)}\n${renderKept(explanation)}${renderTotals(explanation)}`,
    );
  } finally {
    progress.stop();
  }
}
