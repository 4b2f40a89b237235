/** The modules that an image shows in place of others, as modules.bin holds them. */
import type { COLD_MODES, MODULE_ROLES, SHOW_MODES } from './modules-layout.ts';

/**
 * How a program is shown them. `auto`: `mounts`, else `audit`, else `plain`, which is the program with its
 * originals. The others: that way, else `plain`.
 */
export type ShowMode = (typeof SHOW_MODES)[number];

export type ColdMode = (typeof COLD_MODES)[number];

export interface ShownModule {
  /** The original: absolute, links resolved, as the program sees it. */
  readonly path: string;
  /** The original as the replacement was made from it; it stays itself where it has become another. */
  readonly identity: { readonly size: number; readonly mtimeNs: bigint; readonly inode: bigint };
  /** Name of the file in the image's folder, and its size in bytes. */
  readonly replacement: string;
  readonly replacementSize: number;
  readonly role: (typeof MODULE_ROLES)[number];
  /** It asks for other files by its own folder (`mentionsOrigin`): the audit object takes more care of it. */
  readonly usesOrigin: boolean;
  /**
   * A program whose replacement names a loader of the image (src/share): it can be shown where that can be found. `by-any-name`: it
   * never asks for its own path, so the replacement can be executed itself, too.
   */
  readonly linked?: 'by-its-name' | 'by-any-name';
}

export interface ModulesTable {
  readonly show: ShowMode;
  /** What becomes of the modules' unused code. */
  readonly cold: ColdMode;
  readonly modules: readonly ShownModule[];
}
