/**
 * Programs that tell by an address what may lie there.
 *
 * ThreadSanitizer and MemorySanitizer divide the address space once and for all into shadow and what the kernel
 * uses; a module anywhere else ends the program before its first constructor. AddressSanitizer's shadow lies below all images.
 */
import { readFileSync } from 'node:fs';
import type { LinkedFile } from './model.ts';
import { Refusal } from './refusal.ts';

const INITIALISERS = ['__tsan_init', '__msan_init'];

/** @throws Refusal */
export function requireNoShadow(files: readonly LinkedFile[]): void {
  for (const { path, role } of files) {
    if (role === 'loader') continue;
    const bytes = role === 'program' ? readFileSync(path) : undefined;
    const found =
      INITIALISERS.find((name) => bytes?.includes(`\0${name}\0`)) ??
      /\b(?:libtsan\.so|libclang_rt\.[tm]san)/.exec(path)?.[0];
    if (found !== undefined)
      throw new Refusal('a sanitizer that keeps to fixed addresses', `${path}: ${found}`);
  }
}
