/**
 * The store: a folder of profiles and images that belongs to one user.
 *
 *     DIR/profiles/NAME.wnp    one profile each
 *     DIR/profiles/.lock       held while a profile is read, merged and replaced
 *     DIR/images/NAME/         what `winnow build` makes (src/image)
 *
 * Problem: several recordings of one command finish at once, and any of them may be killed. Method: one
 * lock that dies with its holder, and files that are replaced whole; what a killed writer left is removed
 * by the next one. A second store, root's, is read where the first has nothing of that name. Limits: the
 * lock is flock(2), which some network file systems keep to one machine.
 */
import { rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { WinnowError } from '../base/errors.ts';
import { type Environment, xdgFolder } from '../sys/home.ts';
import { commandLine } from '../term/text.ts';
import { decodeProfile, encodeProfile } from './codec.ts';
import { nameTaken, noProfile } from './errors.ts';
import { withoutPagesPastEnd } from './extents.ts';
import { mergeRuns } from './merge.ts';
import type { Command, Profile, Run } from './model.ts';
import { checkName, commandKey, defaultName, distinctName, similarNames } from './name.ts';
import { exportFailure, storeFailure, storeReadOnly } from './store-errors.ts';
import {
  makeFolder,
  readOutside,
  removeLeftovers,
  replaceFile,
  trustedFolder,
  withLock,
} from './store-files.ts';
import { namesIn, profileFile, readFrom } from './store-profiles.ts';

export const SYSTEM_STORE = '/var/lib/winnow';

export interface StoreOptions {
  /** Folder of the store. Default: `$XDG_DATA_HOME/winnow` or `~/.local/share/winnow`. */
  readonly store?: string;
  /** A second store to read from; /var/lib/winnow where `store` is not given, none where it is. */
  readonly system?: string;
}

/** One profile in a listing. */
export interface Listed {
  readonly name: string;
  readonly path: string;
  /** In the second, read-only store. */
  readonly system: boolean;
  /** The profile, or why it cannot be read. */
  readonly profile: Profile | WinnowError;
}

/** Where a command's profile is, or would be. */
export interface Found {
  readonly name: string;
  /** The profile, undefined where the command has not been recorded. */
  readonly profile: Profile | undefined;
}

/** Every method throws WinnowError: E_STORE_… for the folder, E_PROFILE_… for a file's content. */
export interface Store {
  readonly dir: string;
  readonly profilesDir: string;
  readonly imagesDir: string;
  /** All profiles by name; one of the system's store is hidden by the user's of the same name. */
  list(): Listed[];
  /** @throws WinnowError E_NO_PROFILE, E_BAD_NAME */
  read(name: string): Profile;
  /** The profile whose newest run is the newest of all. @throws WinnowError E_NO_PROFILE */
  newest(): Profile;
  /**
   * Finds a command's profile: under its default name, under `NAME-xxxxxx` where another command has
   * that, else the one recorded last of those whose newest run is of this command, whatever their names.
   */
  findByCommand(command: Command): Found;
  /**
   * Makes the folders and checks that a run could be added: before a program is started for an hour.
   * @returns the profile as it stands.
   */
  prepare(name: string): Profile | undefined;
  /** Adds one run, whatever else is being recorded. Pages past the end of a file are left out. */
  addRun(name: string, run: Run): Profile;
  /** Adds the runs of the profiles `from` to `into`, which need not exist; they stay as they are. */
  merge(into: string, from: readonly string[]): Profile;
  /** Writes a profile to a file outside the store, which is replaced whole. */
  export(name: string, path: string): void;
  /** The bytes that `export` writes. */
  exportBytes(name: string): Uint8Array;
  /** Adds the runs of an exported file, under its own name unless `name` is given. @throws E_NAME_TAKEN */
  import(path: string, name?: string): Profile;
  /** Removes a profile; its image stays. @throws WinnowError E_NO_PROFILE, E_STORE_READ_ONLY */
  drop(name: string): void;
}

/** Folder of the user's own store. */
export function defaultStore(environment: Environment = process.env): string {
  return join(xdgFolder(environment, 'XDG_DATA_HOME', '.local', 'share'), 'winnow');
}

/** Opens a store; nothing is read or made before it is needed. */
export function openStore(options: StoreOptions = {}): Store {
  const dir = resolve(options.store ?? defaultStore());
  const system = options.system ?? (options.store === undefined ? SYSTEM_STORE : undefined);
  return new FolderStore(dir, system === undefined ? undefined : resolve(system));
}

const keyOf = (profile: Profile): string | undefined => {
  const newest = profile.runs[0];
  return newest === undefined ? undefined : commandKey(newest.command);
};

const startedAt = (profile: Profile): number => profile.runs[0]?.startedAt ?? 0;

/** The profile whose newest run is the newest of all. */
const newestOf = (profiles: readonly Profile[]): Profile | undefined =>
  [...profiles].sort((a, b) => startedAt(b) - startedAt(a))[0];

class FolderStore implements Store {
  readonly dir: string;
  readonly profilesDir: string;
  readonly imagesDir: string;
  readonly #dirs: readonly string[];

  constructor(dir: string, system: string | undefined) {
    this.dir = dir;
    this.profilesDir = join(dir, 'profiles');
    this.imagesDir = join(dir, 'images');
    this.#dirs = system === undefined || system === dir ? [dir] : [dir, system];
  }

  list(): Listed[] {
    const listed = new Map<string, Listed>();
    for (const dir of this.#dirs) {
      for (const name of namesIn(dir)) {
        if (listed.has(name)) continue;
        const entry = { name, path: profileFile(dir, name), system: dir !== this.dir };
        try {
          const profile = readFrom(dir, name);
          if (profile !== undefined) listed.set(name, { ...entry, profile });
        } catch (error) {
          if (!(error instanceof WinnowError)) throw error;
          listed.set(name, { ...entry, profile: error });
        }
      }
    }
    return [...listed.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  read(name: string): Profile {
    const profile = this.#find(checkName(name));
    if (profile === undefined) throw this.#missing(name);
    return profile;
  }

  newest(): Profile {
    const newest = newestOf(this.#readable());
    if (newest !== undefined) return newest;
    const problem = this.list()[0]?.profile;
    if (problem instanceof WinnowError) throw problem;
    throw new WinnowError({
      code: 'E_NO_PROFILE',
      kind: 'input',
      what: 'nothing has been recorded yet',
      where: this.dir,
      next: 'record a program: winnow record -- CMD',
    });
  }

  findByCommand(command: Command): Found {
    const key = commandKey(command);
    const plain = defaultName(command);
    for (const name of [plain, distinctName(command)]) {
      const profile = this.#find(name);
      if (profile !== undefined && keyOf(profile) === key) return { name, profile };
    }
    const named = newestOf(this.#readable().filter((profile) => keyOf(profile) === key));
    if (named !== undefined) return { name: named.name, profile: named };
    const isFree = this.#find(plain) === undefined;
    return { name: isFree ? plain : distinctName(command), profile: undefined };
  }

  prepare(name: string): Profile | undefined {
    return this.#locked(checkName(name), (known) => known);
  }

  addRun(name: string, run: Run): Profile {
    return this.#add(name, () => [withoutPagesPastEnd(run)]);
  }

  merge(into: string, from: readonly string[]): Profile {
    return this.#add(into, () => from.flatMap((name) => this.read(name).runs));
  }

  exportBytes(name: string): Uint8Array {
    return encodeProfile(this.read(name));
  }

  export(name: string, path: string): void {
    replaceFile(resolve(path), this.exportBytes(name), 0o644, exportFailure);
  }

  import(path: string, name?: string): Profile {
    const profile = decodeProfile(readOutside(path), path);
    return this.#add(name ?? profile.name, (known) => {
      const runs = known?.runs[0];
      const isOther = name === undefined && known !== undefined && keyOf(known) !== keyOf(profile);
      if (isOther && runs !== undefined) throw nameTaken(known.name, commandLine(runs.command.argv));
      return profile.runs;
    });
  }

  drop(name: string): void {
    const path = profileFile(this.dir, checkName(name));
    if (!namesIn(this.dir).includes(name)) {
      const system = this.#dirs[1];
      if (system !== undefined && namesIn(system).includes(name)) throw storeReadOnly(system, name);
      throw this.#missing(name);
    }
    withLock(join(this.profilesDir, '.lock'), () => {
      try {
        rmSync(path, { force: true });
      } catch (error) {
        throw storeFailure(error, path);
      }
    });
  }

  #readable(): Profile[] {
    return this.list().flatMap(({ profile }) => (profile instanceof WinnowError ? [] : [profile]));
  }

  #find(name: string): Profile | undefined {
    for (const dir of this.#dirs) {
      const profile = readFrom(dir, name);
      if (profile !== undefined) return profile;
    }
    return undefined;
  }

  /** The system's runs to build on; none where they cannot be used, for a user cannot repair them. */
  #systemProfile(name: string): Profile | undefined {
    const system = this.#dirs[1];
    try {
      return system === undefined ? undefined : readFrom(system, name);
    } catch (error) {
      if (error instanceof WinnowError) return undefined;
      throw error;
    }
  }

  #missing(name: string): WinnowError {
    const names = this.#dirs.flatMap(namesIn);
    return noProfile(name, similarNames(name, [...new Set(names)]), this.dir);
  }

  #add(name: string, runs: (known: Profile | undefined) => readonly Run[]): Profile {
    return this.#locked(checkName(name), (known, mode) => {
      const merged = { name, runs: mergeRuns([...(known?.runs ?? []), ...runs(known)]) };
      replaceFile(profileFile(this.dir, name), encodeProfile(merged), mode);
      return merged;
    });
  }

  /** Calls `work` with the profile as it stands and the mode for its file, and lets nobody else change it. */
  #locked<T>(name: string, work: (known: Profile | undefined, mode: number) => T): T {
    const isSystem = this.dir === SYSTEM_STORE;
    makeFolder(this.dir, isSystem ? 0o755 : 0o700);
    // A profile is as private as the folder its owner made for it.
    const readable = (trustedFolder(this.dir) ?? 0o700) & 0o055;
    makeFolder(this.profilesDir, 0o700 | readable);
    return withLock(join(this.profilesDir, '.lock'), () => {
      removeLeftovers(this.profilesDir);
      return work(readFrom(this.dir, name) ?? this.#systemProfile(name), 0o600 | (readable & 0o044));
    });
  }
}
