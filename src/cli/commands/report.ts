/** `winnow report`: what a command used, file by file. */
import type { Command } from 'commander';
import {
  addExample,
  addJsonOption,
  addStoreOption,
  type JsonOption,
  type StoreOption,
  splitAtDashes,
  writeJson,
} from '../options.ts';

interface Options extends JsonOption, StoreOption {
  readonly processes?: boolean;
  readonly lookups?: boolean;
}

export function registerReport(program: Command): void {
  const command = program
    .command('report')
    .usage('[options] [NAME] [-- CMD...]')
    .description('show what a recorded command used, file by file; without NAME and CMD, the newest profile')
    .argument('[operands...]', 'a profile by NAME, or by its command behind --')
    .option('--processes', 'show each process of the tree too')
    .option('--lookups', 'show each path that was looked up too');
  addStoreOption(addJsonOption(command));
  addExample(
    command,
    'winnow report',
    'winnow report -- python3 app.py',
    'winnow report git-status --processes',
  );
  command.action(async (operands: string[], options: Options) => {
    const { openStore } = await import('../../profile/store.ts');
    const { selectProfile } = await import('../select-profile.ts');
    const { usageOf } = await import('../../report/usage.ts');
    const { fileState } = await import('../../report/usage-state.ts');
    const profile = selectProfile(openStore(options), splitAtDashes(operands));
    const usage = usageOf(profile, fileState);
    if (options.json === true) {
      const { USAGE_JSON_VERSION, usageJson } = await import('../../report/usage-json.ts');
      writeJson('usage', USAGE_JSON_VERSION, usageJson(usage, options));
      return;
    }
    const { renderUsage } = await import('../../report/usage-text.ts');
    const { colorsFor } = await import('../../term/color.ts');
    process.stdout.write(renderUsage(usage, options, colorsFor(process.stdout)));
  });
}
