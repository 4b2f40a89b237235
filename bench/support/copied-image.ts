/** Images of real programs in which every function of every module is copied, or which start linked; and what these do. */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { WinnowError } from '../../src/base/errors.ts';
import { readImage } from '../../src/image/images.ts';
import type { SelectManifest } from '../../src/image/manifest.ts';
import { badUsage } from './main.ts';
import { ENVIRONMENT } from './programs.ts';
import { type LinkedStarts, type MissedStarts, readStarts } from './share-json.ts';
import { REPOSITORY } from './winnow.ts';

/** What a program did, as far as another run of it can be compared. */
export interface Behaviour {
  /** Exit code, or the signal's name. */
  readonly end: number | string | null;
  readonly stdout: string;
  readonly stderr: string;
}

const LONGEST_MS = 900_000;

/** `prelink`: share by prelinked libraries. */
export type Technique = 'select' | 'share' | 'prelink';

/** @throws a usage error */
export function chooseTechnique(value: string, usage: string): Technique {
  if (value === 'select' || value === 'share' || value === 'prelink') return value;
  throw badUsage(`--technique takes select, share or prelink, not ${value}`, usage);
}

export class CopiedImage {
  readonly #name: string;
  readonly #folder: string;
  readonly #argv: readonly string[];
  readonly #env: Readonly<Record<string, string>>;

