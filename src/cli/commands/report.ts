/** `winnow report`: what a command used, file by file. */
import type { Command } from 'commander';
import { usageError } from '../../base/errors.ts';
import type { Profile } from '../../profile/model.ts';
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
  readonly functions?: boolean;
  readonly sharing?: boolean;
}

export function registerReport(program: Command): void {
  const command = program
    .command('report')
    .usage('[options] [NAME] [-- CMD...]')
    .description('show what a recorded command used, file by file; without NAME and CMD, the newest profile')
    .argument('[operands...]', 'a profile by NAME, or by its command behind --')
    .option('--processes', 'show each process of the tree too')
    .option('--lookups', 'show each path that was looked up too')
    .option('--functions', 'show code in place of files: functions used, pages that they take')
    .option(
      '--sharing',
      'show what sharing its modules costs, by each of the known systems; needs no recording',
    );
  addStoreOption(addJsonOption(command));
  addExample(
    command,
    'winnow report',
    'winnow report -- python3 app.py',
    'winnow report git-status --processes',
    'winnow report --sharing -- inkscape',
  );
  command.action(async (operands: string[], options: Options) => {
    const { openStore } = await import('../../profile/store.ts');
    const { selectProfile } = await import('../select-profile.ts');
    const { usageOf } = await import('../../report/usage.ts');
    const { fileState } = await import('../../report/usage-state.ts');
    checkTogether(options);
    const store = openStore(options);
    const chosen = splitAtDashes(operands);
    if (options.sharing === true) {
      const { reportSharing, sharedCommand } = await import('../report-sharing.ts');
      return await reportSharing(await sharedCommand(store, chosen), store, options);
    }
    const profile = selectProfile(store, chosen);
    if (options.functions === true) return await reportFunctions(profile, options.json === true);
    const usage = usageOf(profile, fileState);
    const { missesOf } = await import('../report-misses.ts');
    const { imagesDirs } = await import('../images-of.ts');
    const misses = missesOf(imagesDirs(store, options), profile.name);
    if (options.json === true) {
      const { USAGE_JSON_VERSION, usageJson } = await import('../../report/usage-json.ts');
      const json = usageJson(usage, options);
      writeJson('usage', USAGE_JSON_VERSION, misses === undefined ? json : { ...json, misses });
      return;
    }
    const { renderUsage } = await import('../../report/usage-text.ts');
    const { colorsFor } = await import('../../term/color.ts');
    const { renderImageMisses } = await import('../share-text.ts');
    process.stdout.write(renderUsage(usage, options, colorsFor(process.stdout)));
    process.stdout.write(renderImageMisses(profile.name, misses ?? []));
  });
}

function checkTogether({ processes, lookups, functions, sharing }: Options): void {
  const given = { processes, lookups, functions, sharing };
  const [first, ...others] = Object.entries(given).flatMap(([name, on]) =>
    on === true ? [`--${name}`] : [],
  );
  if (first === undefined || others.length === 0 || (functions !== true && sharing !== true)) return;
  const all = [first, ...others].join(' and ');
  throw usageError(`${all} ask for different reports`, 'give one of them: winnow report twice for both');
}

async function reportFunctions(profile: Profile, asJson: boolean): Promise<void> {
  const { buildSelect } = await import('../../select/build.ts');
  const { contextOf } = await import('../../select/plan.ts');
  const { modulesUsed } = await import('../../select/uses.ts');
  const { FUNCTIONS_JSON_VERSION, functionsReport } = await import('../../report/functions.ts');
  const { analysesDir } = await import('../analyses.ts');
  const { startProgress } = await import('../../term/progress.ts');
  const progress = startProgress('looking at modules');
  try {
    const select = await buildSelect(modulesUsed(profile), contextOf(profile, { cold: 'file' }), {
      cache: analysesDir(),
      onProgress: (done, all) => progress.update(`${done} of ${all}`),
    });
    progress.stop();
    const report = functionsReport(profile, select);
    if (asJson) return writeJson('functions', FUNCTIONS_JSON_VERSION, report);
    const { renderFunctions } = await import('../../report/functions-text.ts');
    process.stdout.write(renderFunctions(report));
  } finally {
    progress.stop();
  }
}
