/** `winnow doctor`: what this machine offers, and what follows for winnow. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import {
  addExample,
  addJsonOption,
  addStoreOption,
  type JsonOption,
  type StoreOption,
  writeJson,
} from '../options.ts';

/** The version of the JSON form (docs/commands/doctor.md). */
const JSON_VERSION = 1;

interface Options extends JsonOption, StoreOption {}

export function registerDoctor(program: Command): void {
  const command = program
    .command('doctor')
    .description('say what this machine offers: what can be recorded, run and measured here');
  addStoreOption(addJsonOption(command));
  addExample(command, 'winnow doctor', 'winnow doctor --json');
  command.addHelpText('after', '\nExit code: 0, also where something is missing; the output says what.');
  command.action(async (options: Options) => {
    const { diagnose } = await import('../../report/doctor.ts');
    const { defaultStore } = await import('../../profile/store.ts');
    const { mayDropCaches } = await import('../../bench/cold.ts');
    const checks = await diagnose({
      store: resolve(options.store ?? defaultStore()),
      path: process.env.PATH,
      mayDropCaches: mayDropCaches(),
      describeStorage: await storageWords(),
    });
    if (options.json === true) {
      writeJson('doctor', JSON_VERSION, { checks });
      return;
    }
    const { renderDoctor } = await import('../../report/doctor-text.ts');
    const { colorsFor } = await import('../../term/color.ts');
    process.stdout.write(renderDoctor(checks, colorsFor(process.stdout)));
  });
}

async function storageWords(): Promise<(path: string) => string> {
  const { devicesOf } = await import('../../bench/machine.ts');
  return (path) => {
    const [device] = devicesOf([path]);
    if (device === undefined) return 'unknown';
    const readAhead = device.readAheadKib === undefined ? '' : `, read-ahead ${device.readAheadKib} KiB`;
    const turns = device.rotational === true ? ', says that it turns' : '';
    return `${device.fileSystem} on ${device.name}${readAhead}${turns}`;
  };
}
