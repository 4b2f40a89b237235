/**
 * Sets the stage: one disk that holds what every program uses, with the images inside, and the modes in
 * which each program can be run there.
 */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { WinnowError } from '../../src/base/errors.ts';
import type { Mode, Step } from '../../src/bench/model.ts';
import { vmtouchSteps } from '../../src/bench/peer.ts';
import { probeProgram } from '../../src/elf/probe.ts';
import { workingSet } from '../../src/profile/stats.ts';
import type { Variant } from '../options.ts';
import { PROBE, type Ready } from '../prefetch.ts';
import type { Cleanup } from './cleanup.ts';
import { type Disk, makeDisk } from './disk.ts';
import { buildBy, buildVariant } from './image.ts';
import { countLinked } from './linked.ts';
import { type ModeKind, PREFETCH, VMTOUCH } from './modes.ts';
import { bytesOf, closureOf, everythingUnder, populate } from './populate.ts';
import type { LinkedResult } from './report.ts';
import { freshScratch, type RootRunner, runInRoot } from './root-run.ts';
import { tool } from './sh.ts';
import type { Recorded } from './winnow.ts';

const VMTOUCH_FILE = '/usr/bin/vmtouch';

/** Modules are there as they are, and for each image rewritten, with unwind tables that are twice as large. */
const REWRITTEN = 1.5;
/** A linked program is there as a copy. */
const LINKED = 0.5;
/** Room for the plans, the file system's own tables and what the first runs write. */
const SPARE_BYTES = 256 << 20;

export interface MeasuredProgram extends Ready {
  /** What its plain run prints. */
  readonly output: string;
  readonly recorded: Recorded;
}

/**
 * Makes the disk and copies everything that the programs use or look up.
 * @param limited how many settings have images of their own.
 */
export function fillDisk(
  work: string,
  recorded: readonly Recorded[],
  kinds: readonly ModeKind[],
  limited: number,
  cleanup: Cleanup,
): Disk {
  const paths = recorded.flatMap((one) => [
    one.file,
    ...everythingUnder([one.folder, ...one.program.also]),
    ...one.profile.runs.flatMap((run) => [
      ...run.files.map((file) => file.path),
      ...run.lookups.map((lookup) => lookup.path),
    ]),
  ]);
  for (const file of [VMTOUCH_FILE, PROBE]) paths.push(file, ...librariesOf(file));
  paths.push(...paths.flatMap(interpreterOf));
  const closure = closureOf(paths.filter((path) => path.startsWith('/')));
  const imagesBy = (technique: 'select' | 'share'): number =>
    kinds.filter(({ techniques }) => techniques?.has(technique) === true).length;
  const copies = 1 + (1 + limited) * (imagesBy('select') * REWRITTEN + imagesBy('share') * LINKED);
  const bytes = Math.ceil((bytesOf(closure) * copies + SPARE_BYTES) / 4096) * 4096;
  const disk = makeDisk(work, bytes, cleanup);
  disk.mount('rw');
  populate(disk.root, closure, work);
  return disk;
}

/** What the kernel opens by itself to run a file: named by no system call, so in no profile. */
function interpreterOf(file: string): string[] {
  if (statSync(file, { throwIfNoEntry: false })?.isFile() !== true) return [];
  const kind = probeProgram(file);
  if (kind.kind === 'script') return [kind.interpreter];
  return kind.kind === 'elf' && kind.interp !== undefined ? [kind.interp] : [];
}

