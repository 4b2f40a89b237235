/**
 * From exec to the end of linking, plain and from the image: the same instruction of the dynamic loader, at which it would
 * start the first constructor (loaded.c).
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WinnowError } from '../../src/base/errors.ts';
import {
  pairedRatio,
  type RatioSummary,
  randomFrom,
  type Summary,
  shuffled,
  summarize,
} from '../../src/bench/stats.ts';
import { runProcess } from '../../src/sys/spawn.ts';
import { tool } from './sh.ts';
import type { LinkedProgram, SharedImage } from './share-image.ts';
import { freshScratch } from './share-image.ts';
import { REPOSITORY } from './winnow.ts';

/** What one start came to. */
interface Start {
  readonly ms: number;
  readonly mappings: number;
  readonly fileKib: number;
}

export interface StartMode {
  readonly name: 'plain' | 'bind-now' | 'image' | 'joined';
  readonly ms: Summary;
  readonly mappings: number;
  /** Private written memory of mappings of files, KiB. */
  readonly fileKib: number;
}

export interface StartResult {
  readonly modes: readonly StartMode[];
  /** Plain over image, round by round. */
  readonly ratio: RatioSummary;
}

/** Where the program's own loader goes on when it has linked: eight bytes behind its entry, in glibc on x86-64. */
const BEHIND_ENTRY = 8;
const LOADER = '/lib64/ld-linux-x86-64.so.2';

/** Compiles loaded.c; `close` removes it. */
export function openLoaded(): { readonly path: string; close(): void } {
  const folder = mkdtempSync(join(tmpdir(), 'winnow-loaded-'));
  const path = join(folder, 'loaded');
  try {
    tool('gcc', '-O2', '-Wall', '-o', path, join(REPOSITORY, 'bench', 'support', 'loaded.c'));
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
  return { path, close: () => rmSync(folder, { recursive: true, force: true }) };
}

/** @throws WinnowError E_BENCH_START where a mode does not come to that instruction */
export function measureStarts(
  image: SharedImage & { readonly linked: LinkedProgram },
  loaded: string,
  rounds: number,
): StartResult {
  const entry = readFileSync(LOADER).readBigUInt64LE(24);
  const behind = `+${(Number(entry) + BEHIND_ENTRY).toString(16)}`;
  const modes = [
    { name: 'plain' as const, file: image.file, where: behind, env: image.env },
    { name: 'bind-now' as const, file: image.file, where: behind, env: { ...image.env, LD_BIND_NOW: '1' } },
    {
      name: 'image' as const,
      file: image.linked.copy,
      where: image.linked.start.toString(16),
      env: image.env,
    },
    ...(image.joined === undefined
      ? []
      : [
          {
            name: 'joined' as const,
            file: image.joined.copy,
            where: image.joined.start.toString(16),
            env: image.env,
          },
        ]),
  ];
  const once = (mode: (typeof modes)[number]): Start => startOnce(image, loaded, mode);
  const samples = new Map(modes.map(({ name }) => [name, [] as Start[]]));
  for (const mode of modes) once(mode);
  const random = randomFrom(Date.now());
  for (let round = 0; round < rounds; round += 1) {
    for (const mode of shuffled(modes, random)) samples.get(mode.name)?.push(once(mode));
  }
  const of = (name: StartMode['name']): Start[] => samples.get(name) ?? [];
  const ms = (name: StartMode['name']): number[] => of(name).map((one) => one.ms);
  return {
    modes: modes.map(({ name }) => ({
      name,
      ms: summarize(ms(name)),
      mappings: of(name)[0]?.mappings ?? Number.NaN,
      fileKib: of(name)[0]?.fileKib ?? Number.NaN,
    })),
    ratio: pairedRatio(ms('plain'), ms('image')),
  };
}

function startOnce(
  { file, args, folder }: SharedImage,
  loaded: string,
  mode: {
    readonly name: string;
    readonly file: string;
    readonly where: string;
    readonly env: Readonly<Record<string, string>>;
  },
): Start {
  freshScratch();
  const result = join(folder, 'loaded');
  const done = runProcess({
    file: loaded,
    argv: ['loaded', result, '/dev/null', mode.where, mode.file, file, ...args],
    cwd: folder,
    env: mode.env,
    stdin: { kind: 'null' },
    stdout: { kind: 'null' },
    stderr: { kind: 'inherit' },
  });
  if (done.status.kind !== 'exited' || done.status.code !== 0)
    throw new WinnowError({
      code: 'E_BENCH_START',
      kind: 'environment',
      what: `the ${mode.name} start does not come to the end of linking: ${JSON.stringify(done.status)}`,
      where: file,
      next: 'winnow image show says why an image is not used',
    });
  const [, startNs = Number.NaN, mappings = Number.NaN, fileKib = Number.NaN] = readFileSync(result, 'utf8')
    .trim()
    .split(' ')
    .map(Number);
  return { ms: startNs / 1e6, mappings, fileKib };
}
