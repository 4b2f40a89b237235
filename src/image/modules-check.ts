/**
 * Which modules of an image would be shown to a program that is started now: what show.c and audit.c find out at a
 * start, in words.
 */
import { existsSync, lstatSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { SYSTEM_STORE } from '../profile/store.ts';
import { readTrusted } from '../profile/store-files.ts';
import { COLD_ENDING } from '../select/cold-layout.ts';
import { hasFileCapabilities } from '../sys/capabilities.ts';
import { decodeModules } from './modules-decode.ts';
import type { ModulesTable, ShownModule } from './modules-model.ts';
import { whyNotStore } from './store-check.ts';

const SET_ID = 0o6000;
const WRITABLE = 0o022;
const OTHERS_SEARCH = 0o001;

export interface CheckedModule extends ShownModule {
  /** Why it keeps its original; undefined where it is shown. */
  readonly leftOut?: string;
  /** Why a program that opens it would end (E_COLD_STORE): its store is missing or damaged. */
  readonly fails?: string;
}

export interface CheckedModules {
  readonly show: ModulesTable['show'];
  readonly modules: readonly CheckedModule[];
}

/**
 * Undefined where the image shows no modules.
 * @throws WinnowError E_MODULES_…, E_STORE_…
 */
export function checkModules(image: { readonly path: string }): CheckedModules | undefined {
  const path = join(image.path, 'modules.bin');
  const bytes = readTrusted(path);
  if (bytes === undefined) return undefined;
  const { show, cold, modules } = decodeModules(bytes, path);
  const around = { folder: image.path, notMounted: whyNotMounted(image.path) };
  return {
    show,
    modules: modules.map((module) => {
      const copy = join(image.path, module.replacement);
      const leftOut = whyNotOriginal(module) ?? whyNotCopy(module, copy) ?? whyNotLinked(module, around);
      if (leftOut !== undefined) return { ...module, leftOut };
      const fails =
        cold === 'file' ? undefined : whyNotStore(`${copy}${COLD_ENDING}`, module.replacementSize);
      return fails === undefined ? module : { ...module, fails: `its store of unused code ${fails}` };
    }),
  };
}

function whyNotOriginal({ path, identity, role }: ShownModule): string | undefined {
  const now = statSync(path, { bigint: true, throwIfNoEntry: false });
  if (now?.isFile() !== true) return 'the original is gone';
  const isSame =
    now.ino === identity.inode && now.size === BigInt(identity.size) && now.mtimeNs === identity.mtimeNs;
  if (!isSame) return 'the original has changed';
  const hasRights = (Number(now.mode) & SET_ID) !== 0 || (role === 'program' && hasFileCapabilities(path));
  return hasRights ? 'the original gives its rights to who runs it' : undefined;
}

/** What linked-programs.c asks of a program whose copy names a loader in the image. */
function whyNotLinked(
  { linked, path, replacement }: ShownModule,
  { folder, notMounted }: { readonly folder: string; readonly notMounted: string | undefined },
): string | undefined {
  if (linked === undefined) return undefined;
  if (!existsSync(join(folder, `${replacement}.restore`))) return 'the launcher that its copy names is gone';
  if (notMounted === undefined) return undefined;
  const isDirect = linked === 'by-any-name' && existsSync(join(folder, 'direct', basename(path)));
  return isDirect ? undefined : notMounted;
}

function whyNotMounted(folder: string): string | undefined {
  if (process.geteuid?.() !== 0) return 'its copy must be mounted over it, which root alone can do';
  if (isReachable(folder)) return undefined;
  return `its copy must be mounted from a folder that everybody can search, as in --store ${SYSTEM_STORE}`;
}

/** Whether others may search the folder and all above it. */
function isReachable(path: string): boolean {
  const here = realpathSync(path);
  const { mode } = statSync(here);
  return (mode & OTHERS_SEARCH) !== 0 && (here === '/' || isReachable(dirname(here)));
}

function whyNotCopy({ replacementSize }: ShownModule, path: string): string | undefined {
  const now = lstatSync(path, { throwIfNoEntry: false });
  if (now?.isFile() !== true || now.size !== replacementSize) return 'its copy is damaged';
  const isOwn = now.uid === 0 || now.uid === process.geteuid?.();
  return isOwn && (now.mode & WRITABLE) === 0 ? undefined : 'others could have written its copy';
}
