/** Records a program and builds its image after linking, as a person would. */
import { cpSync, mkdirSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { WinnowError } from '../../src/base/errors.ts';
import { readManifest } from '../../src/image/manifest.ts';
import { decodeLinked } from '../../src/share/linked/linked-decode.ts';
import { restoreEnd } from '../../src/share/linked/restore-end.ts';
import { runProcess } from '../../src/sys/spawn.ts';
import type { LinkedAt } from '../../src/sys/start-cost.ts';
import { SCRATCH } from './programs.ts';
import { shell } from './sh.ts';
import type { ShareProgram } from './share-programs.ts';
import { REPOSITORY } from './winnow.ts';
import { workloadEnvironment } from './workloads.ts';

export interface SharedImage {
  readonly program: ShareProgram;
  readonly folder: string;
  readonly env: Readonly<Record<string, string>>;
  readonly file: string;
  readonly args: readonly string[];
  readonly launch: string;
  readonly buildMs: number;
  /** The program itself; undefined where it got no image, with the reason. */
  readonly linked: LinkedProgram | undefined;
  /** The same with all libraries mapped from their files; of starts alone. */
  readonly files: BuiltProgram | undefined;
  /** The same with its modules joined; of starts alone. */
  readonly joined: BuiltProgram | undefined;
  /** At other addresses at each start. */
  readonly slid: BuiltProgram | undefined;
  /** The same, pages slid when they are touched. */
  readonly paged: (BuiltProgram & { readonly leaves: number }) | undefined;
  /** Both; of starts alone. */
  readonly slidJoined: BuiltProgram | undefined;
  /** The program as it is, with prelinked libraries; undefined where it got none. */
  readonly prelinked: PrelinkedStart | undefined;
  readonly kept: readonly { readonly path: string; readonly reason: string; readonly detail?: string }[];
}

export interface BuiltProgram extends LinkedProgram {
  readonly launch: string;
  readonly buildMs: number;
}

export interface PrelinkedStart {
  readonly launch: string;
  /** For LD_AUDIT. */
  readonly object: string;
  /** Of the copies. */
  readonly bytes: number;
  /** Relocations of libraries: written in advance, and left to the loader. */
  readonly applied: number;
  readonly left: number;
  readonly buildMs: number;
}

export interface LinkedProgram {
  readonly copy: string;
  /** NAME.linked, and the launcher. */
  readonly linked: string;
  readonly restore: string;
  /** Address of `_dl_start_user`; where starts slide, the last instruction of the image's launcher, which leads there. */
  readonly start: LinkedAt;
  readonly bytes: number;
  /** Small libraries that stand in it. */
  readonly taken: number;
  readonly modules: number;
  readonly maps: number;
  readonly relocatedPages: number;
}

export function freshScratch(): void {
  rmSync(SCRATCH, { recursive: true, force: true });
  mkdirSync(SCRATCH, { recursive: true });
}

/** @throws WinnowError E_BENCH_WINNOW */
export function buildSharedImage(program: ShareProgram, folder: string): SharedImage {
  const env = workloadEnvironment(join(folder, 'home'));
  const store = join(folder, 'store');
  // What is mounted over a program must be in reach of whoever starts it.
  mkdirSync(store, { mode: 0o755 });
  const { file, args } = program.setUp(folder);
  const winnow = (words: readonly string[]): number => {
    freshScratch();
    const done = runProcess({
      file: join(REPOSITORY, 'bin', 'winnow'),
      argv: ['winnow', ...words],
      cwd: folder,
      env,
      stdin: { kind: 'null' },
      stdout: { kind: 'null' },
      stderr: { kind: 'inherit' },
    });
    if (done.status.kind === 'exited' && done.status.code === 0) return done.wallNs / 1e6;
    throw new WinnowError({
      code: 'E_BENCH_WINNOW',
      kind: 'environment',
      what: `winnow ${words[0]} ends with ${JSON.stringify(done.status)}`,
      where: program.title,
      next: 'run the same by hand, or leave the program out with --programs',
    });
  };
  const named = ['--store', store, '--name', program.name];
  winnow(['record', '--quick', ...named, '--', file, ...args]);
  const buildMs = winnow(['build', '--only', 'share', ...named]);
  const image = join(store, 'images', program.name);
  const share = readManifest(join(image, 'manifest.json')).share;
  const path = shell('readlink -f "$1"', file).trim();
  const built = share?.programs.find((one) => one.path === path);
  const buildOther = (name: string, words: readonly string[]) => {
    const other = join(folder, name);
    mkdirSync(other, { mode: 0o755 });
    cpSync(join(store, 'profiles'), join(other, 'profiles'), { recursive: true });
    const ms = winnow(['build', '--only', 'share', ...words, '--store', other, ...named.slice(2)]);
    const at = join(other, 'images', program.name);
    return { at, ms, manifest: readManifest(join(at, 'manifest.json')) };
  };
  const buildAs = (name: string, ...options: readonly string[]): BuiltProgram | undefined => {
    const { at, ms, manifest } = buildOther(name, options);
    const its = manifest.share?.programs.find((one) => one.path === path);
    return its === undefined
      ? undefined
      : { ...linkedProgram(at, its), launch: join(at, 'launch'), buildMs: ms };
  };
  const buildPaged = (): SharedImage['paged'] => {
    const one = buildAs('paged', '--slide', '--page-in');
    if (one === undefined) return undefined;
    const { share: its } = readManifest(join(dirname(one.linked), 'manifest.json'));
    const pageIn = its?.programs.find(({ path: program }) => program === path)?.slide?.pageIn;
    return { ...one, leaves: pageIn?.kind === 'left' ? pageIn.pages : 0 };
  };
  const buildPrelinked = (): SharedImage['prelinked'] => {
    const { at, ms, manifest } = buildOther('prelinked', ['--share', 'prelink']);
    const figures = manifest.prelink?.programs.find((one) => one.path === path)?.figures;
    if (figures === undefined) return undefined;
    const { bytes, applied, left } = figures;
    return { launch: join(at, 'launch'), object: join(at, 'audit.so'), bytes, applied, left, buildMs: ms };
  };
  const isStart = built !== undefined && program.kind === 'start';
  return {
    program,
    folder,
    env,
    file,
    args,
    launch: join(image, 'launch'),
    buildMs,
    linked: built === undefined ? undefined : linkedProgram(image, built),
    files: isStart ? buildAs('files', '--variant', 'files') : undefined,
    joined: isStart ? buildAs('joined', '--variant', 'joined') : undefined,
    slid: built === undefined ? undefined : buildAs('slid', '--slide'),
    paged: built === undefined ? undefined : buildPaged(),
    slidJoined: isStart ? buildAs('slid-joined', '--slide', '--variant', 'joined') : undefined,
    prelinked: isStart ? buildPrelinked() : undefined,
    kept: share?.kept ?? [],
  };
}

type Shared = NonNullable<ReturnType<typeof readManifest>['share']>['programs'][number];

function linkedProgram(
  image: string,
  { copy, linked, restore, slide, taken, figures }: Shared,
): LinkedProgram {
  const path = join(image, linked);
  return {
    copy: join(image, copy),
    linked: realpathSync(path),
    restore: join(image, restore),
    start:
      slide === undefined
        ? { address: decodeLinked(readFileSync(path), path).start }
        : endOf(join(image, restore)),
    bytes: figures.bytes,
    taken: taken?.libraries ?? 0,
    modules: figures.modules,
    maps: figures.maps,
    relocatedPages: figures.linkedPages,
  };
}

function endOf(restore: string): LinkedAt {
  const rva = restoreEnd(readFileSync(restore), restore);
  if (rva !== undefined) return { rva };
  throw new WinnowError({
    code: 'E_BENCH_START',
    kind: 'environment',
    what: 'the end of the launcher of a linked image is not known',
    where: restore,
    next: 'npm run build',
  });
}
