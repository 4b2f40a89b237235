/**
 * Moves the vDSO with its data pages to an address of our choice, before the loader looks at it.
 *
 * New kernels put it right below the loader, at the same distance in each run: a pointer into one and a pointer into the
 * other would differ alike, and nobody could tell them apart. Its place is above the loader, where images have it.
 */
import { randomInt } from 'node:crypto';
import { PAGE_SIZE, type Tid } from '../../base/brands.ts';
import { withCalls } from '../../record/inject.ts';
import type { Mapping } from '../../sys/maps.ts';
import { AT, type Auxv, type InitialStack } from './auxv.ts';
import { Refusal } from './refusal.ts';
import type { TraceeMemory } from './tracee-memory.ts';

const SYS_MREMAP = 25n;
const MREMAP_MAYMOVE_FIXED = 3n;
/** The kernel keeps a megabyte below a stack free. */
const STACK_GAP = 2 ** 21;

export const isVdso = ({ path }: Mapping): boolean => path === '[vdso]' || path.startsWith('[vvar');

/**
 * @param tracee stopped at the exit of its execve.
 * @returns the auxiliary vector as the loader will see it.
 * @throws Refusal where there is no room, or the kernel does not move it.
 */
export function moveVdso(
  tracee: Tid,
  memory: TraceeMemory,
  maps: readonly Mapping[],
  auxv: Auxv,
  stack: InitialStack,
): Auxv {
  const parts = maps.filter(isVdso);
  const first = parts[0];
  const last = parts.at(-1);
  const header = auxv.get(AT.vdso);
  if (first === undefined || last === undefined || header === undefined) return auxv;
  const distance = placeFor(last.end - first.start, maps, auxv) - first.start;
  const isMoved = withCalls(tracee, syscallIn(memory, maps, auxv), (call) => {
    for (const { start, end } of parts) {
      const size = BigInt(end - start);
      const target = BigInt(start + distance);
      const at = call(SYS_MREMAP, BigInt(start), size, size, MREMAP_MAYMOVE_FIXED, target);
      if (at === target) continue;
      // Sealed. Older kernels have it above the stack, in a place of its own.
      if (start === first.start && first.start > Number(auxv.get(AT.base) ?? 0n)) return false;
      throw new Refusal('the vDSO cannot be moved', `mremap: ${at}`);
    }
    return true;
  });
  if (!isMoved) return auxv;
  const moved = header + BigInt(distance);
  const word = Buffer.alloc(8);
  word.writeBigUInt64LE(moved);
  memory.write(wordOf(memory, stack.auxv, AT.vdso), word);
  return new Map([...auxv, [AT.vdso, moved]]);
}

/** Somewhere between the loader and the stack. */
function placeFor(size: number, maps: readonly Mapping[], auxv: Auxv): number {
  const loader = Number(auxv.get(AT.base) ?? 0n);
  const stackAt = maps.findIndex(({ path }) => path === '[stack]');
  const above = maps[stackAt - 1];
  const stack = maps[stackAt];
  if (above === undefined || stack === undefined) throw new Refusal('the vDSO cannot be moved', 'no stack');
  const from = above.end / PAGE_SIZE + 1;
  const pages = Math.floor((stack.start - STACK_GAP - size) / PAGE_SIZE) - from;
  if (above.start < loader || pages < 1) {
    throw new Refusal('the vDSO cannot be moved', 'no room between the loader and the stack');
  }
  return (from + randomInt(pages)) * PAGE_SIZE;
}

/** A `syscall` instruction of the loader: the vDSO's own moves away while it is executed. */
function syscallIn(memory: TraceeMemory, maps: readonly Mapping[], auxv: Auxv): bigint {
  const loader = Number(auxv.get(AT.base) ?? 0n);
  for (const { start, end, executable, path } of maps) {
    if (start < loader || !executable || path.startsWith('[')) continue;
    const at = memory.read(start, end - start).indexOf(Buffer.from([0x0f, 0x05]));
    if (at >= 0) return BigInt(start + at);
  }
  throw new Refusal('an unknown dynamic loader', 'it has no system call');
}

/** Address of an entry's value in the vector on the stack. */
function wordOf(memory: TraceeMemory, vector: number, type: number): number {
  for (let at = vector; ; at += 16) {
    const found = Number(memory.word(at));
    if (found === type) return at + 8;
    if (found === 0) throw new Error(`no entry ${type} in the auxiliary vector`);
  }
}
