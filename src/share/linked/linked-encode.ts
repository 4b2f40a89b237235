/** Writes NAME.linked (runtime/share.h). What a reader would refuse is refused here. */
import { PAGE_SIZE } from '../../base/brands.ts';
import { planChecksum } from '../../base/checksum.ts';
import { ENVELOPE } from '../../base/envelope.ts';
import { Strings, writeTime } from '../../base/records.ts';
import type { Protection } from '../model.ts';
import {
  FIX_UP_KINDS,
  LINKED_ABSENT,
  LINKED_FILE,
  LINKED_FIXUP,
  LINKED_FROM_NOTHING,
  LINKED_FROM_PAGES,
  LINKED_FROM_PROGRAM,
  LINKED_HEAD_MAX,
  LINKED_HEADER,
  LINKED_JOINED,
  LINKED_MAGIC,
  LINKED_MAP,
  LINKED_NOT_MAPPED,
  LINKED_PAGE_IN,
  LINKED_SLID,
  LINKED_UNCHANGED,
  LINKED_UNSET,
  LINKED_WATCH,
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
  versionFor,
} from './linked-layout.ts';
import type {
  MapSource,
  PlacedFile,
  PlacedFixUp,
  PlacedImage,
  PlacedMap,
  PlacedWatch,
} from './linked-model.ts';
import { encodeProcessor } from './linked-processor.ts';
import { whatIsWrong } from './linked-rules.ts';
import { encodeSlide } from './linked-slide.ts';

/** A table of records of `size` bytes each. */
function table<Item>(
  items: readonly Item[],
  size: number,
  write: (record: Buffer, item: Item) => void,
): Buffer {
  const bytes = Buffer.alloc(items.length * size);
  items.forEach((item, index) => {
    write(bytes.subarray(index * size, (index + 1) * size), item);
  });
  return bytes;
}

const writeLong = (record: Buffer, at: number, value: number): number =>
  record.writeBigUInt64LE(BigInt(value), at);

function writeFile(record: Buffer, file: PlacedFile, strings: Strings): void {
  record.writeUInt32LE(strings.add(file.path), LINKED_FILE.path);
  record.writeUInt32LE(file.isMapped ? 0 : LINKED_NOT_MAPPED, LINKED_FILE.flags);
  writeLong(record, LINKED_FILE.file_size, file.size);
  writeTime(record, LINKED_FILE.mtime_sec, LINKED_FILE.mtime_nsec, file.mtimeNs);
  record.writeUInt32LE(file.device, LINKED_FILE.device);
  record.writeBigUInt64LE(file.inode, LINKED_FILE.inode);
}

function protectionBits({ read, write, execute }: Protection): number {
  return (read ? PROT_READ : 0) | (write ? PROT_WRITE : 0) | (execute ? PROT_EXEC : 0);
}

/** `from` and `offset`; offsets into the pages become those into the file. */
function sourceFields(source: MapSource, pagesOffset: number): readonly [from: number, offset: number] {
  switch (source.kind) {
    case 'file':
      return [source.index, source.offset];
    case 'pages':
      return [LINKED_FROM_PAGES, pagesOffset + source.offset];
    case 'zeros':
      return [LINKED_FROM_NOTHING, 0];
    case 'program':
      return [LINKED_FROM_PROGRAM, source.rva];
  }
}

function writeMap(record: Buffer, map: PlacedMap, pagesOffset: number): void {
  const [from, offset] = sourceFields(map.source, pagesOffset);
  writeLong(record, LINKED_MAP.at, map.at);
  writeLong(record, LINKED_MAP.map_size, map.size);
  writeLong(record, LINKED_MAP.offset, offset);
  record.writeUInt32LE(from, LINKED_MAP.from);
  record.writeUInt32LE(protectionBits(map.protection), LINKED_MAP.protection);
}

function writeFixUp(record: Buffer, fixUp: PlacedFixUp): void {
  writeLong(record, LINKED_FIXUP.at, fixUp.at);
  record.writeUInt32LE(FIX_UP_KINDS[fixUp.kind], LINKED_FIXUP.kind);
  record.writeUInt32LE(fixUp.size, LINKED_FIXUP.word_size);
}

function writeWatch(record: Buffer, watch: PlacedWatch, strings: Strings): void {
  record.writeUInt32LE(strings.add(watch.path), LINKED_WATCH.path);
  record.writeUInt32LE(watch.kind === 'absent' ? LINKED_ABSENT : LINKED_UNCHANGED, LINKED_WATCH.kind);
  if (watch.kind === 'absent') return;
  writeLong(record, LINKED_WATCH.file_size, watch.size);
  writeTime(record, LINKED_WATCH.mtime_sec, LINKED_WATCH.mtime_nsec, watch.mtimeNs);
  record.writeBigUInt64LE(watch.inode, LINKED_WATCH.inode);
}

