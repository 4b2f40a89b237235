/** Bytes in, image out: the one door into the ELF room. */
import { readFileSync } from 'node:fs';
import { ElfBytes } from './bytes.ts';
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

/** Reads and parses a file. @throws what readElf throws, and Node's errors of reading. */
export function readElfFile(path: string): ElfImage {
  return readElf(readFileSync(path), path);
}
