/** `winnow record -- CMD`: runs a command as ever and adds what it used to its profile. */
import { readFileSync, writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import { setFlagsFromString } from 'node:v8';
import { type Command as CommandLine, Option } from 'commander';
import { errnoOf, usageError, type WinnowError } from '../../base/errors.ts';
import { nextIsTraced, nextRecording } from '../../profile/learn.ts';
import type { Command, Profile } from '../../profile/model.ts';
import { addExample, addStoreOption, type StoreOption } from '../options.ts';
import { ownFailure } from '../own-failure.ts';
import { outlook, summary } from '../record-text.ts';

interface RecordOptions extends StoreOption {
  readonly name?: string;
  readonly for?: string;
  readonly pid?: string;
  readonly filter: boolean;
  readonly thorough?: boolean;
  readonly quick?: boolean;
  readonly traced?: boolean;
  readonly functions?: boolean;
  readonly quiet?: boolean;
  readonly fromMisses?: boolean;
  readonly faultAround?: boolean;
  readonly json?: string;
}

export function registerRecord(program: CommandLine): void {
  const command = program
    .command('record')
    .description('run a command as ever and add what it used to its profile')
    .argument('[command...]', 'the command and its arguments, after --')
    .option('--name <name>', 'name of the profile (default: made from the command)')
    .option('--for <time>', 'leave the program running after this time, e.g. 30s or 5m')
    .option('--pid <pid>', 'take a snapshot of a process that runs already')
    .option('--thorough', 'see everything, also where the command is known already')
    .option('--traced', 'see it by a tracer, also where it can be seen from inside: slower')
    .option('--functions', 'find out which functions run, by breakpoints: for winnow build --only select')
    .option('--quick', 'look at page tables only: costs next to nothing, see docs/commands/record.md')
    .option('--no-filter', 'do not trap system calls: no look-ups and read() files in the profile')
    .option('--from-misses', 'run an image built with --cold deny, and add the functions that it lacked')
    .option('--json <file>', 'with --from-misses: write what was missed to a file (docs/formats.md)')
    .option('-q, --quiet', 'say nothing but errors')
    // For measurements: what exact pages cost.
    .addOption(new Option('--fault-around', 'with --thorough: let the kernel round pages up').hideHelp())
    .passThroughOptions()
    .action(run);
  addStoreOption(command);
  addExample(
    command,
    'winnow record -- python3 app.py',
    'winnow record --functions -- python3 app.py',
    'winnow record --for 30s -- nginx -g "daemon off;"',
  );
  command.addHelpText(
    'after',
    '\nThe exit code is the program’s; 125 to 127 where it could not be started (docs/errors.md).',
  );
}

async function run(words: string[], options: RecordOptions): Promise<void> {
  try {
    checkTogether(options);
    if (options.pid !== undefined) return await snapshotProcess(options.pid, words, options);
    if (words.length === 0) throw noCommand();
    if (options.functions === true) refuseWithout(options);
    if (options.fromMisses === true) return await recordFromMisses(words, options);
    await recordCommand(words, options);
  } catch (error) {
    throw ownFailure(error);
  }
}

/** Whether page tables do: a person says so, or the command is learnt. */
function isLightRun(options: RecordOptions, profile: Profile | undefined, command: Command): boolean {
  if (options.thorough === true && (options.quick === true || !options.filter)) {
    throw usageError('--thorough goes with neither --quick nor --no-filter', 'leave one of them out');
  }
  if (options.traced === true && (options.quick === true || !options.filter)) {
    throw usageError('--traced goes with neither --quick nor --no-filter', 'leave one of them out');
  }
  const asked = options.thorough === true || options.traced === true || options.functions === true;
  if (asked || !options.filter) return false;
  return options.quick === true || nextRecording(profile, command).how === 'light';
}

async function recordCommand(words: readonly string[], options: RecordOptions): Promise<void> {
  // What runs for the first time runs while the program waits: straight to machine code, and no interpreter.
  setFlagsFromString('--always-sparkplug');
  const { openStore } = await import('../../profile/store.ts');
  const { record } = await import('../../record/recorder.ts');
  const { resolveProgram } = await import('../../record/resolve.ts');
  const { dieBySignal, exitNow, readCaller } = await import('../../sys/caller.ts');
  const caller = readCaller();
  const cwd = process.cwd();
  const command = { program: resolveProgram(words[0] ?? '', cwd, caller.env.PATH), argv: words, cwd };
  const store = openStore(options);
  const name = options.name ?? store.findByCommand(command).name;
  const known = store.prepare(name);
  const light = isLightRun(options, known, command);
  const progress = startLine(options.quiet === true);
  const functions =
    options.functions === true
      ? await (await import('../record-functions.ts')).openFunctions(
          command,
          caller.env,
          known,
          progress.analysed,
        )
      : undefined;
  // From here on the program has the terminal.
  const recording = closing(functions, () =>
    record({
      command,
      ...caller,
      stopAfterMs: options.for === undefined ? undefined : parseTime(options.for),
      light,
      traced: options.traced === true ? 'asked' : nextIsTraced(known, command) ? 'preferred' : undefined,
      filter: options.filter,
      exactPages: options.faultAround !== true,
      code: functions?.observer,
      onProgress: progress.update,
    }),
  );
  progress.clear();
  const profile = store.addRun(name, recording.run);
  if (options.quiet !== true) {
    say(summary(name, profile, recording.run, options.quick === true));
    say(outlook(nextRecording(profile, command)));
  }
  const { ended } = recording;
  if (ended?.kind === 'killed') dieBySignal(ended.signal);
  exitNow(ended?.kind === 'exited' ? ended.code : 0);
}

function closing<T>(opened: { close(): void } | undefined, work: () => T): T {
  try {
    return work();
  } finally {
    opened?.close();
  }
}

async function recordFromMisses(words: readonly string[], options: RecordOptions): Promise<void> {
  const { recordMisses } = await import('../record-misses.ts');
  const { dieBySignal, exitNow } = await import('../../sys/caller.ts');
  const { ended, summary } = await recordMisses(words, options);
  if (options.quiet !== true) say(summary);
  if (ended?.kind === 'killed') dieBySignal(ended.signal);
  exitNow(ended?.kind === 'exited' ? ended.code : 0);
}

async function snapshotProcess(
  text: string,
  words: readonly string[],
  options: RecordOptions,
): Promise<void> {
  const { openStore } = await import('../../profile/store.ts');
  const { snapshot } = await import('../../record/attach.ts');
  if (words.length > 0) throw usageError('--pid takes no command', 'leave out what follows --');
  if (options.functions === true) {
    throw usageError(
      '--functions watches a program from its start',
      'start it: winnow record --functions -- CMD',
    );
  }
  const store = openStore(options);
  const recorded = snapshot(text);
  const name = options.name ?? store.findByCommand(recorded.command).name;
  store.prepare(name);
  const profile = store.addRun(name, recorded);
  if (options.quiet !== true) say(summary(name, profile, recorded, true));
}

/** Milliseconds of `30s`, `5m`, `1h`, `500ms`, or a bare number of seconds. */
function parseTime(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text);
  const unit = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[match?.[2] ?? 's'];
  const value = Number(match?.[1]) * (unit ?? Number.NaN);
  if (!(value > 0)) throw usageError(`'${text}' is no time`, 'give e.g. 30s, 5m or 500ms');
  return value;
}

