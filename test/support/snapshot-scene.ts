/** Programs that are linked for tests, and a further run of their loader to judge the result by. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  ANCHORS,
  type FixUp,
  type LinkedMapping,
  type LinkedState,
  type NotLinked,
} from '../../src/share/model.ts';
import { type AnchorBases, basesOf } from '../../src/share/snapshot/anchors.ts';
import type { RunFacts } from '../../src/share/snapshot/causes.ts';
import { circumstancesOf } from '../../src/share/snapshot/circumstances.ts';
import { requireEligible } from '../../src/share/snapshot/eligible.ts';
import { isLinked, linkProgram } from '../../src/share/snapshot/link.ts';
import { runLoader, type StoppedLoader } from '../../src/share/snapshot/loader-run.ts';
import { factsOf, readApicIds } from '../../src/share/snapshot/run-facts.ts';

/** A temporary folder with C programs. */
export class SnapshotScene {
  readonly folder = mkdtempSync(join(tmpdir(), 'winnow-snapshot-'));

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** Compiles `source` to `name`; further arguments as gcc takes them, in the folder. */
  compile(name: string, source: string, ...args: readonly string[]): string {
    writeFileSync(this.path(`${name}.c`), source);
    execFileSync('gcc', ['-O1', '-o', name, `${name}.c`, ...args], { cwd: this.folder, stdio: 'pipe' });
    return this.path(name);
  }

  library(name: string, source: string, ...args: readonly string[]): string {
    return this.compile(name, source, '-shared', '-fPIC', ...args);
  }

  /** A program that finds its libraries in the folder. */
  program(name: string, source: string, ...args: readonly string[]): string {
    return this.compile(name, source, ...args, `-Wl,-rpath,${this.folder}`);
  }
}

/** @throws Error with the reason where there is no image. */
export function linked(path: string): LinkedState {
  const result = linkProgram(path);
  if (!isLinked(result)) throw new Error(`${path}: ${result.reason}: ${result.detail ?? ''}`);
  return result;
}

/** @throws Error where the program was linked. */
export function refused(path: string): NotLinked {
  const result = linkProgram(path);
  if (isLinked(result)) throw new Error(`${path} was linked`);
  return result;
}

/** A word that the image would have otherwise than a run of the loader. */
export interface Wrong {
  readonly place: string;
  readonly image: string;
  readonly process: string;
}

/**
 * Runs the loader once more, places the state at the addresses of that run, and compares every byte of every mapping with
 * the process. Fix-ups are judged by what that run's kernel said.
 */
export function comparedWithFreshRun(state: LinkedState): {
  readonly bytes: number;
  readonly wrong: readonly Wrong[];
} {
  const run = runLoader(
    state.program,
    circumstancesOf(state.program, 5, state.libraryPath),
    state.extents.arena.align,
  );
  try {
    const bases = basesOf(run, requireEligible(state.program));
    const facts = factsOf(run, readApicIds());
    return new Judge(state, run, bases, facts).compare();
  } finally {
    run.end();
  }
}

class Judge {
  readonly #state: LinkedState;
  readonly #run: StoppedLoader;
  readonly #bases: AnchorBases;
  readonly #facts: RunFacts;

  constructor(state: LinkedState, run: StoppedLoader, bases: AnchorBases, facts: RunFacts) {
    this.#state = state;
    this.#run = run;
    this.#bases = bases;
    this.#facts = facts;
  }

  compare(): { bytes: number; wrong: Wrong[] } {
    const wrong: Wrong[] = [];
    let bytes = 0;
    for (const mapping of this.#state.mappings) {
      const { anchor, offset } = mapping.place;
      const image = this.#imageOf(mapping);
      const memory = this.#memoryOf(mapping);
      this.#forgetLeftovers(mapping, image, memory);
      bytes += mapping.size;
      for (let at = 0; at < mapping.size; at += 8) {
        if (image.compare(memory, at, at + 8, at, at + 8) === 0) continue;
        const place = `${anchor}+0x${(offset + at).toString(16)}`;
        wrong.push({
          place,
          image: image.readBigUInt64LE(at).toString(16),
          process: memory.readBigUInt64LE(at).toString(16),
        });
      }
    }
    return { bytes, wrong: wrong.slice(0, 20) };
  }

  /** Zeros for pages behind the end of a file, which nobody can read. */
  #memoryOf({ place, size, source }: LinkedMapping): Buffer {
    const memory = Buffer.alloc(size);
    const file = source === undefined ? undefined : this.#state.files[source.file];
    const end = file === undefined ? size : file.identity.size - (source?.offset ?? 0);
    const readable = Math.min(size, Math.ceil(Math.max(end, 0) / 4096) * 4096);
    if (readable > 0) this.#run.memory.read(this.#bases[place.anchor] + place.offset, readable).copy(memory);
    return memory;
  }

  #imageOf({ place, size, source, dirty }: LinkedMapping): Buffer {
    const image = Buffer.alloc(size);
    if (source !== undefined) {
      const path = this.#state.files[source.file]?.path ?? '';
      readFileSync(path).copy(image, 0, source.offset, source.offset + size);
    }
    for (const { offset, bytes } of dirty) bytes.copy(image, offset);
    const { anchor, offset } = place;
    for (const { standsIn, at, into } of this.#state.pointers) {
      if (standsIn !== anchor) continue;
      at.forEach((word, index) => {
        if (word < offset || word >= offset + size) return;
        const target = ANCHORS[into[index] ?? -1];
        if (target === undefined) throw new Error('a pointer into no anchor');
        const value = image.readBigInt64LE(word - offset) + BigInt(this.#bases[target]);
        image.writeBigInt64LE(value, word - offset);
      });
    }
    for (const fixUp of this.#state.fixUps) {
      const at = fixUp.at.offset - offset;
      if (fixUp.at.anchor === anchor && at >= 0 && at < size) this.#fixUp(fixUp, image, at);
    }
    return image;
  }

  #fixUp({ kind, size }: FixUp, image: Buffer, at: number): void {
    if (kind === 'cpu-number') {
      // The processor that the run was bound to.
      image.writeUInt8(this.#facts.apicId ?? image.readUInt8(at + 3), at + 3);
    } else if (size === 4) image.writeUInt32LE(Number(this.#valueOf(kind)), at);
    else image.writeBigUInt64LE(this.#valueOf(kind), at);
  }

  #valueOf(kind: FixUp['kind']): bigint {
    const facts = this.#facts;
    switch (kind) {
      case 'stack-guard':
        return facts.randomBytes.readBigUInt64LE(0) & ~0xffn;
      case 'pointer-guard':
        return facts.randomBytes.readBigUInt64LE(8);
      case 'stack-start':
        return BigInt(facts.stackStart);
      case 'cpu-number':
        return BigInt(facts.apicId ?? 0);
      case 'thread-stack':
        return ((facts.stackLimit + 4095n) / 4096n) * 4096n;
      default:
        return BigInt(facts[kind]);
    }
  }

  /** Words that keep the value of the run that the image is of. */
  #forgetLeftovers({ place, size }: LinkedMapping, image: Buffer, memory: Buffer): void {
    for (const { at } of this.#state.leftovers) {
      const from = at.offset - place.offset;
      if (at.anchor !== place.anchor || from < 0 || from >= size) continue;
      const length = at.offset % 8 === 0 ? 8 : 4;
      image.fill(0, from, from + length);
      memory.fill(0, from, from + length);
    }
  }
}

export const pagesOf = (state: LinkedState): number =>
  state.mappings.reduce((sum, { dirty }) => sum + dirty.length, 0);
