/** What an image's manifest says of it. */
import type { PlannedPrefetch } from '../prefetch/model.ts';
import type { Command, Profile } from '../profile/model.ts';
import type { BuiltSelect } from '../select/model.ts';
import type { Launcher } from './launcher.ts';
import {
  type ImageManifest,
  MANIFEST_VERSION,
  MANIFEST_VERSION_PLAIN,
  type SelectManifest,
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
  readonly select: BuiltSelect | undefined;
}

export function describe(parts: ImageParts): ImageManifest {
  const { name, profile, command, launcher, prefetch, root, select } = parts;
  return {
    winnow: 'image',
    version: needsNewest(select) ? MANIFEST_VERSION : MANIFEST_VERSION_PLAIN,
    name,
    builtAt: Date.now(),
    command: { program: command.program, argv: [...command.argv], cwd: command.cwd },
    profile: { name: profile.name, runs: profile.runs.map(({ id }) => id) },
    techniques: [...(parts.prefetches ? ['prefetch'] : []), ...(select === undefined ? [] : ['select'])],
    versions: { plan: PLAN_VERSION, launcher: launcher.sha256 },
    ...(root === undefined ? {} : { root }),
    inputs: prefetch.plan.files.map(({ path, size, mtimeNs, inode }) => ({
      path,
      size,
      mtimeNs: String(mtimeNs),
      inode: String(inode),
    })),
    prefetch: { figures: prefetch.figures, skipped: [...prefetch.skipped] },
    ...(select === undefined ? {} : { select: describeSelect(select) }),
  };
}

const needsNewest = (select: BuiltSelect | undefined): boolean =>
  select !== undefined && (select.cold === 'store' || select.onMiss === 'log');

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
