/** Prelinks a program's libraries: pure, from files to files. The essay is in model.ts. */
import type { Closure, ClosureModule } from '../closure/modules.ts';
import { Scope } from '../closure/scope.ts';
import { applyRelocations } from './apply.ts';
import { directStubs } from './direct-stubs.ts';
import type { KeptModule, PrelinkedModule, PrelinkOptions } from './model.ts';
import { padData } from './pad-data.ts';
import { type AddressPlan, type AddressScheme, planAddresses } from './plan-addresses.ts';
import { slideTables, whyNotSlid } from './slide.ts';

export interface PrelinkedClosure {
  readonly modules: readonly PrelinkedModule[];
  /** Those that stay as they are, and why. */
  readonly kept: readonly KeptModule[];
  readonly addresses: AddressPlan<ClosureModule>;
}

const NO_STUBS = { direct: 0, far: 0 };

/** @throws WinnowError E_ELF_… for damaged modules. */
export function prelinkClosure(
  { modules }: Closure,
  options: PrelinkOptions & { readonly addresses: AddressScheme },
): PrelinkedClosure {
  const kept: KeptModule[] = [];
  const slidable = modules.filter((module) => {
    const reason = module.role === 'library' ? whyNotSlid(module.image) : `the ${module.role}`;
    if (reason !== undefined) kept.push({ kind: 'kept', module, reason });
    return reason === undefined;
  });
  const addresses = planAddresses(slidable, options.addresses);
  for (const module of addresses.without) kept.push({ kind: 'kept', module, reason: 'no place was free' });
  // Addresses are final from here on.
  const scope = new Scope(modules);
  const prelinked: PrelinkedModule[] = [];
  for (const [module, base] of addresses.bases) {
    const bytes = Uint8Array.from(module.image.bytes);
    slideTables(module.image, bytes, base);
    const { words, ...applied } = applyRelocations(module, bytes, {
      ...options,
      scope,
      planned: addresses.bases,
    });
    const stubs = options.stubs === 'direct' ? directStubs(module.image, bytes, base, words) : NO_STUBS;
    const whole = padData(bytes, module.path);
    prelinked.push({ kind: 'prelinked', module, base, bytes: whole, stubs, ...applied });
  }
  return { modules: prelinked, kept, addresses };
}
