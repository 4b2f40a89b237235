/** Images for a limited setting, built as a person would there: on the device while the limits hold for the builder too. */
import { WinnowError } from '../../src/base/errors.ts';
import type { Mode } from '../../src/bench/model.ts';
import { buildBy } from './image.ts';
import type { ModeKind } from './modes.ts';
import type { RootRunner } from './root-run.ts';
import { analysesIn, differs, type MeasuredProgram, tryOnce } from './stage.ts';
import type { Setting, Throttle } from './throttle.ts';

export interface Rebuilding {
  readonly kinds: readonly ModeKind[];
  /** What is told of modes that fail. */
  readonly unmeasured: string[];
  readonly talk: (text: string) => void;
}

/** The programs with images of their own in the modes that fetch; the other modes as they are. */
export async function rebuildLimited(
  runner: RootRunner,
  programs: readonly MeasuredProgram[],
  setting: Setting,
  throttle: Throttle,
  { kinds, unmeasured, talk }: Rebuilding,
): Promise<MeasuredProgram[]> {
  const { disk, folder } = runner;
  const fetching = new Map(
    kinds.filter(({ techniques }) => techniques?.has('prefetch') === true).map((kind) => [kind.name, kind]),
  );
  const rebuilt: MeasuredProgram[] = [];
  throttle.set(setting);
  disk.mount('rw');
  for (const program of programs) {
    talk(`${setting.title}: building ${program.title}`);
    const gaps = new Set<number>();
    const modes: Mode[] = [];
    for (const mode of program.modes) {
      const kind = fetching.get(mode.name);
      if (kind === undefined) {
        modes.push(mode);
        continue;
      }
      try {
        const { recorded: one, output } = program;
        const built = await throttle.inside(() =>
          buildBy(disk.root, one, kind, analysesIn(folder), `-${setting.name}`),
        );
        const now = { name: mode.name, steps: [{ file: built.launch, argv: one.argv }] };
        if (tryOnce(runner, now, one) !== output) throw differs(one, now);
        for (const gap of built.gaps) gaps.add(gap);
        modes.push(now);
      } catch (error) {
        if (!(error instanceof WinnowError)) throw error;
        unmeasured.push(`${setting.title}, ${program.title}, ${mode.name}: ${error.message}`);
      }
    }
    rebuilt.push({ ...program, modes, gaps: [...gaps] });
  }
  disk.unmount();
  return rebuilt;
}
