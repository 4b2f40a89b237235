/**
 * For a whole run of the tests: folders of its own in place of the user's ~/.cache and ~/.local/share. A test that names
 * no store, or records functions, would write there.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const OWN_FOLDERS = 'winnow-own-folders-';

export default function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), OWN_FOLDERS));
  // The processes that the tests run in are started later, with this environment.
  process.env.XDG_CACHE_HOME = join(folder, 'cache');
  process.env.XDG_DATA_HOME = join(folder, 'share');
  return () => rmSync(folder, { recursive: true, force: true });
}
