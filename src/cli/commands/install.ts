/** `winnow install NAME`: an image as an ordinary command; from then on no Node is needed. */
import type { Command } from 'commander';
import { addExample, addStoreOption, parseFolder, type StoreOption } from '../options.ts';

interface Options extends StoreOption {
  readonly dir?: string;
  readonly as?: string;
  readonly withArguments?: boolean;
  readonly force?: boolean;
}

const say = (text: string): void => void process.stderr.write(`${text}\n`);

export function registerInstall(program: Command): void {
  const command = program
    .command('install')
    .description('put an image on PATH as an ordinary command, which needs no Node')
    .argument('<name>', 'the image')
    .option('--dir <dir>', 'folder for the command (default: ~/.local/bin)', parseFolder)
    .option('--as <name>', 'name of the command (default: the program’s; with arguments, the image’s)')
    .option('--with-arguments', 'start the program with the recorded arguments, yours behind them')
    .option('--force', 'replace a file that is not a link to an image')
    .action(install);
  addStoreOption(command);
  addExample(command, 'winnow install git-status', 'winnow install python3-app.py --with-arguments --as app');
}

async function install(name: string, options: Options): Promise<void> {
  const { join } = await import('node:path');
  const { openStore } = await import('../../profile/store.ts');
  const { readImage, requireParts } = await import('../../image/images.ts');
  const { defaultCommandName, installImage, onPath } = await import('../../image/install.ts');
  const { homeFolder } = await import('../../sys/home.ts');
  const { imagesDirs } = await import('../images-of.ts');
  const store = openStore(options);
  const image = readImage(imagesDirs(store, options), name);
  requireParts(image);
  const withArguments = options.withArguments === true;
  const as = options.as ?? defaultCommandName(image, withArguments);
  const dir = options.dir ?? join(homeFolder(), '.local', 'bin');
  const { path, target } = installImage(image, { dir, as, withArguments, force: options.force === true });
  say(`installed ${path} -> ${target}`);
  const { found, before } = onPath(dir, as, process.env.PATH ?? '');
  if (!found) say(`${dir} is not on PATH: add it, or start the command as ${path}`);
  else if (before !== undefined)
    say(`${before} comes first on PATH: move ${dir} before its folder, or use --as`);
}