function writeProgram(header: Buffer, image: PlacedImage): void {
  writeLong(header, LINKED_HEADER.start, image.start);
  writeLong(header, LINKED_HEADER.entry, image.entry);
  writeLong(header, LINKED_HEADER.phdr, image.phdr);
  writeLong(header, LINKED_HEADER.base, image.base);
  writeLong(header, LINKED_HEADER.program_at, image.program.at);
  writeLong(header, LINKED_HEADER.program_phdr, image.program.phdr);
  writeLong(header, LINKED_HEADER.program_first, image.program.first);
  writeLong(header, LINKED_HEADER.program_size, image.program.size);
  header.writeBigUInt64LE(image.program.sum, LINKED_HEADER.program_sum);
  writeLong(header, LINKED_HEADER.thread_pointer, image.threadPointer);
  writeLong(header, LINKED_HEADER.tid_at, image.tidAt);
  writeLong(header, LINKED_HEADER.robust_at, image.robust?.at ?? 0);
  writeLong(header, LINKED_HEADER.robust_size, image.robust?.size ?? 0);
  writeLong(header, LINKED_HEADER.rseq_at, image.rseq?.at ?? 0);
  header.writeUInt32LE(image.rseq?.size ?? 0, LINKED_HEADER.rseq_size);
  header.writeUInt32LE(image.rseq?.signature ?? 0, LINKED_HEADER.rseq_signature);
}

function writeMachine(header: Buffer, { machine, processor, vdsoAt }: PlacedImage): void {
  writeLong(header, LINKED_HEADER.vdso_at, vdsoAt ?? 0);
  writeLong(header, LINKED_HEADER.vdso_lead, machine.vdso?.lead ?? 0);
  writeLong(header, LINKED_HEADER.vdso_size, machine.vdso?.size ?? 0);
  header.writeBigUInt64LE(machine.vdso?.checksum ?? 0n, LINKED_HEADER.vdso_checksum);
  header.writeBigUInt64LE(machine.hwcap, LINKED_HEADER.hwcap);
  header.writeBigUInt64LE(machine.hwcap2, LINKED_HEADER.hwcap2);
  header.writeBigUInt64LE(machine.minsigstksz, LINKED_HEADER.minsigstksz);
  header.writeBigUInt64LE(machine.stackLimit, LINKED_HEADER.stack_limit);
  header.writeUInt32LE(machine.clockTick, LINKED_HEADER.clock_tick);
  header.writeUInt32LE(machine.pageSize, LINKED_HEADER.page_size);
  encodeProcessor(header.subarray(LINKED_HEADER.processor), processor);
}

/** The bytes of NAME.linked. @throws RangeError as `encodeHead` */
export const encodeLinked = (image: PlacedImage): Buffer => Buffer.concat([encodeHead(image), image.pages]);

/**
 * The bytes of NAME.linked in front of the pages, which can be hundreds of MiB.
 * @throws RangeError where the image breaks a rule of the format (linked-rules.ts)
 */
export function encodeHead(image: PlacedImage): Buffer {
  const wrong = whatIsWrong(image);
  if (wrong !== undefined) throw new RangeError(wrong);
  const strings = new Strings();
  const files = table(image.files, LINKED_FILE.size, (record, file) => writeFile(record, file, strings));
  const fixUps = table(image.fixUps, LINKED_FIXUP.size, writeFixUp);
  const watches = table(image.watches, LINKED_WATCH.size, (record, watch) =>
    writeWatch(record, watch, strings),
  );
  const libraryPath = image.libraryPath === undefined ? LINKED_UNSET : strings.add(image.libraryPath);
  const slide = encodeSlide(image.slide);
  const texts = strings.bytes();
  const mapsSize = image.maps.length * LINKED_MAP.size;
  const tables = [files, fixUps, watches, slide, texts].reduce((sum, { length }) => sum + length, 0);
  const headSize = LINKED_HEADER.size + mapsSize + tables;
  if (headSize > LINKED_HEAD_MAX) throw new RangeError('the tables are too large');
  const pagesOffset = Math.ceil(headSize / PAGE_SIZE) * PAGE_SIZE;
  const maps = table(image.maps, LINKED_MAP.size, (record, map) => writeMap(record, map, pagesOffset));

  const header = Buffer.alloc(LINKED_HEADER.size);
  header.writeBigUInt64LE(LINKED_MAGIC, ENVELOPE.magic);
  const isSlid = image.slide !== undefined;
  const flags =
    (image.isJoined ? LINKED_JOINED : 0) |
    (isSlid ? LINKED_SLID : 0) |
    (image.slide?.pagesIn === true ? LINKED_PAGE_IN : 0);
  header.writeUInt32LE(versionFor(flags), ENVELOPE.version);
  header.writeUInt32LE(headSize, ENVELOPE.head_size);
  writeLong(header, ENVELOPE.total_size, pagesOffset + image.pages.length);
  writeLong(header, LINKED_HEADER.pages_offset, pagesOffset);
  writeLong(header, LINKED_HEADER.pages_size, image.pages.length);
  header.writeBigUInt64LE(planChecksum(image.pages), LINKED_HEADER.pages_checksum);
  writeProgram(header, image);
  writeMachine(header, image);
  header.writeUInt32LE(image.files.length, LINKED_HEADER.file_count);
  header.writeUInt32LE(image.maps.length, LINKED_HEADER.map_count);
  header.writeUInt32LE(image.fixUps.length, LINKED_HEADER.fixup_count);
  header.writeUInt32LE(image.watches.length, LINKED_HEADER.watch_count);
  header.writeUInt32LE(texts.length, LINKED_HEADER.strings_size);
  header.writeUInt32LE(flags, LINKED_HEADER.flags);
  header.writeUInt32LE(libraryPath, LINKED_HEADER.library_path);

  const padding = Buffer.alloc(pagesOffset - headSize);
  const bytes = Buffer.concat([header, files, maps, fixUps, watches, slide, texts, padding]);
  const sum = planChecksum(bytes.subarray(ENVELOPE.size, headSize));
  bytes.writeBigUInt64LE(sum, ENVELOPE.head_checksum);
  return bytes;
}
