/** What an image's manifest says of it. */
import type { PlannedPrefetch } from '../prefetch/model.ts';
import type { Command, Profile } from '../profile/model.ts';
import type { BuiltSelect } from '../select/model.ts';
import type { BuiltShare } from '../share/built.ts';
import type { BuiltPrelink } from '../share/prelinked/model.ts';
import type { Launcher } from './launcher.ts';
import {
  type ImageManifest,
  MANIFEST_VERSION,
  MANIFEST_VERSION_PLAIN,
  MANIFEST_VERSION_UNLINKED,
  MANIFEST_VERSION_UNPRELINKED,
  type PrelinkManifest,
  type SelectManifest,
  type ShareManifest,
} from './manifest.ts';
import { PLAN_VERSION } from './plan-layout.ts';

export interface ImageParts {
  readonly name: string;
  readonly profile: Profile;
  readonly command: Command;
  readonly launcher: Launcher;
  readonly prefetch: PlannedPrefetch;
  readonly prefetches: boolean;
  readonly root: string | undefined;
  readonly select?: BuiltSelect;
  readonly share?: BuiltShare;
  readonly prelink?: BuiltPrelink;
}

export function describe(parts: ImageParts): ImageManifest {
  const { name, profile, command, launcher, prefetch, root, select, share, prelink } = parts;
  return {
    winnow: 'image',
    version: versionOf(parts),
    name,
    builtAt: Date.now(),
    command: { program: command.program, argv: [...command.argv], cwd: command.cwd },
    profile: { name: profile.name, runs: profile.runs.map(({ id }) => id) },
    techniques: [
      ...(parts.prefetches ? ['prefetch'] : []),
      ...(select === undefined ? [] : ['select']),
      ...(share === undefined && prelink === undefined ? [] : ['share']),
    ],
    versions: { plan: PLAN_VERSION, launcher: launcher.sha256 },
    ...(root === undefined ? {} : { root }),
    inputs: prefetch.plan.files.map(({ path, size, mtimeNs, inode }) => ({
      path,
      size,
      mtimeNs: String(mtimeNs),
      inode: String(inode),
    })),
    prefetch: {
      figures: prefetch.figures,
      devices: [...prefetch.devices],
      skipped: [...prefetch.skipped],
    },
    ...(select === undefined ? {} : { select: describeSelect(select) }),
    ...(share === undefined ? {} : { share: describeShare(share) }),
    ...(prelink === undefined ? {} : { prelink: describePrelink(prelink) }),
  };
}

function versionOf({ select, share, prelink }: ImageParts): ImageManifest['version'] {
  if (prelink !== undefined) return MANIFEST_VERSION;
  if (share !== undefined) return MANIFEST_VERSION_UNPRELINKED;
  const isPlain = select === undefined || (select.cold !== 'store' && select.onMiss !== 'log');
  return isPlain ? MANIFEST_VERSION_PLAIN : MANIFEST_VERSION_UNLINKED;
}

function describeShare({ programs, kept }: BuiltShare): ShareManifest {
  return {
    programs: programs.map((program) => ({
      path: program.path,
      size: program.size,
      mtimeNs: String(program.mtimeNs),
      inode: String(program.inode),
      copy: program.copy,
      copySize: program.copySize,
      linked: program.linked,
      restore: program.restore,
      ...(program.asksForItself === undefined ? {} : { asksForItself: program.asksForItself }),
      ...(program.libraryPath === undefined ? {} : { libraryPath: program.libraryPath }),
      ...(program.joined === undefined ? {} : { joined: program.joined }),
      ...(program.taken === undefined ? {} : { taken: program.taken }),
      ...(program.slide === undefined ? {} : { slide: program.slide }),
      figures: {
        ...program.figures,
        fixUps: [...program.figures.fixUps],
        leftovers: [...program.figures.leftovers],
      },
    })),
    kept: [...kept],
  };
}

function describePrelink({ programs, kept }: BuiltPrelink): PrelinkManifest {
  return {
    programs: programs.map(({ path, size, mtimeNs, inode, figures, left, keptModules }) => ({
      path,
      size,
      mtimeNs: String(mtimeNs),
      inode: String(inode),
      figures,
      left: [...left],
      keptModules: [...keptModules],
    })),
    kept: [...kept],
  };
}

export function describeSelect({ cold, onMiss, modules, kept }: BuiltSelect): SelectManifest {
  return {
    cold,
    ...(onMiss === undefined || onMiss === 'abort' ? {} : { onMiss }),
    modules: modules.map(({ path, size, mtimeNs, inode, file, fileSize, figures, stayed, ...more }) => ({
      path,
      size,
      mtimeNs: String(mtimeNs),
      inode: String(inode),
      file,
      fileSize,
      textPages: more.textPages,
      touchedPages: more.touchedPages,
      usedPages: more.usedPages,
      functions: more.functions,
      usedFunctions: more.usedFunctions,
      figures,
      stayedPages: more.stayedPages,
      ...(more.stored === undefined ? {} : { stored: more.stored }),
      stayed: [...stayed],
    })),
    kept: kept.map(({ code, ...module }) => (code === undefined ? module : { ...module, code })),
  };
}
