/** What `--cold store` makes of the sizes of a program's modules, and where the rest of the bytes is. */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { PAGE_SIZE } from '../../src/base/brands.ts';
import type { ElfImage } from '../../src/elf/image.ts';
import { readElf } from '../../src/elf/read.ts';
import { SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, SHT_NOBITS } from '../../src/elf/spec.ts';
import { readManifest } from '../../src/image/manifest.ts';
import { COLD_ENDING } from '../../src/select/cold-layout.ts';

/** Bytes: the sizes of files, and the blocks that they take. */
export interface Size {
  readonly apparent: number;
  readonly disk: number;
}

export interface StoredSizes {
  /** Modules with a copy in the image, and others of the program. */
  readonly modules: number;
  readonly kept: number;
  /** Of the modules that have a copy. */
  readonly originals: Size;
  readonly copies: Size;
  readonly stores: Size;
  /** Of those that have none, which the program loads as they are. */
  readonly others: Size;
  /** The copies’ bytes on disk by what they hold (PARTS); together `copies.disk`, but for what the file system adds. */
  readonly parts: Readonly<Record<string, number>>;
}

export const PARTS = [
  'modules that are never cut (the C library)',
  'read-only data',
  'tables for linking',
  'used code, copied',
  'code that stays',
  'data',
  'unwind tables',
  'headers, and what is not loaded',
] as const;

type Part = (typeof PARTS)[number];

/** @param image the folder of an image that was built with stored code. @throws what reading it throws */
export function storedSizes(image: string): StoredSizes {
  const select = readManifest(join(image, 'manifest.json')).select;
  const modules = select?.modules ?? [];
  const kept = select?.kept ?? [];
  const parts: Sums = Object.fromEntries(PARTS.map((part) => [part, 0]));
  for (const { path, file, stored } of modules) {
    const copy = join(image, file);
    if (stored === undefined) add(parts, PARTS[0], sizeOf([copy]).disk);
    else addParts(parts, readElf(readFileSync(copy), copy), statSync(path).size);
  }
  return {
    modules: modules.length,
    kept: kept.length,
    originals: sizeOf(modules.map(({ path }) => path)),
    copies: sizeOf(modules.map(({ file }) => join(image, file))),
    stores: sizeOf(modules.map(({ file }) => join(image, `${file}${COLD_ENDING}`))),
    others: sizeOf(kept.map(({ path }) => path)),
    parts,
  };
}

function sizeOf(paths: readonly string[]): Size {
  let [apparent, disk] = [0, 0];
  for (const path of paths) {
    const stat = statSync(path, { throwIfNoEntry: false });
    apparent += stat?.size ?? 0;
    disk += (stat?.blocks ?? 0) * 512;
  }
  return { apparent, disk };
}

type Sums = Record<string, number>;

function add(parts: Sums, part: Part, bytes: number): void {
  parts[part] = (parts[part] ?? 0) + bytes;
}

/** Each page that is no hole, divided between the sections that lie on it. */
function addParts(parts: Sums, image: ElfImage, originalSize: number): void {
  const zeros = Buffer.alloc(PAGE_SIZE);
  const sections = image.sections
    .filter(({ type, size }) => type !== SHT_NOBITS && size > 0)
    .sort((a, b) => a.offset - b.offset);
  let first = 0;
  for (let at = 0; at < image.bytes.length; at += PAGE_SIZE) {
    const page = image.bytes.subarray(at, at + PAGE_SIZE);
    if (zeros.subarray(0, page.length).equals(page)) continue;
    while (first < sections.length && endOf(sections[first]) <= at) first += 1;
    let rest = PAGE_SIZE;
    for (let i = first; i < sections.length; i += 1) {
      const section = sections[i];
      if (section === undefined || section.offset >= at + PAGE_SIZE) break;
      const bytes = Math.min(at + PAGE_SIZE, endOf(section)) - Math.max(at, section.offset);
      if (bytes <= 0) continue;
      add(parts, partOf(section, originalSize), bytes);
      rest -= bytes;
    }
    add(parts, 'headers, and what is not loaded', rest);
  }
}

type Section = ElfImage['sections'][number];

const endOf = (section: Section | undefined): number =>
  section === undefined ? 0 : section.offset + section.size;

const LINKING = /^\.(dyn(sym|str|amic)|gnu\.(hash|version.*)|hash|rela?\..*|relr\.dyn|got|got\.plt)$/;

function partOf({ name, flags, offset }: Section, originalSize: number): Part {
  if ((flags & SHF_ALLOC) === 0) return 'headers, and what is not loaded';
  if (LINKING.test(name)) return 'tables for linking';
  if (/^\.(eh_frame|gcc_except_table)/.test(name)) return 'unwind tables';
  if ((flags & SHF_WRITE) !== 0) return 'data';
  if (offset >= originalSize) return 'used code, copied';
  return (flags & SHF_EXECINSTR) !== 0 ? 'code that stays' : 'read-only data';
}
