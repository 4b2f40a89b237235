/**
 * The family book of a light recording: which program images there were, from sightings alone.
 *
 * Problem: nobody tells of forks, nor whether an exec succeeded. Example: gcc's pid is seen at its exec,
 * then its vforked child's pid at an exec and again at its exit, then gcc's at its exit.
 * Method: a process that is seen for the first time goes on with its parent's image. An exec is believed
 * to succeed: a new image stands ready from then on, so that it comes before its children; the next
 * sighting of the process says whether it is one. Images are told apart by the program and by where the
 * kernel put vDSO and stack, which is another place after each exec.
 * Limits: a process that is never seen (killed before its first exec) is not in the book. Where addresses
 * are not randomised, a program that executes itself stays one image. A child whose parent has ended
 * before it was seen has no parent.
 */
import type { Pid } from '../base/brands.ts';
import type { Mapping } from '../sys/maps.ts';
import { Family } from './family.ts';
import { type Executed, NOT_KNOWN } from './proc.ts';
import type { Sighting } from './sightings.ts';
import type { Image } from './tracees.ts';

/** What is known of a process. */
interface Entry {
  image: Image;
  /** Of its memory; undefined while it borrows its parent's. */
  place: string | undefined;
  /** The image before an exec that has not been confirmed yet. */
  before: { readonly image: Image; readonly place: string | undefined } | undefined;
}

export class LightFamily {
  readonly #family = new Family();
  readonly #entries = new Map<Pid, Entry>();
  readonly #root: Pid;
  /** The stub came to its own end: it could not execute the program. */
  notStarted = false;

  /** @param root the stub's process id. */
  constructor(root: Pid) {
    this.#root = root;
    // An image without a program is left out of the run.
    const image = this.#family.bearImage(root, undefined, NOT_KNOWN);
    this.#entries.set(root, { image, place: undefined, before: undefined });
  }

  /** In the order of their start. */
  get images(): readonly Image[] {
    return this.#family.images;
  }

  /** Processes that have not ended as far as is known, with their images. */
  get living(): ReadonlyMap<Pid, Image> {
    const living = new Map<Pid, Image>();
    for (const [pid, { image }] of this.#entries) if (image.ended === undefined) living.set(pid, image);
    return living;
  }

  /** Notes what was seen and returns the image it was seen of. */
  note(seen: Sighting): Image {
    const place = placeOf(seen.program, seen.mappings);
    const entry = this.#entryOf(seen, place);
    const { image } = entry;
    // The stub's own image stays without a program.
    if (image.serial > 0) {
      image.program = seen.program;
      image.argv = seen.argv;
      image.libraryPath = seen.libraryPath;
    }
    entry.place = place;
    if (seen.call === 'exec') {
      entry.before = { image, place };
      entry.image = this.#family.bearImage(seen.process, image, NOT_KNOWN);
    } else if (seen.call === 'exit') {
      image.ended = { kind: 'exited', code: seen.status };
      if (image.serial === 0) this.notStarted = true;
    } else if (seen.call === 'kill') {
      image.ended = { kind: 'killed', signal: seen.status };
    }
    return image;
  }

  /** A process found in another way. */
  noteLiving(pid: Pid, parent: Pid, { program, argv, libraryPath }: Executed): Image {
    const entry = this.#entries.get(pid) ?? this.#bear(pid, parent);
    if (entry.before !== undefined) entry.before.image.ended = { kind: 'execed' };
    entry.image.program = program;
    entry.image.argv = argv;
    entry.image.libraryPath = libraryPath;
    return entry.image;
  }

  /** How the first process ended, which only its parent is told; gives its image a name if it had none. */
  noteRootEnd(ended: Image['ended'], program: string, argv: readonly string[]): void {
    const entry = this.#entries.get(this.#root);
    if (entry === undefined || entry.image.serial === 0) return;
    if (entry.before !== undefined) entry.before.image.ended = { kind: 'execed' };
    if (entry.image.program === '') {
      entry.image.program = program;
      entry.image.argv = argv;
    }
    entry.image.ended = ended;
  }

  #entryOf(seen: Sighting, place: string | undefined): Entry {
    const known = this.#entries.get(seen.process);
    if (known === undefined) return this.#bear(seen.process, seen.parent);
    const { before } = known;
    if (before !== undefined) {
      known.before = undefined;
      // Another memory: the exec has succeeded. The image that stood ready for it is the one.
      if (place !== before.place) before.image.ended = { kind: 'execed' };
      else known.image = before.image;
      return known;
    }
    if (known.place === undefined || known.place === place) return known;
    // The number went to another process.
    return this.#bear(seen.process, seen.parent);
  }

  #bear(pid: Pid, parent: Pid): Entry {
    const origin = this.#entries.get(parent)?.image;
    const image = this.#family.bearImage(pid, origin, origin ?? NOT_KNOWN);
    const entry = { image, place: undefined, before: undefined };
    this.#entries.set(pid, entry);
    return entry;
  }
}

/** Where the kernel put things: another text for each image of a process. */
function placeOf(program: string, mappings: readonly Mapping[]): string | undefined {
  if (mappings.length === 0) return undefined;
  const fixed = mappings.filter(({ path }) => path === '[vdso]' || path === '[stack]');
  return [program, ...fixed.map(({ path, start, end }) => (path === '[vdso]' ? start : end))].join(' ');
}
