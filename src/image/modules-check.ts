/**
 * Which modules of an image would be shown to a program that is started now: what show.c and audit.c find out at a
 * start, in words.
 */
import { lstatSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { readTrusted } from '../profile/store-files.ts';
import { hasFileCapabilities } from '../sys/capabilities.ts';
import { decodeModules } from './modules-decode.ts';
import type { ModulesTable, ShownModule } from './modules-model.ts';

const SET_ID = 0o6000;
const WRITABLE = 0o022;

export interface CheckedModule extends ShownModule {
  /** Why it keeps its original; undefined where it is shown. */
  readonly leftOut?: string;
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
  const { show, modules } = decodeModules(bytes, path);
  return {
    show,
    modules: modules.map((module) => {
      const leftOut = whyNotOriginal(module) ?? whyNotCopy(module, join(image.path, module.replacement));
      return leftOut === undefined ? module : { ...module, leftOut };
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

function whyNotCopy({ replacementSize }: ShownModule, path: string): string | undefined {
  const now = lstatSync(path, { throwIfNoEntry: false });
  if (now?.isFile() !== true || now.size !== replacementSize) return 'its copy is damaged';
  const isOwn = now.uid === 0 || now.uid === process.geteuid?.();
  return isOwn && (now.mode & WRITABLE) === 0 ? undefined : 'others could have written its copy';
}
