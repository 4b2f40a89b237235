/**
 * From exec to the end of linking, plain and from the image: the same instruction of the dynamic loader, at which it would
 * start the first constructor (runtime/start-cost.c).
 */
import { readFileSync } from 'node:fs';
import { WinnowError } from '../../src/base/errors.ts';
import {
  pairedRatio,
  type RatioSummary,
  randomFrom,
  type Summary,
  shuffled,
  summarize,
} from '../../src/bench/stats.ts';
import { readElf } from '../../src/elf/read.ts';
import { linkedAt } from '../../src/share/closure/loader-start.ts';
import { measureStart, type StartCost, type StartRequest } from '../../src/sys/start-cost.ts';
import type { LinkedProgram, SharedImage } from './share-image.ts';

export interface StartMode {
  readonly name: 'plain' | 'bind-now' | 'image' | 'files' | 'joined' | 'slid' | 'slid-joined' | 'prelinked';
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

const LOADER = '/lib64/ld-linux-x86-64.so.2';
const PAGE_KIB = 4;

interface Way extends StartRequest {
  readonly name: StartMode['name'];
  /** What is mapped where the start is one from the image. */
  readonly linked?: string;
}

/** @throws WinnowError E_BENCH_START where a mode does not come to that instruction */
export function measureStarts(
  image: SharedImage & { readonly linked: LinkedProgram },
  rounds: number,
): StartResult {
  const ways = waysOf(image);
  const samples = new Map(ways.map(({ name }) => [name, [] as StartCost[]]));
  for (const way of ways) startOnce(way);
  const random = randomFrom(Date.now());
  for (let round = 0; round < rounds; round += 1) {
    for (const way of shuffled(ways, random)) samples.get(way.name)?.push(startOnce(way));
  }
  const of = (name: StartMode['name']): StartCost[] => samples.get(name) ?? [];
  const ms = (name: StartMode['name']): number[] => of(name).map(({ linkNs }) => linkNs / 1e6);
  return {
    modes: ways.map(({ name }) => ({
      name,
      ms: summarize(ms(name)),
      mappings: of(name)[0]?.mappings ?? Number.NaN,
      fileKib: (of(name)[0]?.privateFilePages ?? Number.NaN) * PAGE_KIB,
    })),
    ratio: pairedRatio(ms('plain'), ms('image')),
  };
}

function waysOf({
  file,
  args,
  env,
  linked,
  files,
  joined,
  slid,
  slidJoined,
  prelinked,
}: SharedImage & { readonly linked: LinkedProgram }): Way[] {
  const rva = linkedAt(readElf(readFileSync(LOADER), LOADER));
  if (rva === undefined) throw notReached('plain', LOADER);
  const argv = [file, ...args];
  const fromImage = (name: StartMode['name'], built: LinkedProgram | undefined): Way[] =>
    built === undefined
      ? []
      : [{ name, program: built.copy, argv, env, at: built.start, linked: built.linked }];
  return [
    { name: 'plain', program: file, argv, env, at: { rva } },
    { name: 'bind-now', program: file, argv, env: { ...env, LD_BIND_NOW: '1' }, at: { rva } },
    ...fromImage('image', linked),
    ...fromImage('files', files),
    ...fromImage('joined', joined),
    ...fromImage('slid', slid),
    ...fromImage('slid-joined', slidJoined),
    ...(prelinked === undefined
      ? []
      : [
          {
            name: 'prelinked' as const,
            program: file,
            argv,
            env: { ...env, LD_AUDIT: prelinked.object },
            at: { rva },
          },
        ]),
  ];
}

function startOnce(way: Way): StartCost {
  const cost = measureStart(way);
  if (cost === undefined || (way.linked !== undefined && !cost.files.has(way.linked)))
    throw notReached(way.name, way.program);
  return cost;
}

const notReached = (name: StartMode['name'], where: string): WinnowError =>
  new WinnowError({
    code: 'E_BENCH_START',
    kind: 'environment',
    what: `the ${name} start does not come to the end of linking`,
    where,
    next: 'winnow image show says why an image is not used',
  });
