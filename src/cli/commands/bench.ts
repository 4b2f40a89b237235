/** `winnow bench -- CMD`: plain and image measured in turn, warm and cold. */
import { type Command, InvalidArgumentError } from 'commander';
import { usageError, WinnowError } from '../../base/errors.ts';
import {
  addExample,
  addJsonOption,
  addStoreOption,
  type JsonOption,
  type StoreOption,
  writeJson,
} from '../options.ts';

interface BenchCommandOptions extends StoreOption, JsonOption {
  readonly name?: string;
  readonly runs?: number;
  readonly warmOnly?: boolean;
  readonly coldOnly?: boolean;
  readonly peer?: string;
}

export const BENCH_JSON_VERSION = 1;
const STANDARD_RUNS = 10;

export function registerBench(program: Command): void {
  const command = program
    .command('bench')
    .description('measure a program plainly and from its image, in turn, warm and cold')
    .argument('<command...>', 'the command and its arguments, after --')
    .option('--name <name>', 'name of the image (default: the image of this command)')
    .option('--runs <n>', `runs of each mode (default: ${STANDARD_RUNS})`, parseRuns)
    .option('--warm-only', 'only with everything in memory')
    .option('--cold-only', 'only with caches emptied before each run')
    .option('--peer <tool>', '`vmtouch`: measure touching every mapped file whole before the program too')
    .passThroughOptions()
    .action(run);
  addStoreOption(addJsonOption(command));
  addExample(command, 'sudo winnow bench -- git status', 'winnow bench --warm-only --runs 50 -- node -e 0');
  command.addHelpText(
    'after',
    '\nOutput of the program goes to /dev/null. As root, cold runs drop all caches of the machine.',
  );
}

function parseRuns(text: string): number {
  const runs = Number(text);
  if (Number.isSafeInteger(runs) && runs > 0) return runs;
  throw new InvalidArgumentError('it must be a whole number from 1 on.');
}

async function run(words: string[], options: BenchCommandOptions): Promise<void> {
  const { subjectsOf } = await import('../subjects.ts');
  const { bench } = await import('../../bench/bench.ts');
  const { readCaller } = await import('../../sys/caller.ts');
  const { abortable } = await import('../../sys/ending.ts');
  const { startProgress } = await import('../../term/progress.ts');
  const { peer } = options;
  if (peer !== undefined && peer !== 'vmtouch') {
    throw usageError(`--peer knows \`vmtouch\` only, not ${peer}`, 'leave it out, or use --peer vmtouch');
  }
  if (options.warmOnly === true && options.coldOnly === true) {
    throw usageError('--warm-only and --cold-only leave nothing to measure', 'leave one of them out');
  }
  const caller = readCaller();
  const subjects = await subjectsOf(words, options, caller.env.PATH);
  const files = await profileFiles(subjects.profile, options, peer !== undefined);
  const progress = startProgress('measuring');
  try {
    const report = await abortable((abort) =>
      bench({
        plain: subjects.plain,
        image: subjects.image,
        files,
        env: caller.env,
        runs: options.runs ?? STANDARD_RUNS,
        runsGiven: options.runs !== undefined,
        temperatures:
          options.warmOnly === true ? ['warm'] : options.coldOnly === true ? ['cold'] : ['warm', 'cold'],
        peer,
        abort,
        onProgress: progress.update,
        ...(caller.openFiles === 0 ? {} : { openFiles: caller.openFiles }),
      }),
    );
    progress.stop();
    for (const warning of report.warnings) process.stderr.write(`warning: ${warning.text}\n`);
    if (options.json === true) {
      writeJson('bench', BENCH_JSON_VERSION, report);
    } else {
      const { renderBench } = await import('../../bench/terminal.ts');
      process.stdout.write(renderBench(report));
    }
  } finally {
    progress.stop();
  }
}

/** The working set of the image's profile; nothing where that was dropped and is not needed. */
async function profileFiles(name: string, options: StoreOption, needed: boolean) {
  const { openStore } = await import('../../profile/store.ts');
  const { workingSet } = await import('../../profile/stats.ts');
  const store = openStore(options);
  try {
    return workingSet(store.read(name)).files.map((file) => ({
      ...file,
      mapped: file.extents.some((extent) => extent.how === 'mapped'),
    }));
  } catch (error) {
    if (needed || !(error instanceof WinnowError) || error.code !== 'E_NO_PROFILE') throw error;
    return [];
  }
}
