/**
 * What relocating page by page, when pages are touched, could save of an image that slides.
 *
 * Problem: its start writes each page with addresses. userfaultfd could bring a page, its slide added, when it is touched; but the kernel does not wait
 * for that on behalf of a system call, which fails (EFAULT) where an argument lies on such a page: an array of pointers for execve, a
 * constant struct iovec. So only pages that nobody but the program's own instructions reads could be left.
 * Method: which pages are read or written by a run that begins where all is relocated, the processor's accessed bits tell. Which ones
 * provably hold nothing that a system call is given: pages in RELRO all bytes of which are of the global offset table, of the arrays of
 * constructors, or of virtual tables and type descriptions that have symbols.
 * Limits: a mapping that shows pages of the image beside the process's own does not tell which of them were touched: at most its own are counted.
 */
import { readFileSync } from 'node:fs';
import { PAGE_SIZE } from '../../src/base/brands.ts';
import type { ElfImage } from '../../src/elf/image.ts';
import { PT_GNU_RELRO } from '../../src/elf/spec.ts';
import { readClosure } from '../../src/share/closure/modules.ts';
import { restoreEnd } from '../../src/share/linked/restore-end.ts';
import { measureTouched } from '../../src/sys/start-cost.ts';
import type { SharedImage } from './share-image.ts';

export interface LazyFigures {
  /** Pages that are the process's own at its end, and pages that the run touched. */
  readonly own: number;
  readonly touched: number;
  /** Relocated pages that are read-only afterwards, and those of them that provably no system call reads. */
  readonly readOnly: number;
  readonly provable: number;
}

export function lazyFigures({ slid, file, args, env }: SharedImage): LazyFigures | undefined {
  if (slid === undefined) return undefined;
  const end = restoreEnd(readFileSync(slid.restore), slid.restore);
  const closure = readClosure(file, env);
  if (end === undefined || 'kind' in closure) return undefined;
  const pages = measureTouched({ program: slid.copy, argv: [file, ...args], env }, end, slid.linked);
  if (pages === undefined) return undefined;
  const figures = closure.modules.map(({ image }) => readOnlyPages(image));
  const sum = (of: (one: (typeof figures)[number]) => number): number =>
    figures.reduce((total, one) => total + of(one), 0);
  return { ...pages, readOnly: sum(({ all }) => all), provable: sum(({ provable }) => provable) };
}

const TABLES = new Set(['.got', '.got.plt', '.init_array', '.fini_array', '.preinit_array']);
/** Virtual tables, their tables, construction tables, type descriptions: only what compilers write reads them. */
const VIRTUAL = /^_ZT[VTCI]/;
const WORD = 8;

function readOnlyPages(image: ElfImage): { readonly all: number; readonly provable: number } {
  const relro = image.segments.find(({ type }) => type === PT_GNU_RELRO);
  if (relro === undefined) return { all: 0, provable: 0 };
  const from = Math.floor(relro.rva / PAGE_SIZE);
  const to = Math.floor((relro.rva + relro.memSize) / PAGE_SIZE);
  const relocated = new Set(image.relocations.map(({ rva }) => Math.floor(rva / PAGE_SIZE)));
  const known = new Set<number>();
  const know = (at: number, size: number): void => {
    for (let word = Math.ceil(at / WORD); (word + 1) * WORD <= at + size; word += 1) known.add(word);
  };
  for (const { name, rva, size } of image.sections) if (TABLES.has(name)) know(rva, size);
  for (const { name, rva, size } of [...image.symbols, ...image.staticSymbols])
    if (rva !== undefined && VIRTUAL.test(name)) know(rva, Number(size));
  const words = Array.from({ length: PAGE_SIZE / WORD }, (_, index) => index);
  const pages = [...relocated].filter((page) => page >= from && page < to);
  const isProvable = (page: number): boolean =>
    words.every((word) => known.has((page * PAGE_SIZE) / WORD + word));
  return { all: pages.length, provable: pages.filter(isProvable).length };
}
