/**
 * The audit object, for another address.
 *
 * Problem: it has libc call it in place of execve's system call, by a call that reaches 2 GiB; and copies of libc lie far
 * from where the kernel puts other libraries.
 * Method: it is slid as copies are, beside them. It goes on relocating itself, so it may lie anywhere.
 */
import { readElf } from '../../elf/read.ts';
import type { ClosureModule } from '../closure/modules.ts';
import { Scope } from '../closure/scope.ts';
import { applyRelocations } from '../prelink/apply.ts';
import { slideTables } from '../prelink/slide.ts';

export function slideObject(object: Uint8Array, base: number, path: string): Uint8Array {
  const module: ClosureModule = { index: 0, name: path, path, role: 'library', image: readElf(object, path) };
  const bytes = Uint8Array.from(object);
  slideTables(module.image, bytes, base);
  applyRelocations(module, bytes, {
    relocations: 'kept',
    scope: new Scope([module]),
    planned: new Map([[module, base]]),
  });
  return bytes;
}
