/**
 * Select: a process maps the code that it runs, packed, and leaves the rest alone.
 *
 * Problem: used and unused functions share pages. A small PETSc program maps 27,257 pages of code and executes
 * functions on 2,050 of them; copied side by side they fit on 930 (docs/measurements.md).
 *
 * Example: of `libfoo.so` with the functions a, b and c on three pages, the recordings saw a and c. The copy of
 * the library in the image has them side by side on a page of its own, and whatever led to a and c leads there;
 * b stays where it was and is paged if it is ever called.
 *
 * Method: for each module of which the profile holds functions: is the file still the one that was recorded; what is
 * its code (src/rewrite, cached); which units of it are hot (`hot-units.ts`). `build.ts` has the modules rewritten
 * into the image, and the launcher shows them to the program in place of the originals.
 *
 * Limits: the dynamic loader stays as it is: the kernel maps it before anything can stand in its place. So do
 * programs that get rights from their file (set-uid, capabilities), which a copy would not have, and modules
 * that src/rewrite refuses; each with its reason. Code that the recordings never saw runs from where it was.
 */
import { accessSync, constants, realpathSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { errnoOf, WinnowError } from '../base/errors.ts';
import type { ElfImage } from '../elf/image.ts';
import { probeProgram } from '../elf/probe.ts';
import { readElfFile } from '../elf/read.ts';
import { commonPages } from '../profile/extents.ts';
import { identifyFile, sameContent, sameFile } from '../profile/identity.ts';
import { insideRoot } from '../profile/inside-root.ts';
import type { FileIdentity, Profile } from '../profile/model.ts';
import type { Kept, ModuleAnalysis, Unit } from '../rewrite/model.ts';
import { hasFileCapabilities } from '../sys/capabilities.ts';
import { codeExtents, pagesOfUnits, textPages } from './code-pages.ts';
import { settleFixedAddresses } from './fixed-addresses.ts';
import { chooseHotUnits } from './hot-units.ts';
import type { Cold, KeptModule, ModuleUse, OnMiss, PlannedModule } from './model.ts';

export interface SelectOptions {
  readonly cold: Cold;
  /** Of denied code. Default: abort. */
  readonly onMiss?: OnMiss;
  /** Copy every unit, used or not. */
  readonly all?: boolean;
  /** Folder of a copied root file system in which the modules are looked up, as `rootFolder` gives it. */
  readonly root?: string;
}

/** What a module's code is: from the cache, or anew. */
export type Analyse = (image: ElfImage) => ModuleAnalysis | Kept;

/** Why a module stays as it is, where src/rewrite has not been asked. Stable. */
export const KEPT = {
  missing: 'not there any more',
  changed: 'changed since the recording',
  unreadable: 'may not be read by you',
  loader: 'the dynamic loader: the kernel maps it before anything can stand in its place',
  privileged: 'gets rights from its file, which a copy would not have',
  notElf: 'no ELF file that can be read',
  unshown: 'a program: it would have to be mounted, and stored code is shown by the audit object alone',
} as const;

/** Why used code of a module that can be rewritten is left alone. */
const KEPT_IN_PLACE = 'called by an address that must stay, or on one page with such code';

/** A module that can be rewritten, with what that takes. */
export interface Examined {
  readonly kind: 'planned';
  readonly module: PlannedModule;
  readonly image: ElfImage;
  readonly analysis: ModuleAnalysis;
  /** Units that are used and must not move. */
  readonly cold: readonly Unit[];
}

export interface NotExamined {
  readonly kind: 'kept';
  readonly module: KeptModule;
}

/** What the modules of one profile have in common. */
export interface SelectContext extends SelectOptions {
  /** Paths of dynamic loaders. */
  readonly loaders: readonly string[];
  /** Paths of files that were executed. */
  readonly programs: readonly string[];
}

export const contextOf = (profile: Profile, options: SelectOptions): SelectContext => ({
  ...options,
  loaders: loadersOf(profile, options.root),
  programs: programsOf(profile),
});

const programsOf = ({ runs }: Profile): string[] => [
  ...new Set(
    runs.flatMap(({ command, processes }) => [command.program, ...processes.map(({ program }) => program)]),
  ),
];

/** The loaders that the programs of a profile name. */
function loadersOf(profile: Profile, root: string | undefined): string[] {
  const found = new Set<string>();
  for (const program of programsOf(profile)) {
    try {
      const probed = probeProgram(hostPath(program, root));
      if (probed.kind !== 'elf' || probed.interp === undefined) continue;
      found.add(root === undefined ? realpathSync(probed.interp) : insideRoot(root, probed.interp));
    } catch (error) {
      // A program that is gone names no loader; what else is wrong with it is told elsewhere.
      if (errnoOf(error) === undefined && !(error instanceof WinnowError)) throw error;
    }
  }
  return [...found];
}

export const hostPath = (path: string, root: string | undefined): string =>
  root === undefined ? path : insideRoot(root, path);

/** One module: whether it can be rewritten, and what of it is hot. */
export function examineModule(
  use: ModuleUse,
  context: SelectContext,
  analyse: Analyse,
): Examined | NotExamined {
  const here = hostPath(use.path, context.root);
  const file = lookAt(here, use.identity);
  if (typeof file === 'string') return keep(use, file);
  const image = readImage(here);
  if (image === undefined) return keep(use, KEPT.notElf);
  if (context.loaders.includes(here) || isLoader(image)) return keep(use, KEPT.loader, image);
  if (file.isPrivileged) return keep(use, KEPT.privileged, image);
  if (context.cold === 'store' && context.programs.includes(use.path)) return keep(use, KEPT.unshown, image);
  const analysis = analyse(image);
  if ('kind' in analysis) return keep(use, analysis.reason, image);
  const chosen = chooseHotUnits(image, analysis, use.entered);
  const { moved, inPlace } = settleFixedAddresses(image, analysis, chosen.units);
  const cold = [...chosen.cold, ...inPlace];
  const stayed = new Map([...chosen.stayed, [KEPT_IN_PLACE, inPlace.length] as const]);
  const movable = analysis.units.filter(({ kept }) => kept === undefined);
  const hot = context.all === true ? movable : moved;
  const { size, mtimeNs, inode } = file;
  const module = {
    path: use.path,
    size,
    mtimeNs,
    inode,
    hot: hot.map(({ start }) => start),
    stayed: [...stayed].flatMap(([reason, count]) => (count > 0 ? [{ reason, count }] : [])),
    textPages: textPages(image),
    touchedPages: commonPages(codeExtents(image), use.touched),
    usedPages: pagesOfUnits([...moved, ...cold]),
    functions: analysis.units.filter(isFunction).length,
    usedFunctions: [...moved, ...cold].filter(isFunction).length,
  };
  return { kind: 'planned', module, image, analysis, cold };
}

/** Stubs of a PLT are part of no count: they belong to their callers. Of a function that is cut, its first part counts. */
const isFunction = ({ kind }: Unit): boolean => kind !== 'plt' && kind !== 'part';

function keep({ path }: ModuleUse, reason: string, image?: ElfImage): NotExamined {
  return {
    kind: 'kept',
    module: { path, reason, textPages: image === undefined ? 0 : textPages(image) },
  };
}

const isLoader = (image: ElfImage): boolean =>
  /^ld-(?:linux|musl)-x86[-_]64\.so/.test(image.soname ?? basename(image.path));

interface Found {
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly inode: bigint;
  readonly isPrivileged: boolean;
}

/** The file as it is now, or why it is not the one that was recorded. */
function lookAt(path: string, recorded: FileIdentity): Found | string {
  try {
    const stat = statSync(path, { bigint: true });
    const now = { size: Number(stat.size), mtimeNs: stat.mtimeNs, inode: stat.ino };
    if (!sameFile(now, recorded) && !sameContent(identifyFile(path), recorded)) return KEPT.changed;
    accessSync(path, constants.R_OK);
    return { ...now, isPrivileged: (stat.mode & 0o6000n) !== 0n || hasFileCapabilities(path) };
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT' || errno === 'ENOTDIR' || errno === 'ELOOP') return KEPT.missing;
    if (errno === 'EACCES' || errno === 'EPERM') return KEPT.unreadable;
    // A folder or a device stands in its place.
    if (error instanceof WinnowError) return KEPT.changed;
    throw error;
  }
}

function readImage(path: string): ElfImage | undefined {
  try {
    return readElfFile(path);
  } catch (error) {
    if (error instanceof WinnowError) return undefined;
    throw error;
  }
}
