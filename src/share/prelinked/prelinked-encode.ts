/** Writes prelink.bin (runtime/prelink.h). */
import { planChecksum } from '../../base/checksum.ts';
import { ENVELOPE } from '../../base/envelope.ts';
import { Strings, writeTime } from '../../base/records.ts';
import type { FileStamp, PrelinkedEntry, PrelinkedProgram } from './model.ts';
import {
  PRELINK_ALL_MODULES_MAX,
  PRELINK_HEADER,
  PRELINK_MAGIC,
  PRELINK_MODULE,
  PRELINK_MODULES_MAX,
  PRELINK_PROGRAM,
  PRELINK_PROGRAMS_MAX,
  PRELINK_SIZE_MAX,
  PRELINK_VERSION,
} from './prelinked-layout.ts';

/** @throws RangeError where the programs break a limit of the format. */
export function encodePrelinked(programs: readonly PrelinkedProgram[]): Buffer {
  const sorted = [...programs].sort((a, b) => (a.inode < b.inode ? -1 : a.inode > b.inode ? 1 : 0));
  const all = sorted.flatMap(({ modules }) => modules);
  if (sorted.length > PRELINK_PROGRAMS_MAX) throw new RangeError('too many programs');
  if (all.length > PRELINK_ALL_MODULES_MAX) throw new RangeError('too many modules');
  const strings = new Strings();
  // What stays as it is has no copy: an empty name.
  strings.add('');
  let first = 0;
  const records = sorted.map((program) => {
    const record = programRecord(program, first);
    first += program.modules.length;
    return record;
  });
  const modules = all.map((module) => moduleRecord(module, strings));
  const texts = strings.bytes();
  const header = Buffer.alloc(PRELINK_HEADER.size);
  const bytes = Buffer.concat([header, ...records, ...modules, texts]);
  if (bytes.length > PRELINK_SIZE_MAX) throw new RangeError('table of prelinked programs too large');
  bytes.writeBigUInt64LE(PRELINK_MAGIC, ENVELOPE.magic);
  bytes.writeUInt32LE(PRELINK_VERSION, ENVELOPE.version);
  bytes.writeUInt32LE(bytes.length, ENVELOPE.head_size);
  bytes.writeBigUInt64LE(BigInt(bytes.length), ENVELOPE.total_size);
  bytes.writeUInt32LE(records.length, PRELINK_HEADER.program_count);
  bytes.writeUInt32LE(modules.length, PRELINK_HEADER.module_count);
  bytes.writeUInt32LE(texts.length, PRELINK_HEADER.strings_size);
  bytes.writeBigUInt64LE(planChecksum(bytes.subarray(ENVELOPE.size)), ENVELOPE.head_checksum);
  return bytes;
}

function programRecord({ area, modules, ...stamp }: PrelinkedProgram, first: number): Buffer {
  if (modules.length > PRELINK_MODULES_MAX) throw new RangeError('too many modules of a program');
  const record = Buffer.alloc(PRELINK_PROGRAM.size);
  writeStamp(record, stamp, PRELINK_PROGRAM);
  record.writeUInt32LE(first, PRELINK_PROGRAM.module_first);
  record.writeUInt32LE(modules.length, PRELINK_PROGRAM.module_count);
  record.writeBigUInt64LE(BigInt(area.start), PRELINK_PROGRAM.area);
  record.writeBigUInt64LE(BigInt(area.size), PRELINK_PROGRAM.area_size);
  return record;
}

function moduleRecord({ path, copy, ...stamp }: PrelinkedEntry, strings: Strings): Buffer {
  if (!path.startsWith('/')) throw new RangeError(`not absolute: ${path}`);
  if (copy?.file.includes('/') === true || copy?.file === '')
    throw new RangeError(`no file name: ${copy.file}`);
  const record = Buffer.alloc(PRELINK_MODULE.size);
  writeStamp(record, stamp, PRELINK_MODULE);
  record.writeUInt32LE(strings.add(path), PRELINK_MODULE.path);
  record.writeUInt32LE(strings.add(copy?.file ?? ''), PRELINK_MODULE.copy);
  record.writeBigUInt64LE(BigInt(copy?.size ?? 0), PRELINK_MODULE.copy_size);
  record.writeBigUInt64LE(BigInt(copy?.dynamic ?? 0), PRELINK_MODULE.dynamic);
  return record;
}

function writeStamp(
  record: Buffer,
  { size, mtimeNs, inode }: FileStamp,
  at: {
    readonly file_size: number;
    readonly mtime_sec: number;
    readonly mtime_nsec: number;
    readonly inode: number;
  },
): void {
  record.writeBigUInt64LE(BigInt(size), at.file_size);
  writeTime(record, at.mtime_sec, at.mtime_nsec, mtimeNs);
  record.writeBigUInt64LE(inode, at.inode);
}
