/**
 * Which relocations can be applied when addresses are planned, and which stay for the dynamic loader.
 *
 * Example: libgit's JUMP_SLOT for `deflate` of libz can be written once both have addresses; that for `memcpy`, whose
 * resolver asks the processor, stays; so does what lies in ld.so, which the kernel maps where it likes.
 */
import type { Relocation } from '../../elf/relocations.ts';
import * as spec from '../../elf/spec.ts';
import type { Binding } from '../closure/bindings.ts';
import type { ClosureModule } from '../closure/modules.ts';
import { bindsAtStart } from './lazy-stubs.ts';
import type { PlannedAddresses, StayReason } from './model.ts';

export const RELATIVE: readonly number[] = [spec.R_X86_64_RELATIVE, spec.R_X86_64_RELATIVE64];
const BY_SYMBOL: readonly number[] = [spec.R_X86_64_GLOB_DAT, spec.R_X86_64_JUMP_SLOT, spec.R_X86_64_64];
const THREAD_LOCAL: readonly number[] = [
  spec.R_X86_64_DTPMOD64,
  spec.R_X86_64_DTPOFF64,
  spec.R_X86_64_TPOFF64,
  spec.R_X86_64_TLSDESC,
];

/**
 * Undefined where the relocation can be applied.
 * @param binding of a relocation by symbol.
 * @param planned libraries with an address; all of them where it is not given.
 */
export function whyItStays(
  module: ClosureModule,
  relocation: Relocation,
  binding: Binding | undefined,
  planned?: PlannedAddresses,
): StayReason | undefined {
  if (module.role === 'program') return 'in the program, which stays as it is';
  if (module.role === 'loader') return 'in the loader, which stays as it is';
  const { type, rva } = relocation;
  if (THREAD_LOCAL.includes(type)) return 'thread-local storage';
  if (type === spec.R_X86_64_IRELATIVE) return 'to a function that is resolved at each start';
  if (module.image.offsetOf(rva) === undefined) return 'the word is not in the file';
  if (RELATIVE.includes(type)) return undefined;
  if (!BY_SYMBOL.includes(type) || binding === undefined) return 'another type';
  // The loader adds it, and no linker writes one.
  if (type !== spec.R_X86_64_64 && relocation.addend !== 0n) return 'another type';
  const isLazy = type === spec.R_X86_64_JUMP_SLOT && !bindsAtStart(module.image);
  return whyTheTargetStays(binding, isLazy, planned);
}

function whyTheTargetStays(
  { symbol, definition }: Binding,
  isLazy: boolean,
  planned: PlannedAddresses | undefined,
): StayReason | undefined {
  // A weak one becomes 0; what is bound at the first call, a library that is opened until then may define.
  if (definition === undefined)
    return symbol.binding === spec.STB_WEAK && !isLazy ? undefined : 'nothing defines it';
  const target = definition.symbol;
  // The first look-up decides which definition is everybody's, for libraries that are opened later, too.
  if (target.binding === spec.STB_GNU_UNIQUE) return 'to a unique symbol, of which the loader keeps a list';
  if (target.type === spec.STT_TLS) return 'thread-local storage';
  if (target.type === spec.STT_GNU_IFUNC) return 'to a function that is resolved at each start';
  if (target.shndx === spec.SHN_ABS) return undefined;
  const { module } = definition;
  const { role, image } = module;
  if (role === 'loader') return 'to the loader, whose address is not planned';
  if (role === 'program' && image.header.type !== spec.ET_EXEC)
    return 'to the program, whose address is not planned';
  if (role === 'library' && planned?.has(module) === false) return 'to a module that stays as it is';
  return undefined;
}
