/**
 * How much thread-local storage of a program's libraries must be static.
 *
 * Problem: under an auditor glibc lays out static storage before it knows the libraries (dl_main, init_tls), so that of
 * libraries comes out of a reserve, which is there for libraries that are opened later. An auditor makes the reserve larger by
 * what two C libraries would need of it (_dl_tls_static_surplus_init: 160 + 144 bytes): with more, a library that is opened later
 * might find no room that it would find in a plain start; with much more, the program does not start.
 * Example: libc 144 bytes, libgomp 136: good. libjemalloc 2,632: not.
 * Method: static is what a module says of itself (DF_STATIC_TLS), what others reach at a fixed distance (TPOFF64), and what
 * descriptors may take.
 */
import * as spec from '../../elf/spec.ts';
import { Binder } from '../closure/bindings.ts';
import type { ClosureModule } from '../closure/modules.ts';
import { Scope } from '../closure/scope.ts';

const AUDITOR_ADDS = 160 + 144;
const DF_STATIC_TLS = 0x10;
const TAKES_STATIC: readonly number[] = [spec.R_X86_64_TPOFF64, spec.R_X86_64_TLSDESC];

/** Whether an auditor leaves less of the reserve than a plain start. */
export function needsMuchStorage(modules: readonly ClosureModule[]): boolean {
  const scope = new Scope(modules);
  const taken = new Set<ClosureModule>();
  for (const module of modules) {
    if (((module.image.dynamic.value(spec.DT_FLAGS) ?? 0) & DF_STATIC_TLS) !== 0) taken.add(module);
    const binder = new Binder(scope, module);
    for (const relocation of module.image.relocations) {
      if (!TAKES_STATIC.includes(relocation.type)) continue;
      taken.add(binder.bind(relocation)?.definition?.module ?? module);
    }
  }
  let size = 0;
  for (const { image, role } of taken) {
    const segment = image.segments.find(({ type }) => type === spec.PT_TLS);
    if (role !== 'library' || segment === undefined) continue;
    const align = Math.max(1, segment.align);
    size = Math.ceil((size + segment.memSize) / align) * align;
  }
  return size > AUDITOR_ADDS;
}
