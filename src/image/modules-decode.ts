/** Reads modules.bin back, for `image show`. The launcher and audit.so read the same bytes in place. */

import { readTime } from '../base/records.ts';
import { modulesDamaged, modulesNewer, modulesTruncated } from './modules-errors.ts';
import {
  COLD_MODES,
  MODULE_BY_ANY_NAME,
  MODULE_LINKED,
  MODULE_ROLE,
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

interface Parts {
  readonly bytes: Buffer;
  /** Names the file in errors. */
  readonly path: string;
  readonly show: ShowMode;
  readonly cold: ColdMode;
  readonly count: number;
  /** Flags that modules of this version have. */
  readonly known: number;
  /** Where the strings begin. */
  readonly strings: number;
}

const PLAIN_FLAGS = MODULE_ROLE | MODULE_USES_ORIGIN;
const LINKED_FLAGS = MODULE_LINKED | MODULE_BY_ANY_NAME;

/** Sizes and checksum; what is not as written is an error. */
function openParts(bytes: Buffer, path: string): Parts {
  if (bytes.length < MODULES_HEADER.size) throw modulesTruncated(path);
  if (bytes.readBigUInt64LE(ENVELOPE.magic) !== MODULES_MAGIC)
    throw modulesDamaged(path, 'it does not begin as one');
  const version = bytes.readUInt32LE(ENVELOPE.version);
  if (version > MODULES_VERSION) throw modulesNewer(path, version, MODULES_VERSION);
  if (version < MODULES_VERSION_PLAIN) throw modulesDamaged(path, `there is no version ${version}`);
  const total = bytes.readBigUInt64LE(ENVELOPE.total_size);
  if (total > BigInt(bytes.length) && total <= BigInt(MODULES_SIZE_MAX)) throw modulesTruncated(path);
  const isWhole = total === BigInt(bytes.length) && bytes.length % 8 === 0;
  if (!isWhole || bytes.readUInt32LE(ENVELOPE.head_size) !== bytes.length)
    throw modulesDamaged(path, 'its size is wrong');
  if (planChecksum(bytes.subarray(ENVELOPE.size)) !== bytes.readBigUInt64LE(ENVELOPE.head_checksum))
    throw modulesDamaged(path, 'its checksum is wrong');
  const show = SHOW_MODES[bytes.readUInt32LE(MODULES_HEADER.show)];
  const cold = COLD_MODES[bytes.readUInt32LE(MODULES_HEADER.cold)];
  const count = bytes.readUInt32LE(MODULES_HEADER.count);
  const strings = MODULES_HEADER.size + count * MODULES_ENTRY.size;
  const isFull = strings + bytes.readUInt32LE(MODULES_HEADER.strings_size) === bytes.length;
  if (show === undefined || cold === undefined || count > MODULES_MAX || !isFull)
    throw modulesDamaged(path, 'its tables do not fill it');
  const known = version === MODULES_VERSION_PLAIN ? PLAIN_FLAGS : PLAIN_FLAGS | LINKED_FLAGS;
  return { bytes, path, show, cold, count, strings, known };
}

function text({ bytes, path, strings }: Parts, offset: number): string {
  const at = strings + offset;
  const zero = at < bytes.length ? bytes.indexOf(0, at) : -1;
  if (zero < 0) throw modulesDamaged(path, 'a path lies outside');
  return bytes.toString('utf8', at, zero);
}

function readModule(parts: Parts, index: number): ShownModule {
  const from = MODULES_HEADER.size + index * MODULES_ENTRY.size;
  const entry = parts.bytes.subarray(from, from + MODULES_ENTRY.size);
  const flags = entry.readUInt32LE(MODULES_ENTRY.flags);
  const role = MODULE_ROLES[flags & MODULE_ROLE];
  const mtimeNs = readTime(entry, MODULES_ENTRY.mtime_sec, MODULES_ENTRY.mtime_nsec);
  const size = entry.readBigUInt64LE(MODULES_ENTRY.file_size);
  const replacementSize = entry.readBigUInt64LE(MODULES_ENTRY.replacement_size);
  const most = BigInt(Number.MAX_SAFE_INTEGER);
  const isLinked = (flags & MODULE_LINKED) !== 0;
  const isKnown = (flags & ~parts.known) === 0 && (isLinked || (flags & MODULE_BY_ANY_NAME) === 0);
  if (!isKnown || role === undefined || mtimeNs === undefined || size > most || replacementSize > most)
    throw modulesDamaged(parts.path, 'a module is wrong');
  return {
    path: text(parts, entry.readUInt32LE(MODULES_ENTRY.path)),
    identity: { size: Number(size), mtimeNs, inode: entry.readBigUInt64LE(MODULES_ENTRY.inode) },
    replacement: text(parts, entry.readUInt32LE(MODULES_ENTRY.replacement)),
    replacementSize: Number(replacementSize),
    role,
    usesOrigin: (flags & MODULE_USES_ORIGIN) !== 0,
    ...(isLinked ? { linked: (flags & MODULE_BY_ANY_NAME) === 0 ? 'by-its-name' : 'by-any-name' } : {}),
  };
}

/**
 * The table that `bytes` hold, its modules by ascending inode; `path` is for errors.
 * @throws WinnowError E_MODULES_TRUNCATED, E_MODULES_DAMAGED, E_MODULES_NEWER
 */
export function decodeModules(bytes: Uint8Array, path: string): ModulesTable {
  const parts = openParts(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), path);
  const modules = Array.from({ length: parts.count }, (_, index) => readModule(parts, index));
  return { show: parts.show, cold: parts.cold, modules };
}
