/** Measures one program as it starts from an image after linking: starts, whole runs, memory. */
import { WinnowError } from '../../src/base/errors.ts';
import type { Sample } from '../../src/bench/model.ts';
import { interleave, runMode } from '../../src/bench/run.ts';
import { pairedRatio } from '../../src/bench/stats.ts';
import type { Conditions } from './program-suite.ts';
import { buildSharedImage, freshScratch, type PrelinkedStart, type SharedImage } from './share-image.ts';
import { lazyFigures } from './share-lazy.ts';
import { ownAtExit, sideBySide } from './share-memory.ts';
import { pageInFigures } from './share-page-in.ts';
import type { ShareProgram } from './share-programs.ts';
import type { ShareResult } from './share-report.ts';
import { measureStarts } from './share-start.ts';

export async function measureShare(
  program: ShareProgram,
  folder: string,
  conditions: Conditions,
): Promise<ShareResult> {
  conditions.talk(`${program.title}: recording and building`);
  const image = buildSharedImage(program, folder);
  const { linked } = image;
  if (linked === undefined) throw notLinked(image);
  conditions.talk(`${program.title}: starts`);
  const start =
    program.kind === 'start' ? measureStarts({ ...image, linked }, conditions.rounds * 3) : undefined;
  const wall = await wallOf(image, conditions);
  conditions.talk(`${program.title}: memory`);
  const own = ownAtExit(image);
  const side = await sideBySide(image);
  const lazy = lazyFigures(image);
  const pageIn = pageInFigures(image);
  return {
    name: program.name,
    title: program.title,
    kind: program.kind,
    buildMs: image.buildMs,
    modules: linked.modules,
    relocatedPages: linked.relocatedPages,
    maps: linked.maps,
    bytes: linked.bytes,
    taken: linked.taken,
    ...(image.files === undefined ? {} : { filesBytes: image.files.bytes }),
    ...(image.joined === undefined
      ? {}
      : { joined: { bytes: image.joined.bytes, buildMs: image.joined.buildMs } }),
    ...(image.prelinked === undefined ? {} : { prelinked: prelinkedFigures(image.prelinked) }),
    ...(start === undefined ? {} : { start }),
    wall,
    own,
    ...(side === undefined ? {} : { side }),
    ...(lazy === undefined ? {} : { lazy }),
    ...(pageIn === undefined ? {} : { pageIn }),
  };
}

const prelinkedFigures = ({
  bytes,
  applied,
  left,
  buildMs,
}: PrelinkedStart): NonNullable<ShareResult['prelinked']> => ({
  bytes,
  applied,
  left,
  buildMs,
});

async function wallOf(image: SharedImage, { rounds, abort, talk }: Conditions): Promise<ShareResult['wall']> {
  const argv = [image.file, ...image.args];
  const mode = (name: string, file: string) => ({ name, steps: [{ file, argv, cwd: image.folder }] });
  const optional = (name: string, other: { readonly launch: string } | undefined) =>
    other === undefined ? [] : [mode(name, other.launch)];
  const modes = [
    mode('plain', image.file),
    mode('image', image.launch),
    ...optional('slid', image.slid),
    ...optional('paged', image.paged),
    ...optional('prelinked', image.prelinked),
  ];
  const runOnce = (one: (typeof modes)[number]): Promise<Sample> => {
    freshScratch();
    return runMode(one, { env: image.env });
  };
  for (const one of modes) await runOnce(one);
  const measured = await interleave({
    modes,
    rounds,
    abort,
    onRound: (done, all) => talk(`${image.program.title}: run time ${done}/${all}`),
    runOnce,
  });
  const of = (name: string) => measured[modes.findIndex((one) => one.name === name)];
  const [plain, linked, slid, prelinked] = [of('plain'), of('image'), of('slid'), of('prelinked')];
  const paged = of('paged');
  if (plain === undefined || linked === undefined) throw notLinked(image);
  const wall = (samples: readonly Sample[]): number[] => samples.map(({ wallMs }) => wallMs);
  return {
    plainMs: plain.wallMs,
    imageMs: linked.wallMs,
    ratio: pairedRatio(wall(plain.samples), wall(linked.samples)),
    ...(slid === undefined
      ? {}
      : { slidMs: slid.wallMs, slidRatio: pairedRatio(wall(plain.samples), wall(slid.samples)) }),
    ...(slid === undefined || paged === undefined
      ? {}
      : {
          slidCpuMs: slid.cpuMs,
          pagedMs: paged.wallMs,
          pagedCpuMs: paged.cpuMs,
          pagedRatio: pairedRatio(wall(slid.samples), wall(paged.samples)),
        }),
    ...(prelinked === undefined
      ? {}
      : {
          prelinkedMs: prelinked.wallMs,
          prelinkedRatio: pairedRatio(wall(plain.samples), wall(prelinked.samples)),
        }),
  };
}

function notLinked({ kept, file }: SharedImage): WinnowError {
  const why = kept.map(({ path, reason, detail }) => `${path}: ${reason} ${detail ?? ''}`.trim()).join('; ');
  return new WinnowError({
    code: 'E_BENCH_WINNOW',
    kind: 'environment',
    what: `the program got no image: ${why === '' ? 'it was not recorded' : why}`,
    where: file,
    next: 'winnow image show says more, or leave it out with --programs',
  });
}
