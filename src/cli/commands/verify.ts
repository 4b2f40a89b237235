/** `winnow verify -- CMD`: the program and its image side by side. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { usageError } from '../../base/errors.ts';
import {
  addExample,
  addJsonOption,
  addStoreOption,
  type JsonOption,
  parseFolder,
  type StoreOption,
  writeJson,
} from '../options.ts';

interface VerifyCommandOptions extends StoreOption, JsonOption {
  readonly name?: string;
  readonly in?: string;
  readonly stdin?: string;
  readonly home?: string;
  readonly timeout?: string;
  readonly keep?: boolean;
}

export const VERIFY_JSON_VERSION = 1;

export function registerVerify(program: Command): void {
  const command = program
    .command('verify')
    .description('run a program plainly and from its image, and compare what each leaves behind')
    .argument('<command...>', 'the command and its arguments, after --')
    .option('--name <name>', 'name of the image (default: the image of this command)')
    .option('--in <dir>', 'fill the scratch folder in which it runs with a copy of this folder', parseFolder)
    .option('--stdin <file>', 'file for stdin (default: /dev/null)')
    .option('--home <kind>', '`scratch`: give it an empty HOME that is compared too')
    .option('--timeout <seconds>', 'kill a run after this time')
    .option('--keep', 'keep the scratch folders of all runs')
    .passThroughOptions()
    .action(run);
  addStoreOption(addJsonOption(command));
  addExample(
    command,
    'winnow verify --in . -- gcc -o hello hello.c',
    'winnow verify --name app -- ./app --version',
  );
  command.addHelpText(
    'after',
    '\nExit code: 0 when nothing differs, 1 when something does (docs/commands/verify.md).',
  );
}

async function run(words: string[], options: VerifyCommandOptions): Promise<void> {
  const { subjectsOf } = await import('../subjects.ts');
  const { verify } = await import('../../verify/verify.ts');
  const { readCaller } = await import('../../sys/caller.ts');
  const { abortable } = await import('../../sys/ending.ts');
  const { startProgress } = await import('../../term/progress.ts');
  if (options.home !== undefined && options.home !== 'scratch') {
    throw usageError(`--home knows \`scratch\` only, not ${options.home}`, 'leave it out to keep your HOME');
  }
  const caller = readCaller();
  const { plain, image } = await subjectsOf(words, options, caller.env.PATH);
  const progress = startProgress('verifying');
  try {
    const report = await abortable((abort) =>
      verify({
        plain,
        image,
        env: caller.env,
        scratchHome: options.home === 'scratch',
        keep: options.keep === true,
        abort,
        onRun: (who, number) => progress.update(`${who} run ${number}`),
        ...(caller.openFiles === 0 ? {} : { openFiles: caller.openFiles }),
        ...(options.in === undefined ? {} : { copyOf: resolve(options.in) }),
        ...(options.stdin === undefined ? {} : { stdin: resolve(options.stdin) }),
        ...(options.timeout === undefined ? {} : { timeoutMs: parseSeconds(options.timeout) }),
      }),
    );
    progress.stop();
    if (options.json === true) {
      writeJson('verify', VERIFY_JSON_VERSION, report);
    } else {
      const { renderVerify } = await import('../../verify/terminal.ts');
      process.stdout.write(renderVerify(report));
    }
    process.exitCode = report.verdict === 'same' ? 0 : 1;
  } finally {
    progress.stop();
  }
}

function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (seconds > 0 && Number.isFinite(seconds)) return seconds * 1000;
  throw usageError(`--timeout takes a number of seconds, not ${text}`, 'for example --timeout 10');
}
