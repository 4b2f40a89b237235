/**
 * An image of prelinked programs: their libraries' copies as the stock loader maps them (src/share/prelink), and what must
 * hold for them to be shown.
 *
 * Problem. A copy is right in one program alone, at its address, beside the modules that it was linked with.
 * Example. inkscape: 136 copies behind the address 0x16a3_4e20_0000, `prelink-00-017` for libgtk-3.so.0.
 * Method. For each program: its modules (closure/), copies at addresses side by side from a random one on (build.ts), a
 * trial start that ends before the first constructor (trial.ts). What was found goes into prelink.bin
 * (runtime/prelink.h), which the image's audit object reads when a process begins: runtime/prelink.c tells what it checks. That
 * object lies beside the copies, so that libc's call of it is a near one (slide-object.ts).
 * Limits. Modules that are opened later are the originals. A program that is started with variables for its loader is started
 * plainly; so is everybody else's.
 */
import type { KeptProgram } from '../built.ts';
import type { StayReason } from '../prelink/model.ts';

export interface FileStamp {
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly inode: bigint;
}

/** What the loader maps, in its order; the program and the loader itself are not among them. */
export interface PrelinkedEntry extends FileStamp {
  /** As the loader comes to it. */
  readonly path: string;
  /** Undefined: the module stays as it is. */
  readonly copy:
    | {
        /** In the image's folder. */
        readonly file: string;
        readonly size: number;
        /** Address of its dynamic section. */
        readonly dynamic: number;
      }
    | undefined;
}

/** A program as prelink.bin has it. */
export interface PrelinkedProgram extends FileStamp {
  readonly area: { readonly start: number; readonly size: number };
  readonly modules: readonly PrelinkedEntry[];
}

export interface PrelinkedFigures {
  /** Libraries with a copy, and those that stay as they are. */
  readonly prelinked: number;
  readonly kept: number;
  /** Relocations of libraries: written in advance, and left. */
  readonly applied: number;
  readonly left: number;
  /** 4 KiB pages that what is left is written to. */
  readonly leftPages: number;
  /** Bytes of the copies. */
  readonly bytes: number;
}

export interface BuiltProgram extends PrelinkedProgram {
  readonly path: string;
  readonly figures: PrelinkedFigures;
  readonly left: readonly { readonly reason: StayReason; readonly count: number }[];
  /** Libraries that stay as they are, and why. */
  readonly keptModules: readonly { readonly path: string; readonly reason: string }[];
}

export interface BuiltPrelink {
  readonly programs: readonly BuiltProgram[];
  /** Those that start as ever. */
  readonly kept: readonly KeptProgram[];
}
