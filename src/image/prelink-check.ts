/**
 * Which programs of an image would start with their prelinked libraries now: what prelink.c finds out when their process
 * begins, in words.
 */
import { lstatSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { WinnowError } from '../base/errors.ts';
import { checkTrustedFile, readTrusted } from '../profile/store-files.ts';
import type { FileStamp, PrelinkedProgram } from '../share/prelinked/model.ts';
import { decodePrelinked } from '../share/prelinked/prelinked-decode.ts';
import type { ImageManifest } from './manifest.ts';
import { type PrelinkMisses, readPrelinkMisses } from './prelink-misses.ts';

const WRITABLE = 0o022;

export interface CheckedPrelink {
  readonly programs: readonly CheckedPrelinked[];
  /** Undefined where they are not counted. */
  readonly misses: PrelinkMisses | undefined;
}

export interface CheckedPrelinked {
  readonly path: string;
  /** Why it would start plainly; undefined where it starts with its copies. */
  readonly refused?: string;
  /** Address of its first copy, hexadecimal; the same at every start of this image. */
  readonly area: string;
}

/** Undefined where the image has no prelinked libraries. @throws WinnowError E_STORE_… */
export function checkPrelinked(image: {
  readonly path: string;
  readonly manifest: ImageManifest;
}): CheckedPrelink | undefined {
  const { prelink } = image.manifest;
  if (prelink === undefined) return undefined;
  const table = readTable(image.path);
  const stamps = prelink.programs.map(({ path, size, mtimeNs, inode }) => ({
    path,
    stamp: { size, mtimeNs: BigInt(mtimeNs), inode: BigInt(inode) },
  }));
  const programs = stamps.map(({ path, stamp }): CheckedPrelinked => {
    if ('missing' in table) return { path, refused: table.missing, area: '' };
    const program = table.programs.find((one) => isSame(one, stamp));
    if (program === undefined) return { path, refused: 'the table does not know it', area: '' };
    const refused = whyRefused(image.path, path, program);
    return { path, area: program.area.start.toString(16), ...(refused === undefined ? {} : { refused }) };
  });
  const misses = readPrelinkMisses(image.path, {
    programs: 'missing' in table ? [] : table.programs,
    pathOf: (program) => stamps.find(({ stamp }) => isSame(program, stamp))?.path,
  });
  return { programs, misses };
}

type Table = { readonly programs: readonly PrelinkedProgram[] } | { readonly missing: string };

function readTable(folder: string): Table {
  const path = join(folder, 'prelink.bin');
  const bytes = readTrusted(path);
  if (bytes === undefined || !checkTrustedFile(join(folder, 'audit.so')))
    return { missing: 'the table of its copies or the audit object is gone' };
  try {
    return { programs: decodePrelinked(bytes, path) };
  } catch (error) {
    if (!(error instanceof WinnowError)) throw error;
    return { missing: `${error.code}: ${error.what}` };
  }
}

function whyRefused(folder: string, path: string, program: PrelinkedProgram): string | undefined {
  if (!isSame(stampOf(path), program)) return 'the program has changed';
  const changed = program.modules.find((module) => !isSame(stampOf(module.path), module));
  if (changed !== undefined) return `a module has changed: ${changed.path}`;
  const damaged = program.modules.find(
    ({ copy }) => copy !== undefined && !isGoodCopy(join(folder, copy.file), copy.size),
  );
  return damaged === undefined ? undefined : `its copy is damaged: ${damaged.path}`;
}

function stampOf(path: string): FileStamp | undefined {
  const now = statSync(path, { bigint: true, throwIfNoEntry: false });
  return now?.isFile() === true
    ? { size: Number(now.size), mtimeNs: now.mtimeNs, inode: now.ino }
    : undefined;
}

function isGoodCopy(path: string, size: number): boolean {
  const now = lstatSync(path, { throwIfNoEntry: false });
  if (now?.isFile() !== true || now.size !== size || (now.mode & WRITABLE) !== 0) return false;
  return now.uid === 0 || now.uid === process.geteuid?.();
}

const isSame = (one: FileStamp | undefined, other: FileStamp): boolean =>
  one?.size === other.size && one.mtimeNs === other.mtimeNs && one.inode === other.inode;
