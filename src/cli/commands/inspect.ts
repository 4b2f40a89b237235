/** `winnow inspect ELF`: what winnow's own reader sees in a file. */
import type { Command } from 'commander';
import { addExample, addJsonOption, type JsonOption, writeJson } from '../options.ts';

interface Options extends JsonOption {
  readonly symbols?: boolean;
  readonly relocations?: boolean;
}

/** The version of the JSON form (docs/formats.md). */
const JSON_VERSION = 1;

export function registerInspect(program: Command): void {
  const command = program
    .command('inspect')
    .description('show what is in an ELF file: segments, sections, libraries, relocations')
    .argument('<elf>', 'a program, a shared library or an object file')
    .option('--symbols', 'list the dynamic symbols too')
    .option('--relocations', 'list every relocation too');
  addJsonOption(command);
  addExample(command, 'winnow inspect /usr/bin/git', 'winnow inspect --json /usr/bin/git');
  command.action(async (path: string, options: Options) => {
    const { readElfFile } = await import('../../elf/read.ts');
    const { inspect } = await import('../../report/inspect.ts');
    const inspection = inspect(readElfFile(path), options);
    if (options.json === true) {
      writeJson('inspect', JSON_VERSION, inspection);
      return;
    }
    const { renderInspection } = await import('../../report/inspect-text.ts');
    process.stdout.write(renderInspection(inspection));
  });
}
