/** The ways of starting a program in the mount: plainly, from images by some of the techniques, and with the peer. */
import { TECHNIQUES, type Technique } from '../../src/cli/build-techniques.ts';

export interface ModeKind {
  readonly name: string;
  /** Undefined: no image. */
  readonly techniques?: ReadonlySet<Technique>;
}

const imageBy = (...techniques: readonly Technique[]): ModeKind => ({
  name: techniques.join('+'),
  techniques: new Set(techniques),
});

export const PREFETCH = imageBy('prefetch');
export const VMTOUCH: ModeKind = { name: 'vmtouch' };
/** Everything at once. */
export const TOGETHER = imageBy(...TECHNIQUES);

export const MODE_KINDS: readonly ModeKind[] = [
  PREFETCH,
  imageBy('select'),
  imageBy('share'),
  imageBy('prefetch', 'select'),
  imageBy('prefetch', 'share'),
  TOGETHER,
  VMTOUCH,
];

/** What is measured where nothing is said. */
export const USUAL_MODES: readonly ModeKind[] = [PREFETCH, imageBy('prefetch', 'select'), VMTOUCH];
