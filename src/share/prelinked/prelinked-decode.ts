/** Reads prelink.bin back, for `image show`. runtime/prelink.c reads the same bytes in place. */
import { planChecksum } from '../../base/checksum.ts';
import { ENVELOPE } from '../../base/envelope.ts';
import { readTime } from '../../base/records.ts';
import type { FileStamp, PrelinkedEntry, PrelinkedProgram } from './model.ts';
import { prelinkedDamaged, prelinkedNewer, prelinkedTruncated } from './prelinked-errors.ts';
import {
  PRELINK_HEADER,
  PRELINK_MAGIC,
  PRELINK_MODULE,
  PRELINK_MODULES_MAX,
  PRELINK_PROGRAM,
  PRELINK_VERSION,
} from './prelinked-layout.ts';

/** @throws WinnowError E_PRELINK_TRUNCATED, E_PRELINK_DAMAGED, E_PRELINK_NEWER; `path` is for errors. */
export function decodePrelinked(from: Uint8Array, path: string): PrelinkedProgram[] {
  const bytes = Buffer.from(from.buffer, from.byteOffset, from.byteLength);
  checkEnvelope(bytes, path);
  const programCount = bytes.readUInt32LE(PRELINK_HEADER.program_count);
  const moduleCount = bytes.readUInt32LE(PRELINK_HEADER.module_count);
  const stringsSize = bytes.readUInt32LE(PRELINK_HEADER.strings_size);
  const modulesAt = PRELINK_HEADER.size + programCount * PRELINK_PROGRAM.size;
  const stringsAt = modulesAt + moduleCount * PRELINK_MODULE.size;
  if (stringsAt + stringsSize !== bytes.length) throw prelinkedDamaged(path, 'its tables do not fill it');
  const strings = bytes.subarray(stringsAt);
  if (stringsSize > 0 && strings.at(-1) !== 0) throw prelinkedDamaged(path, 'its strings do not end');
  const textAt = (at: number): string => {
    if (at >= stringsSize) throw prelinkedDamaged(path, 'a string lies outside');
    return strings.toString('utf8', at, strings.indexOf(0, at));
  };
  const modules = Array.from({ length: moduleCount }, (_, index) =>
    readModule(bytes.subarray(modulesAt + index * PRELINK_MODULE.size), textAt, path),
  );
  return Array.from({ length: programCount }, (_, index): PrelinkedProgram => {
    const record = bytes.subarray(PRELINK_HEADER.size + index * PRELINK_PROGRAM.size);
    const first = record.readUInt32LE(PRELINK_PROGRAM.module_first);
    const count = record.readUInt32LE(PRELINK_PROGRAM.module_count);
    if (count > PRELINK_MODULES_MAX || first + count > moduleCount)
      throw prelinkedDamaged(path, 'modules of a program lie outside');
    return {
      ...readStamp(record, PRELINK_PROGRAM, path),
      area: {
        start: Number(record.readBigUInt64LE(PRELINK_PROGRAM.area)),
        size: Number(record.readBigUInt64LE(PRELINK_PROGRAM.area_size)),
      },
      modules: modules.slice(first, first + count),
    };
  });
}

function checkEnvelope(bytes: Buffer, path: string): void {
  if (bytes.length < PRELINK_HEADER.size) throw prelinkedTruncated(path);
  if (bytes.readBigUInt64LE(ENVELOPE.magic) !== PRELINK_MAGIC)
    throw prelinkedDamaged(path, 'it does not begin as one');
  const version = bytes.readUInt32LE(ENVELOPE.version);
  if (version > PRELINK_VERSION) throw prelinkedNewer(path, version, PRELINK_VERSION);
  if (version !== PRELINK_VERSION) throw prelinkedDamaged(path, `there is no version ${version}`);
  const size = bytes.readUInt32LE(ENVELOPE.head_size);
  if (size > bytes.length) throw prelinkedTruncated(path);
  if (size !== bytes.length || size % 8 !== 0 || bytes.readBigUInt64LE(ENVELOPE.total_size) !== BigInt(size))
    throw prelinkedDamaged(path, 'its size is wrong');
  if (planChecksum(bytes.subarray(ENVELOPE.size)) !== bytes.readBigUInt64LE(ENVELOPE.head_checksum))
    throw prelinkedDamaged(path, 'its checksum is wrong');
}

function readModule(record: Buffer, textAt: (at: number) => string, path: string): PrelinkedEntry {
  const dynamic = Number(record.readBigUInt64LE(PRELINK_MODULE.dynamic));
  const file = textAt(record.readUInt32LE(PRELINK_MODULE.copy));
  if ((file === '') !== (dynamic === 0)) throw prelinkedDamaged(path, 'a copy has no name');
  return {
    ...readStamp(record, PRELINK_MODULE, path),
    path: textAt(record.readUInt32LE(PRELINK_MODULE.path)),
    copy:
      dynamic === 0
        ? undefined
        : { file, size: Number(record.readBigUInt64LE(PRELINK_MODULE.copy_size)), dynamic },
  };
}

function readStamp(
  record: Buffer,
  at: {
    readonly file_size: number;
    readonly mtime_sec: number;
    readonly mtime_nsec: number;
    readonly inode: number;
  },
  path: string,
): FileStamp {
  const mtimeNs = readTime(record, at.mtime_sec, at.mtime_nsec);
  if (mtimeNs === undefined) throw prelinkedDamaged(path, 'a time has too many nanoseconds');
  return {
    size: Number(record.readBigUInt64LE(at.file_size)),
    mtimeNs,
    inode: record.readBigUInt64LE(at.inode),
  };
}
