/**
 * The GNU build-id of an open file, with a few small reads: the recorder asks it of every file.
 *
 * Limits: a note that only a section header tells of is not found (programs of Go's own linker): such a file is
 * known by its content, like one without a build-id.
 */
import { buildIdIn } from './notes.ts';
import { prefixSegments, readBytes } from './prefix.ts';
import { EHDR_SIZE, PT_NOTE } from './spec.ts';

/** Notes of programs and libraries take hundreds of bytes; those of core files may take megabytes. */
const MAX_NOTE_BYTES = 65536;

/**
 * The build-id as lower-case hexadecimal digits, or undefined: no ELF64 little-endian file, a damaged
 * one, or none inside. Reads the ELF header, the program headers and the PT_NOTE segments only.
 *
 * @param size the file's size in bytes, from fstat.
 * @throws what readSync throws (EIO, EISDIR, EBADF); never for what the file contains.
 */
export function readBuildId(fd: number, size: number): string | undefined {
  const start = readBytes(fd, 0, Math.min(size, EHDR_SIZE));
  for (const segment of prefixSegments(fd, size, start)) {
    if (segment.type !== PT_NOTE) continue;
    const bytes = readBytes(fd, segment.offset, Math.min(segment.fileSize, MAX_NOTE_BYTES));
    const buildId = buildIdIn(bytes, segment.align);
    if (buildId !== undefined) return buildId;
  }
  return undefined;
}
