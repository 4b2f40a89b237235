/** The Node that winnow is started on: whichever stands first on PATH. */
import { WinnowError } from '../base/errors.ts';

/** As in package.json. */
const OLDEST = { major: 20, minor: 19 };

/** @throws WinnowError E_NODE_OLD */
export function requireNode(version: string = process.versions.node, path: string = process.execPath): void {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major > OLDEST.major || (major === OLDEST.major && minor >= OLDEST.minor)) return;
  throw new WinnowError({
    code: 'E_NODE_OLD',
    kind: 'environment',
    what: `winnow needs Node ${OLDEST.major}.${OLDEST.minor} or newer, this is ${version}`,
    where: path,
    next: 'install a newer Node, or put its folder in front on PATH',
  });
}
