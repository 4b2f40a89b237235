/** Writes modules.bin (runtime/modules.h). */

import { Strings, writeTime } from '../base/records.ts';
import {
  COLD_MODES,
  MODULE_BY_ANY_NAME,
  MODULE_LINKED,
  MODULE_ROLES,
  MODULE_USES_ORIGIN,
  MODULES_ENTRY,
  MODULES_HEADER,
  MODULES_MAGIC,
  MODULES_MAX,
  MODULES_SIZE_MAX,
  MODULES_VERSION,
  MODULES_VERSION_PLAIN,
  SHOW_MODES,
} from './modules-layout.ts';
import type { ColdMode, ModulesTable, ShowMode, ShownModule } from './modules-model.ts';
import { ENVELOPE, planChecksum } from './plan-layout.ts';

/** What the launcher could not follow is refused here. */
function checkModules(modules: readonly ShownModule[]): void {
  if (modules.length > MODULES_MAX) throw new RangeError('too many modules');
  if (new Set(modules.map(({ path }) => path)).size !== modules.length) {
    throw new RangeError('a module is there twice');
  }
  for (const { path, replacement } of modules) {
    if (!path.startsWith('/')) throw new RangeError(`not absolute: ${path}`);
    if (replacement === '' || replacement.includes('/')) throw new RangeError(`no file name: ${replacement}`);
  }
}

/**
 * The bytes of modules.bin.
 * @throws RangeError where the modules break a limit of the format.
 */
export function encodeModules({ show, cold, modules }: ModulesTable): Uint8Array {
  checkModules(modules);
  const strings = new Strings();
  const entries = Buffer.alloc(modules.length * MODULES_ENTRY.size);
  const sorted = [...modules].sort((a, b) => compare(a.identity.inode, b.identity.inode));
  sorted.forEach((module, index) => {
    writeEntry(entries.subarray(index * MODULES_ENTRY.size), module, strings);
  });
  const texts = strings.bytes();
  const total = MODULES_HEADER.size + entries.length + texts.length;
  if (total > MODULES_SIZE_MAX) throw new RangeError('table of modules too large');
  const header = Buffer.alloc(MODULES_HEADER.size);
  header.writeBigUInt64LE(MODULES_MAGIC, ENVELOPE.magic);
  const isPlain = modules.every(({ linked }) => linked === undefined);
  header.writeUInt32LE(isPlain ? MODULES_VERSION_PLAIN : MODULES_VERSION, ENVELOPE.version);
  header.writeUInt32LE(total, ENVELOPE.head_size);
  header.writeBigUInt64LE(BigInt(total), ENVELOPE.total_size);
  header.writeUInt32LE(SHOW_MODES.indexOf(show), MODULES_HEADER.show);
  header.writeUInt32LE(modules.length, MODULES_HEADER.count);
  header.writeUInt32LE(texts.length, MODULES_HEADER.strings_size);
  header.writeUInt32LE(COLD_MODES.indexOf(cold), MODULES_HEADER.cold);
  const bytes = Buffer.concat([header, entries, texts]);
  bytes.writeBigUInt64LE(planChecksum(bytes.subarray(ENVELOPE.size)), ENVELOPE.head_checksum);
  return bytes;
}

function writeEntry(entry: Buffer, module: ShownModule, strings: Strings): void {
  const { identity, role, usesOrigin, linked } = module;
  entry.writeUInt32LE(strings.add(module.path), MODULES_ENTRY.path);
  entry.writeUInt32LE(strings.add(module.replacement), MODULES_ENTRY.replacement);
  entry.writeBigUInt64LE(BigInt(identity.size), MODULES_ENTRY.file_size);
  writeTime(entry, MODULES_ENTRY.mtime_sec, MODULES_ENTRY.mtime_nsec, identity.mtimeNs);
  const flags =
    MODULE_ROLES.indexOf(role) |
    (usesOrigin ? MODULE_USES_ORIGIN : 0) |
    (linked === undefined ? 0 : MODULE_LINKED) |
    (linked === 'by-any-name' ? MODULE_BY_ANY_NAME : 0);
  entry.writeUInt32LE(flags, MODULES_ENTRY.flags);
  entry.writeBigUInt64LE(identity.inode, MODULES_ENTRY.inode);
  entry.writeBigUInt64LE(BigInt(module.replacementSize), MODULES_ENTRY.replacement_size);
}

/** `encodeModules` of the modules; the program is shown them in the way `show`. */
export const writeModulesTable = (
  modules: readonly ShownModule[],
  show: ShowMode = 'auto',
  cold: ColdMode = 'file',
): Uint8Array => encodeModules({ show, cold, modules });

const compare = (a: bigint, b: bigint): number => (a < b ? -1 : a > b ? 1 : 0);