/** What a snapshot, and a run of an image, have no use for: better refused than done without. */
function checkTogether(options: RecordOptions): void {
  const { pid, fromMisses, json, thorough, quick, filter, for: time } = options;
  if (json !== undefined && fromMisses !== true)
    throw usageError('--json is about what was missed', 'add --from-misses, or leave --json out');
  const alone = pid !== undefined ? '--pid' : fromMisses === true ? '--from-misses' : undefined;
  const other = [
    pid !== undefined && fromMisses === true ? '--from-misses' : undefined,
    time === undefined ? undefined : '--for',
    thorough === true ? '--thorough' : undefined,
    quick === true ? '--quick' : undefined,
    filter ? undefined : '--no-filter',
  ].find((one) => one !== undefined);
  if (alone !== undefined && other !== undefined)
    throw usageError(`${other} means nothing with ${alone}`, `leave ${other} out`);
}

/** Modules are told of by the filter; a process that runs already has entered who knows what. */
function refuseWithout({ quick, filter, fromMisses }: RecordOptions): void {
  if (fromMisses === true) {
    throw usageError(
      '--functions and --from-misses are two ways to find functions',
      'leave out one of the two',
    );
  }
  if (quick === true || !filter) {
    throw usageError(
      `--functions needs the filter, which ${quick === true ? '--quick' : '--no-filter'} leaves out`,
      'leave out one of the two',
    );
  }
}

const noCommand = (): WinnowError =>
  usageError('no command to record', 'put it after two dashes: winnow record -- python3 app.py');

/**
 * Talk goes to the descriptor, not to process.stderr: Node would set the program's own pipe or terminal
 * to non-blocking. Where it cannot be written, nobody can be told, and the exit code stays the program's.
 */
function say(text: string): void {
  try {
    writeSync(2, text);
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
  }
}

const PROGRESS_AFTER_MS = 1000;

/** One line that is rewritten, on a terminal, after a second, while the program itself may write too. */
function startLine(quiet: boolean) {
  const begun = Date.now();
  // A program that owns the terminal (an editor, a pager) must not be written over.
  const shown = !quiet && isatty(2) && !isatty(1) && foregroundIsOurs();
  let written = 0;
  return {
    update({ processes, lookups }: { readonly processes: number; readonly lookups: number }): void {
      const now = Date.now();
      if (!shown || now - begun < PROGRESS_AFTER_MS || now - written < PROGRESS_AFTER_MS / 5) return;
      written = now;
      const seconds = Math.round((now - begun) / 1000);
      say(`\r\x1b[Kwinnow: recording, ${seconds} s, ${processes} process(es), ${lookups} look-ups`);
    },
    analysed(done: number, all: number): void {
      const now = Date.now();
      if (!shown || now - written < PROGRESS_AFTER_MS / 5) return;
      written = now;
      say(`\r\x1b[Kwinnow: analysing code, ${done} of ${all} files`);
    },
    clear(): void {
      if (written > 0) say('\r\x1b[K');
    },
  };
}

/** Whether this process group has the terminal: a background job writes no progress. */
function foregroundIsOurs(): boolean {
  const fields = readFileSync('/proc/self/stat', 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  const [, , group, , , foreground] = fields;
  return group === foreground;
}
