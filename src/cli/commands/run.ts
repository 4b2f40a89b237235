/** `winnow run -- CMD`: the command, prefetched. Node is gone before the program starts. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { usageError, WinnowError } from '../../base/errors.ts';
import { addExample, addStoreOption, type StoreOption } from '../options.ts';
import { ownFailure } from '../own-failure.ts';
import { addShowOption, SHOW_VARIABLE, type ShowOption, showMode } from '../show-option.ts';

interface Options extends ShowOption, StoreOption {
  readonly name?: string;
}

export function registerRun(program: Command): void {
  const command = program
    .command('run')
    .usage('[options] -- CMD...')
    .description('run a command from its image')
    .argument('[command...]', 'the command and its arguments, after --')
    .option('--name <name>', 'the image (default: the one built for the command)')
    .passThroughOptions()
    .action(run);
  addStoreOption(addShowOption(command));
  addExample(command, 'winnow run -- python3 app.py', 'winnow run --name git-status -- git status --short');
  command.addHelpText(
    'after',
    '\nThe exit code is the program’s; 125 to 127 where it could not be started (docs/errors.md).',
  );
}

async function run(words: string[], options: Options): Promise<void> {
  try {
    await replaceByLauncher(words, options);
  } catch (error) {
    throw ownFailure(error);
  }
}

async function replaceByLauncher(words: readonly string[], options: Options): Promise<void> {
  const { openStore } = await import('../../profile/store.ts');
  const { findImage, launcherOf, readImage } = await import('../../image/images.ts');
  const { readCaller } = await import('../../sys/caller.ts');
  const { ownArguments, replaceProcess } = await import('../../sys/exec.ts');
  const { imagesDirs } = await import('../images-of.ts');
  const caller = readCaller();
  const [typed] = words;
  if (typed === undefined) {
    throw usageError('no command to run', 'put it after two dashes: winnow run -- python3 app.py');
  }
  const store = openStore(options);
  const dirs = imagesDirs(store, options);
  const image =
    options.name === undefined
      ? findImage(dirs, await commandOf(typed, words, caller.env.PATH))
      : readImage(dirs, options.name);
  const path = launcherOf(image);
  const show = showMode(options);
  // A launcher from before there were modules would leave the variable where it is.
  const isUnderstood = show !== undefined && existsSync(join(image.path, 'modules.bin'));
  const variables = isUnderstood ? { [SHOW_VARIABLE]: show } : {};
  const errno = replaceProcess(path, ownArguments(words.length), caller, variables);
  throw new WinnowError({
    code: 'E_LAUNCHER',
    kind: 'environment',
    what: `the image's launcher cannot be started: ${errno}`,
    where: path,
    next:
      errno === 'EACCES'
        ? 'the store may be on a file system mounted noexec: choose another one (--store DIR)'
        : `build the image again: winnow build --name ${image.name}`,
    exitCode: 126,
  });
}

async function commandOf(typed: string, argv: readonly string[], path: string | undefined) {
  const { resolveProgram } = await import('../../record/resolve.ts');
  const cwd = process.cwd();
  return { program: resolveProgram(typed, cwd, path), argv, cwd };
}
