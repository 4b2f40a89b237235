/** A process that judges one library after the other: paths come in as messages, results go out. */
import { join } from 'node:path';
import { WinnowError } from '../../src/base/errors.ts';
import { type JudgedLibrary, judgeLibrary, notJudged } from './all-cloned-judge.ts';

const [folder = '', loader = ''] = process.argv.slice(2);

process.on('message', (path: string) => {
  process.send?.(judge(path));
});
process.on('disconnect', () => process.exit());

function judge(path: string): JudgedLibrary {
  try {
    return judgeLibrary(path, join(folder, String(process.pid)), loader);
  } catch (error) {
    // A file that cannot be read is a result; anything else is a fault of winnow's, and as much of one.
    if (error instanceof WinnowError) return notJudged(path, `winnow: ${error.code} ${error.message}`);
    return notJudged(path, `winnow: ${error instanceof Error ? error.stack : String(error)}`);
  }
}
