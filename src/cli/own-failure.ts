/** Failures of winnow itself, told apart from those of the program that it runs. */
import { errnoOf, WinnowError } from '../base/errors.ts';

/** As env(1) and timeout(1) do it. */
const OWN_FAILURE = 125;

/** An error that a person can do something about; every other one comes back as it is. */
export function explained(error: unknown): unknown {
  // Whoever asks for the current folder, by path.resolve too, gets this from Node where it was removed.
  const isFolderGone =
    errnoOf(error) === 'ENOENT' && error instanceof Error && error.message.endsWith('uv_cwd');
  if (!isFolderGone) return error;
  return new WinnowError({
    code: 'E_FOLDER_GONE',
    kind: 'environment',
    what: 'the current folder has been removed, and its path is needed',
    next: 'change to a folder that is there, and start again',
    cause: error,
  });
}

/** The same with an exit code that keeps clear of those of the program that `record` and `run` stand for. */
export function ownFailure(error: unknown): unknown {
  const known = explained(error);
  if (!(known instanceof WinnowError) || known.exitCode >= OWN_FAILURE || known.kind === 'usage')
    return known;
  const { code, kind, what, where, next } = known;
  const at = where === undefined ? {} : { where };
  return new WinnowError({ code, kind, what, ...at, next, exitCode: OWN_FAILURE, cause: known });
}