  /** @param folder for all that is made; not under /tmp, as files there are left out of a profile. */
  constructor(
    name: string,
    folder: string,
    argv: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ) {
    this.#name = name;
    this.#folder = folder;
    this.#argv = argv;
    const home = join(folder, 'home');
    mkdirSync(home, { recursive: true });
    this.#env = {
      ...ENVIRONMENT,
      BIN: join(folder, 'bin'),
      XDG_CACHE_HOME: join(folder, 'cache'),
      HOME: home,
      ...env,
    };
  }

  /** Runs a shell script in `$BIN`. */
  setUp(script: string): void {
    const bin = join(this.#folder, 'bin');
    mkdirSync(bin, { recursive: true });
    this.#expect('bash', ['-ec', script], bin);
  }

  record(): void {
    this.#winnow('record', ['--functions'], this.#argv);
  }

  /** @returns the modules of the image. */
  build(cold: 'file' | 'deny'): SelectManifest {
    this.#winnow('build', ['--only', 'select', '--all', '--cold', cold], []);
    const { select } = readImage([join(this.#folder, 'store', 'images')], this.#name).manifest;
    if (select === undefined) throw failed(this.#name, 'the image has no modules');
    return select;
  }

  /** Records what is executed, and builds the image after linking, or prelinked libraries. @throws WinnowError where one of its programs would not start so. */
  buildLinked(technique: 'share' | 'prelink' = 'share'): LinkedStarts {
    // Programs are mounted only where everybody can reach the loader that they name.
    const store = join(this.#folder, 'store');
    for (const path of [this.#folder, store, join(store, 'images')]) {
      mkdirSync(path, { recursive: true });
      chmodSync(path, 0o755);
    }
    this.#winnow('record', ['--quick'], this.#argv);
    const sharing = technique === 'prelink' ? 'prelink' : 'image';
    this.#winnow('build', ['--only', 'share', '--share', sharing], []);
    const starts = this.#starts();
    const [plain] = starts.plain;
    if (plain !== undefined) throw failed(this.#name, `${plain.path} would start plainly: ${plain.reason}`);
    return starts;
  }

  /** Starts of linked programs that were plain all the same since the image was built. @throws WinnowError where nobody counts them */
  missedStarts(): readonly MissedStarts[] {
    const { missed } = this.#starts();
    if (missed === undefined) throw failed(this.#name, 'starts that are not linked are not counted');
    return missed;
  }

  #starts(): LinkedStarts {
    const words = ['image', 'show', this.#name, '--store', join(this.#folder, 'store'), '--json'];
    const { stdout } = this.#spawn(join(REPOSITORY, 'bin', 'winnow'), words, this.#work());
    return readStarts(Buffer.from(stdout, 'latin1').toString());
  }

  /** The program itself. */
  runOriginal(argv: readonly string[] = this.#argv): Behaviour {
    const [file = '', ...args] = argv;
    return this.#run(file, args);
  }

  runImage(argv: readonly string[] = this.#argv): Behaviour {
    return this.#run(join(this.#folder, 'store', 'images', this.#name, 'launch'), argv.slice(1), argv[0]);
  }

  /**
   * How many modules of the image its program has mapped. A start that shows none of them would behave like the original, and so would say
   * nothing. Under a mount they have the originals' names: they are known by their inodes.
   *
   * @param argv of the image's program, to print its own memory map
   * @throws WinnowError where it has mapped none
   */
  countShown(argv: readonly string[]): number {
    const lines = this.runImage(argv).stdout.split('\n');
    const inodes = new Set(lines.map((line) => line.split(/\s+/)[4]));
    const image = join(this.#folder, 'store', 'images', this.#name);
    // A link there leads to the original.
    const files = readdirSync(image, { recursive: true, encoding: 'utf8' });
    const shown = files.filter((file) => inodes.has(String(lstatSync(join(image, file)).ino)));
    if (shown.length === 0) throw failed(this.#name, 'it starts, and shows no module of the image');
    return shown.length;
  }

  /** Of an image that denies what is not copied: the places that a run came to, as JSON; undefined: to none. */
  misses(): string | undefined {
    const json = join(this.#folder, 'misses.json');
    rmSync(json, { force: true });
    this.#winnow('record', ['--from-misses', '--json', json], this.#argv);
    return existsSync(json) ? readFileSync(json, 'utf8') : undefined;
  }

  #work(): string {
    const work = join(this.#folder, 'work');
    rmSync(work, { recursive: true, force: true });
    mkdirSync(work);
    return work;
  }

  #run(file: string, args: readonly string[], argv0?: string): Behaviour {
    const done = this.#spawn(file, args, this.#work(), argv0);
    return { end: done.signal ?? done.status, stdout: done.stdout, stderr: done.stderr };
  }

  #winnow(command: string, options: readonly string[], argv: readonly string[]): void {
    const store = join(this.#folder, 'store');
    const words = [command, ...options, '--store', store, '--name', this.#name];
    const program = argv.length > 0 ? ['--', ...argv] : [];
    const done = this.#spawn(join(REPOSITORY, 'bin', 'winnow'), [...words, ...program], this.#work());
    // A recorded program's own end becomes winnow's.
    if (!/^(winnow: (recorded|nothing was missed|\d+ place)|built )/m.test(`${done.stderr}\n${done.stdout}`))
      throw failed(
        this.#name,
        `winnow ${command}: ${done.signal ?? done.status} ${done.stderr.slice(-1000)}`,
      );
  }

  #expect(file: string, args: readonly string[], cwd: string): void {
    const done = this.#spawn(file, args, cwd);
    if (done.status !== 0) throw failed(this.#name, `${file}: ${done.stderr.slice(-1000)}`);
  }

  #spawn(file: string, args: readonly string[], cwd: string, argv0?: string) {
    return spawnSync(file, args, {
      cwd,
      env: this.#env,
      encoding: 'latin1',
      stdio: ['ignore', 'pipe', 'pipe'],
      maxBuffer: 2 ** 28,
      timeout: LONGEST_MS,
      killSignal: 'SIGKILL',
      ...(argv0 === undefined ? {} : { argv0 }),
    });
  }
}

const failed = (where: string, what: string): WinnowError =>
  new WinnowError({
    code: 'E_BENCH_WINNOW',
    kind: 'environment',
    what: what.trim().split('\n').slice(-6).join(' | '),
    where,
    next: 'run the same by hand, or leave the program out with --programs',
  });
