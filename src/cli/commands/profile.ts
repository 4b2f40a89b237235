/** `winnow profile`: what has been recorded, and how to move it about. */
import type { Command } from 'commander';
import { formatPlural } from '../../term/format.ts';
import {
  addExample,
  addJsonOption,
  addStoreOption,
  type JsonOption,
  type StoreOption,
  writeJson,
} from '../options.ts';

interface ReadOptions extends JsonOption, StoreOption {}

/** The version of the JSON forms (docs/formats.md). */
const JSON_VERSION = 1;

const say = (text: string): void => void process.stderr.write(`${text}\n`);

async function open(options: StoreOption) {
  const { openStore } = await import('../../profile/store.ts');
  return openStore(options);
}

function addList(group: Command): void {
  const command = addStoreOption(addJsonOption(group.command('list').description('list all profiles')));
  addExample(command, 'winnow profile list');
  command.action(async (options: ReadOptions) => {
    const store = await open(options);
    const { profileLines, renderProfiles } = await import('../../report/usage-profiles.ts');
    const lines = profileLines(store.list());
    if (options.json === true) writeJson('profiles', JSON_VERSION, { profiles: lines });
    else if (lines.length === 0) say(`nothing has been recorded in ${store.dir}: winnow record -- CMD`);
    else process.stdout.write(renderProfiles(lines));
  });
}

function addShow(group: Command): void {
  const command = group.command('show').description('list the runs of a profile').argument('<name>');
  addExample(addStoreOption(addJsonOption(command)), 'winnow profile show git-status');
  command.action(async (name: string, options: ReadOptions) => {
    const profile = (await open(options)).read(name);
    const { renderRuns, runLines } = await import('../../report/usage-profiles.ts');
    if (options.json === true) writeJson('runs', JSON_VERSION, { name, runs: runLines(profile) });
    else process.stdout.write(renderRuns(profile));
  });
}

function addMerge(group: Command): void {
  const command = group
    .command('merge')
    .description('add the runs of profiles to another one, new or not; the newest 16 stay')
    .argument('<into>', 'the profile that gets the runs')
    .argument('<from...>', 'the profiles they come from; they stay as they are');
  addExample(addStoreOption(command), 'winnow profile merge git git-status git-log');
  command.action(async (into: string, from: string[], options: StoreOption) => {
    const merged = (await open(options)).merge(into, from);
    say(`${into} has ${formatPlural(merged.runs.length, 'run')} now`);
  });
}

function addExport(group: Command): void {
  const command = group
    .command('export')
    .description('write a profile to a file, for another machine or a bug report')
    .argument('<name>')
    .argument('[file]', 'where to; - is stdout (default: NAME.wnp)');
  addExample(addStoreOption(command), 'winnow profile export git-status /tmp/git-status.wnp');
  command.action(async (name: string, file: string | undefined, options: StoreOption) => {
    const store = await open(options);
    if (file === '-') {
      process.stdout.write(store.exportBytes(name));
      return;
    }
    const path = file ?? `${name}.wnp`;
    store.export(name, path);
    say(`wrote ${path}; it names the files and paths that the program used`);
  });
}

function addImport(group: Command): void {
  const command = group
    .command('import')
    .description('add the runs of an exported file to the store')
    .argument('<file>')
    .option('--name <name>', 'under this name in place of its own');
  addExample(addStoreOption(command), 'winnow profile import git-status.wnp');
  command.action(async (file: string, options: StoreOption & { readonly name?: string }) => {
    const merged = (await open(options)).import(file, options.name);
    say(`${merged.name} has ${formatPlural(merged.runs.length, 'run')} now`);
  });
}

function addDrop(group: Command): void {
  const command = group
    .command('drop')
    .description('remove profiles; images that were built from them stay')
    .argument('<names...>');
  addExample(addStoreOption(command), 'winnow profile drop git-status');
  command.action(async (names: string[], options: StoreOption) => {
    const store = await open(options);
    for (const name of names) {
      store.drop(name);
      say(`dropped ${name}`);
    }
  });
}

export function registerProfile(program: Command): void {
  const group = program.command('profile').description('list, show, merge, export, import and drop profiles');
  addExample(group, 'winnow profile list');
  for (const add of [addList, addShow, addMerge, addExport, addImport, addDrop]) add(group);
}
