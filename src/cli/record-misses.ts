/** `winnow record --from-misses -- CMD`: runs an image that denies unused code, and learns what it came to. */
import { rmSync, statSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { PAGE_SIZE } from '../base/brands.ts';
import { WinnowError } from '../base/errors.ts';
import type { Image } from '../image/images.ts';
import type { Ended, Profile } from '../profile/model.ts';
import { exportFailure } from '../profile/store-errors.ts';
import type { DeniedModule, NamedMiss } from '../select/misses.ts';
import { printable } from '../term/text.ts';
import { type StoreOption, toJson } from './options.ts';

/** The version of the JSON form (docs/formats.md). */
const JSON_VERSION = 1;

export interface MissesRecorded {
  readonly ended: Ended | undefined;
  /** What a person is told, lines that end with a line end. */
  readonly summary: string;
}

/**
 * @param name of the image; by default the one that was built for the command.
 * @throws WinnowError E_NO_IMAGE, E_NOT_DENIED, and what recording throws.
 */
export async function recordMisses(
  words: readonly string[],
  options: StoreOption & { readonly name?: string; readonly json?: string },
): Promise<MissesRecorded> {
  const { openStore } = await import('../profile/store.ts');
  const { record } = await import('../record/recorder.ts');
  const { readCaller } = await import('../sys/caller.ts');
  const { Misses, nameMisses, runOfMisses } = await import('../select/misses.ts');
  const { joinMisses, MISS_LOG, readMissLog } = await import('../select/miss-log.ts');
  const { readTrusted } = await import('../profile/store-files.ts');
  const { openTools } = await import('../select/tools.ts');
  const { analysesDir } = await import('./analyses.ts');
  const { imageOf } = await import('./subjects.ts');
  const caller = readCaller();
  const store = openStore(options);
  const { image } = await imageOf(words, options, caller.env.PATH);
  const { command, profile } = image.manifest;
  const denied = deniedModules(image);
  const misses = new Misses(denied);
  store.prepare(profile.name);
  const startedAt = Date.now();
  const { ended, run } = record({
    command: { program: join(image.path, 'launch'), argv: words, cwd: process.cwd() },
    ...caller,
    stopAfterMs: undefined,
    filter: false,
    observers: [misses],
  });
  const { analyse } = openTools(analysesDir());
  const log = join(image.path, MISS_LOG);
  const logged = readTrusted(log);
  const text = logged === undefined ? '' : Buffer.from(logged).toString();
  const found = joinMisses(readMissLog(text, denied), misses.found);
  const named = nameMisses(found, (module) => {
    const analysis = analyse(module);
    return 'kind' in analysis ? undefined : analysis;
  });
  if (options.json !== undefined) writeJsonFile(options.json, named);
  if (named.length === 0) return { ended, summary: 'winnow: nothing was missed\n' };
  const frame = { startedAt, durationMs: run.durationMs, ended: run.ended, kernel: release() };
  const added = store.addRun(profile.name, runOfMisses(named, { ...frame, command }));
  // It is in the profile now.
  rmSync(log, { force: true });
  return { ended, summary: describe(named, added) };
}

/** To a file: stdout is the program's own. */
function writeJsonFile(path: string, misses: readonly NamedMiss[]): void {
  const pages = new Set(misses.map(({ module, at }) => `${module}\0${Math.floor(at / PAGE_SIZE)}`)).size;
  const functions = new Set(misses.map(({ module, at, unit }) => `${module}\0${unit ?? at}`)).size;
  try {
    writeFileSync(path, toJson('misses', JSON_VERSION, { pages, functions, misses }));
  } catch (error) {
    throw exportFailure(error, path);
  }
}

function deniedModules(image: Image): DeniedModule[] {
  const { select } = image.manifest;
  if (select?.cold !== 'deny') {
    throw new WinnowError({
      code: 'E_NOT_DENIED',
      kind: 'input',
      what: 'the image lets unused code run, so nobody can tell what was missed',
      where: image.path,
      next: `build it so that it does not: winnow build --cold deny --name ${image.name}`,
    });
  }
  return select.modules.map(({ path, file }) => {
    const here = join(image.path, file);
    return { path, file: here, inode: statSync(here, { bigint: true }).ino };
  });
}

function describe(misses: readonly NamedMiss[], profile: Profile): string {
  const lines = misses.map(({ module, at, name, kept, times }) => {
    const place = name ?? `0x${at.toString(16)}`;
    const why = kept === undefined ? '' : `; it must not move: ${kept}`;
    return `  ${printable(module)}: ${printable(place)}, ${times === 1 ? 'once' : `${times} times`}${why}\n`;
  });
  const again = `build the image again: winnow build --cold deny --name ${profile.name}`;
  return `winnow: ${misses.length} place(s) were missed; they are in the profile ${profile.name} now\n${lines.join('')}  ${again}\n`;
}
