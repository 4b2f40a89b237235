/**
 * What the tests of shown modules share: a program, its library and plugins in two editions that say which
 * they are, and an image that shows the second in place of the first.
 *
 * The image's folder is made by hand, as `winnow build` makes it: tests damage it in every way.
 */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { writeModulesTable } from '../src/image/modules-encode.ts';
import type { ShowMode, ShownModule } from '../src/image/modules-model.ts';
import { runtimeFile } from '../src/sys/runtime.ts';
import { isRoot } from './launch-scene.ts';

const FIXTURES = join(import.meta.dirname, 'fixtures');
export const NOBODY = 65_534;

/** Locally a right that is missing skips a test; with CI set it fails it. */
export const asRoot = process.env.CI !== undefined || isRoot;

/** A command in front of another: who runs it. */
export const AS_NOBODY: readonly string[] = isRoot
  ? ['/usr/bin/setpriv', '--reuid', `${NOBODY}`, '--regid', `${NOBODY}`, '--clear-groups', '--']
  : [];

export function compile(output: string, source: string, ...flags: readonly string[]): string {
  const words = ['-O1', '-o', output, join(FIXTURES, source), ...flags];
  const done = spawnSync('gcc', words, { encoding: 'utf8' });
  if (done.status !== 0) throw new Error(`gcc: ${done.stderr}`);
  return output;
}

export interface Ran {
  readonly stdout: string;
  readonly stderr: string;
  readonly status: number | null;
  readonly signal: string | null;
}

export interface StartOptions {
  readonly show?: ShowMode;
  /** What stands in front of the launcher. */
  readonly as?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly argv0?: string;
  /** In place of the image's launcher. */
  readonly launch?: string;
}

export class ModulesScene {
  readonly folder = mkdtempSync(join(tmpdir(), 'winnow-shown-'));
  readonly lib = join(this.folder, 'lib');
  /** The library's file; `soname` and `linkName` are links to it, one through the other. */
  readonly library = join(this.lib, 'libshown.so.1.2.3');
  readonly soname = join(this.lib, 'libshown.so.1');
  readonly linkName = join(this.lib, 'libshown.so');
  /** In a folder that no search path has. */
  readonly plugin = join(this.folder, 'plugins', 'plugin.so');
  readonly program = join(this.folder, 'bin', 'shown');
  /** Second editions. */
  readonly second = {
    library: join(this.folder, 'second', 'library.so'),
    plugin: join(this.folder, 'second', 'plugin.so'),
    program: join(this.folder, 'second', 'program'),
  };
  readonly image: string;
  readonly launch: string;

  constructor() {
    // For other users.
    chmodSync(this.folder, 0o755);
    this.image = join(this.folder, 'images', '.shown@0123456789ab');
    this.launch = join(this.image, 'launch');
    const folders = [this.lib, dirname(this.plugin), dirname(this.program), dirname(this.second.library)];
    for (const path of [...folders, this.image]) mkdirSync(path, { recursive: true });
    this.#compile(this.library, this.plugin, this.program, 'first');
    symlinkSync(basename(this.library), this.soname);
    symlinkSync(basename(this.soname), this.linkName);
    this.#compile(this.second.library, this.second.plugin, this.second.program, 'second');
    this.reset();
  }

  #compile(library: string, plugin: string, program: string, edition: string): void {
    const shared = ['-shared', '-fPIC'];
    const soname = `-Wl,-soname,${basename(this.soname)}`;
    compile(library, 'shown-library.c', ...shared, soname, `-DROLE="${edition}"`);
    compile(plugin, 'shown-library.c', ...shared, `-DROLE="${edition} plugin"`);
    compile(program, 'shown.c', `-DROLE="${edition}"`, library, `-Wl,-rpath,${this.lib}`);
  }

  /** The image as it was made at first: library, plugin and program are shown. */
  reset(modules: readonly ShownModule[] = this.modules(), program = this.program): void {
    rmSync(this.image, { recursive: true, force: true });
    this.fill(this.image, modules, program);
  }

  /** Makes a folder an image. */
  fill(image: string, modules: readonly ShownModule[] = this.modules(), program = this.program): void {
    mkdirSync(image, { recursive: true });
    copyFileSync(runtimeFile('launch'), join(image, 'launch'));
    copyFileSync(runtimeFile('audit.so'), join(image, 'audit.so'));
    copyFileSync(this.second.library, join(image, 'library'));
    copyFileSync(this.second.plugin, join(image, 'plugin'));
    copyFileSync(this.second.program, join(image, 'program-copy'));
    symlinkSync(program, join(image, 'program'));
    this.writeTable(modules, 'auto', image);
  }

  writeTable(modules: readonly ShownModule[], show: ShowMode = 'auto', image = this.image): void {
    writeFileSync(join(image, 'modules.bin'), writeModulesTable(modules, show));
  }

  modules(): ShownModule[] {
    return [
      this.module(this.library, 'library'),
      this.module(this.plugin, 'plugin'),
      this.module(this.program, 'program-copy', 'program'),
    ];
  }

  /** A row for a file as it is now. */
  module(path: string, replacement: string, role: ShownModule['role'] = 'library'): ShownModule {
    const { size, mtimeNs, ino } = statSync(path, { bigint: true });
    const names = { library: this.second.library, plugin: this.second.plugin };
    const copy = replacement === 'library' || replacement === 'plugin' ? names[replacement] : undefined;
    return {
      path,
      identity: { size: Number(size), mtimeNs, inode: ino },
      replacement,
      replacementSize: statSync(copy ?? this.second.program).size,
      role,
      usesOrigin: false,
    };
  }

  /** Starts the image's launcher. */
  start(words: readonly string[], options: StartOptions = {}): Ran {
    const { show, as = [], env = {}, cwd, launch = this.launch } = options;
    const [file = '', ...args] = [...as, launch, ...words];
    const done = spawnSync(file, args, {
      encoding: 'utf8',
      env: { ...env, ...(show === undefined ? {} : { WINNOW_SHOW: show }) },
      ...(cwd === undefined ? {} : { cwd }),
      ...(options.argv0 === undefined ? {} : { argv0: options.argv0 }),
    });
    return { stdout: done.stdout, stderr: done.stderr, status: done.status, signal: done.signal };
  }

  /** What the program says of itself and its library; '' where all is well and the originals are used. */
  editions(options: StartOptions = {}): string {
    const { stdout, stderr, status } = this.start([], options);
    if (status !== 0 || stderr !== '') return `status ${status}: ${stderr}`;
    const [program, library] = [/^program (.*)$/m, /^library (\S+)/m].map((word) => word.exec(stdout)?.[1]);
    return `${program} ${library}`;
  }

  drop(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** What `editions` says when both, or the library alone, are shown, or neither. */
export const BOTH = 'second second';
export const LIBRARY_ONLY = 'first second';
export const NEITHER = 'first first';
