/**
 * A program whose loader is the image's: the program itself, with another name in PT_INTERP.
 *
 * Problem. The launcher of the image must be in the process before the dynamic loader, and /proc/self/exe, comm, the
 * heap behind the program and everything else must be the program's. The kernel starts what PT_INTERP names, and its name has
 * no room for another path.
 *
 * Example. git's PT_INTERP lies at 0x318 with 28 bytes, `/lib64/ld-linux-x86-64.so.2`. In the copy its
 * place in the file is behind the last byte, where the path of the image's launcher was appended.
 *
 * Method. p_offset, p_filesz and p_memsz change; p_vaddr does not, so in memory there is the old name still: the
 * real loader finds its own there. All else is byte for byte the program.
 *
 * Limits. Programs with data behind their last section (self-extracting ones) may look for it at their end: they are kept.
 */
import { PAGE_SIZE } from '../../base/brands.ts';
import { planChecksum } from '../../base/checksum.ts';
import { WinnowError } from '../../base/errors.ts';
import type { ElfImage } from '../../elf/image.ts';
import { notesIn } from '../../elf/notes.ts';
import { readElf } from '../../elf/read.ts';
import { PHDR_SIZE, PT_INTERP, PT_LOAD, PT_NOTE, SHT_NOBITS } from '../../elf/spec.ts';
import { isRewritten } from '../../rewrite/restore.ts';
import { LINKED_NOTE_NAME, LINKED_NOTE_PATH, LINKED_NOTE_TYPE } from '../linked/linked-layout.ts';
import type { NotLinked } from '../model.ts';

/** What the kernel reads of the name of a loader, its end included. */
const PATH_MAX = 4096;
/** Names are made as long as this, or a multiple of it: what a copy begins with tells how long, and is the same in images of many names then (same-program.ts). */
const NAME_UNIT = 256;
const SHDR_SIZE = 64;

/** The bytes of `program` with `interpreter`, an absolute path, as its loader. */
export function copyProgram(program: ElfImage, interpreter: string): Buffer | NotLinked {
  const segment = program.segments.find(({ type }) => type === PT_INTERP);
  if (segment === undefined) return { kind: 'kept', reason: 'not dynamically linked' };
  if (hasDataBehind(program))
    return { kind: 'kept', reason: 'data stands behind its last section, where it may look for it' };
  const text = Buffer.from(`${interpreter}\0`);
  if (text.length > PATH_MAX) return { kind: 'kept', reason: 'the path of the image is too long' };
  // The kernel wants a zero at the end, and takes what is in front of the first one.
  const name = Buffer.alloc(Math.ceil(text.length / NAME_UNIT) * NAME_UNIT);
  name.set(text);
  const copy = Buffer.concat([program.bytes, name]);
  const at = program.header.segmentsAt + segment.index * PHDR_SIZE;
  copy.writeBigUInt64LE(BigInt(program.bytes.length), at + 8);
  copy.writeBigUInt64LE(BigInt(name.length), at + 32);
  copy.writeBigUInt64LE(BigInt(name.length), at + 40);
  return copy;
}

/**
 * What tells one program's copy from another's at a start, for the price of reading a page that is in use anyway: the bytes
 * of its lowest segment up to the end of the page. Headers and, as a rule, the build-id are among them.
 */
export function sumOfBeginning(copy: Buffer, { segments }: ElfImage): bigint {
  const loaded = segments.filter(({ type }) => type === PT_LOAD);
  const [lowest] = loaded.sort((a, b) => a.rva - b.rva);
  if (lowest === undefined) return 0n;
  const size = Math.min(lowest.fileSize, PAGE_SIZE - (lowest.rva % PAGE_SIZE));
  return planChecksum(copy.subarray(lowest.offset, lowest.offset + size - (size % 8)));
}

function hasDataBehind({ bytes, header, segments, sections }: ElfImage): boolean {
  const ends = [
    ...segments.map(({ offset, fileSize }) => offset + fileSize),
    ...sections.map(({ offset, size, type }) => (type === SHT_NOBITS ? 0 : offset + size)),
    header.sectionsAt + sections.length * SHDR_SIZE,
  ];
  // What winnow adds to rewritten modules is looked for in the files themselves, by winnow.
  return bytes.length > Math.max(...ends) && !isRewritten(bytes);
}

/**
 * The bytes of the launcher of images, with the path of one in its note.
 * @throws WinnowError E_RUNTIME_MISSING where it has no such note.
 */
export function copyRestore(restore: Uint8Array, image: string, path: string): Buffer {
  const copy = Buffer.from(restore);
  for (const { type, offset, fileSize, align } of readElf(copy, path).segments) {
    if (type !== PT_NOTE) continue;
    for (const note of notesIn(copy.subarray(offset, offset + fileSize), align)) {
      if (note.name !== LINKED_NOTE_NAME || note.type !== LINKED_NOTE_TYPE) continue;
      const text = Buffer.from(`${image}\0`);
      if (note.descriptor.length !== LINKED_NOTE_PATH || text.length > LINKED_NOTE_PATH) continue;
      note.descriptor.fill(0);
      note.descriptor.set(text);
      return copy;
    }
  }
  throw new WinnowError({
    code: 'E_RUNTIME_MISSING',
    kind: 'environment',
    what: 'the launcher of linked images has no room for a path',
    where: path,
    next: 'run `npm run build`, or install winnow again',
  });
}
