/** Bytes in, image out: the one door into the ELF room. */
import { readFileSync, statSync } from 'node:fs';
import { errnoOf } from '../base/errors.ts';
import { ElfBytes } from './bytes.ts';
import { elfError } from './errors.ts';
import { readHeader } from './header.ts';
import { ElfImage } from './image.ts';
import { readSections } from './sections.ts';
import { readSegments } from './segments.ts';

/**
 * Parses an ELF64 little-endian x86-64 file. What the file's headers say is checked here; tables that the
 * image reads later (symbols, relocations) throw the same kind of error when they are asked for.
 *
 * @param bytes the whole file; kept, and must not change.
 * @param path for messages only.
 * @throws WinnowError E_NOT_ELF, E_ELF_CLASS, E_ELF_DATA, E_ELF_MACHINE, E_ELF_HEADER, E_ELF_TRUNCATED,
 *   E_ELF_SEGMENT, E_ELF_SECTION, E_ELF_STRING, E_ELF_DYNAMIC, E_ELF_VALUE.
 */
export function readElf(bytes: Uint8Array, path: string): ElfImage {
  const file = new ElfBytes(bytes, path);
  const header = readHeader(file);
  const segments = readSegments(file, header);
  const sections = readSections(file, header);
  return new ElfImage(file, header, segments, sections);
}

/**
 * Reads and parses a file.
 *
 * @throws WinnowError E_FILE_NOT_READABLE for no file, a folder, a device or no right to read; and what
 *   readElf throws.
 */
export function readElfFile(path: string): ElfImage {
  return readElf(wholeFile(path), path);
}

function wholeFile(path: string): Uint8Array {
  const unreadable = (what: string): Error =>
    elfError('E_FILE_NOT_READABLE', { path, what, hint: 'name a file that exists and that you may read' });
  try {
    // A FIFO that nobody writes would block the reading for ever.
    if (statSync(path).isFile()) return readFileSync(path);
  } catch (error) {
    const errno = errnoOf(error) ?? 'unknown';
    throw unreadable(errno === 'ENOENT' ? 'there is no such file' : `the file cannot be read (${errno})`);
  }
  throw unreadable('this is no regular file');
}