function librariesOf(file: string): string[] {
  return [...tool('ldd', file).matchAll(/(\/\S+) \(0x/g)].flatMap((match) => match[1] ?? []);
}

/**
 * Runs each program once in every mode, writable, so that caches which programs keep are there, and
 * checks that the modes print the same. A mode that fails is left out and told in `unmeasured`.
 */
export async function readyPrograms(
  runner: RootRunner,
  recorded: readonly Recorded[],
  kinds: readonly ModeKind[],
  variants: readonly Variant[],
  unmeasured: string[],
  talk: (text: string) => void,
): Promise<MeasuredProgram[]> {
  const ready: MeasuredProgram[] = [];
  runner.disk.mount('rw');
  for (const one of recorded) {
    talk(`preparing ${one.program.title}`);
    const modes: Mode[] = [];
    const outputs: string[] = [];
    const gaps = new Set<number>();
    for (const { name, steps } of modesOf(runner, one, kinds, variants, gaps)) {
      try {
        const mode = { name, steps: await steps() };
        outputs.push(tryOnce(runner, mode, one));
        if (outputs.at(-1) !== outputs[0]) throw differs(one, mode);
        modes.push(mode);
      } catch (error) {
        if (!(error instanceof WinnowError)) throw error;
        unmeasured.push(
          `${one.program.title}, ${name}: ${error.message}${error.where === undefined ? '' : ` (${error.where})`}`,
        );
        if (name === 'plain') break;
      }
    }
    const [output] = outputs;
    const { title } = one.program;
    if (output !== undefined && modes.length > 0)
      ready.push({ title, folder: one.folder, modes, gaps: [...gaps], recorded: one, output });
  }
  runner.disk.unmount();
  return ready;
}

/** Where analyses of modules are kept. */
export const analysesIn = (folder: string): string => join(folder, 'analyses');

function modesOf(
  { disk: { root }, folder }: RootRunner,
  one: Recorded,
  kinds: readonly ModeKind[],
  variants: readonly Variant[],
  gaps: Set<number>,
): { name: string; steps: () => Step[] | Promise<Step[]> }[] {
  const cache = analysesIn(folder);
  const plain: Step = { file: one.file, argv: one.argv };
  const mapped = workingSet(one.profile)
    .files.filter((file) => file.extents.some((extent) => extent.how === 'mapped'))
    .map((file) => file.path);
  return [
    { name: 'plain', steps: () => [plain] },
    ...kinds.map((kind) => ({
      name: kind.name,
      steps: async () => {
        if (kind.name === VMTOUCH.name) return [...vmtouchSteps(VMTOUCH_FILE, mapped), plain];
        const built = await buildBy(root, one, kind, cache);
        for (const gap of built.gaps) gaps.add(gap);
        return [{ file: built.launch, argv: one.argv }];
      },
    })),
    ...variants.map((variant) => ({
      name: `${PREFETCH.name} ${variant.name}`,
      steps: () => [{ file: buildVariant(root, one, variant), argv: one.argv }],
    })),
  ];
}

/**
 * Which programs start linked in the modes that are to, now that the disk is mounted anew. A mode in which none does is
 * taken out and told in `unmeasured`.
 */
export function checkLinked(
  runner: RootRunner,
  ready: readonly MeasuredProgram[],
  kinds: readonly ModeKind[],
  unmeasured: string[],
  talk: (text: string) => void,
): { readonly ready: MeasuredProgram[]; readonly linked: LinkedResult[] } {
  const shares = new Set(
    kinds.filter(({ techniques }) => techniques?.has('share') === true).map(({ name }) => name),
  );
  const linked: LinkedResult[] = [];
  if (shares.size === 0) return { ready: [...ready], linked };
  runner.disk.mount('ro');
  const checked = ready.map((program) => {
    talk(`looking whether ${program.title} starts linked`);
    const counts = program.modes
      .filter(({ name }) => shares.has(name))
      .map(({ name, steps }) => ({ name, ...countLinked(runner, steps, program.folder) }));
    const plain = new Set(counts.filter((one) => one.linked === 0).map(({ name }) => name));
    for (const name of plain) unmeasured.push(`${program.title}, ${name}: nothing starts linked`);
    if (program.recorded.program.tiny !== true) linked.push({ title: program.title, modes: counts });
    return { ...program, modes: program.modes.filter(({ name }) => !plain.has(name)) };
  });
  runner.disk.unmount();
  return { ready: checked, linked };
}

export function tryOnce(runner: RootRunner, mode: Mode, one: Recorded): string {
  const output = join(runner.folder, 'output');
  freshScratch(runner.disk.root);
  const sample = runInRoot(runner, mode.steps, one.folder, output);
  if (sample.status.kind === 'killed' || sample.status.code !== 0) {
    throw new WinnowError({
      code: 'E_BENCH_RUN',
      kind: 'environment',
      what: `it ends with ${JSON.stringify(sample.status)} in the mount: ${readFileSync(join(runner.folder, 'timed.log'), 'utf8').trim().split('\n').slice(-2).join(' | ')}`,
      next: 'a file that it needs is missing from the recorded list: record it again, or add its folder to `also`',
    });
  }
  return readFileSync(output, 'utf8');
}

export function differs(one: Recorded, mode: Mode): WinnowError {
  return new WinnowError({
    code: 'E_BENCH_OUTPUT',
    kind: 'internal',
    what: `it prints something else than the plain run`,
    where: `${one.program.title}, ${mode.name}`,
    next: 'compare with winnow verify',
  });
}
