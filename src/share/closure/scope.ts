/**
 * Which definition the dynamic loader binds a reference to.
 *
 * Problem: a name may be defined in several modules and in several versions; which one counts is glibc's to say.
 * Example: `memcpy@GLIBC_2.14` of git: not found in git itself (undefined there), libpcre2-8, libz; in libc there is
 * `memcpy@GLIBC_2.2.5` (hidden, another version) and `memcpy@@GLIBC_2.14`, which it is.
 * Method: glibc's do_lookup_x and check_match (elf/dl-lookup.c, 2.36), over a table of all definitions by name.
 * Limits: modules that are opened later, LD_PRELOAD'ed ones that the list does not have, RTLD_DEEPBIND.
 */
import type { ElfImage } from '../../elf/image.ts';
import * as spec from '../../elf/spec.ts';
import type { ElfSymbol } from '../../elf/symbols.ts';
import type { ClosureModule } from './modules.ts';

export interface Definition {
  readonly module: ClosureModule;
  readonly symbol: ElfSymbol;
}

/**
 * What a reference is for: `call` is not answered by a program's PLT stub that stands for a function's address,
 * `copy` not by the referring module itself.
 */
export type ReferenceKind = 'call' | 'data' | 'copy';

const CALL_TYPES: readonly number[] = [
  spec.R_X86_64_JUMP_SLOT,
  spec.R_X86_64_DTPMOD64,
  spec.R_X86_64_DTPOFF64,
  spec.R_X86_64_TPOFF64,
  spec.R_X86_64_TLSDESC,
];

/** What glibc makes of a relocation's type (elf_machine_type_class). */
export function referenceKind(type: number): ReferenceKind {
  if (type === spec.R_X86_64_COPY) return 'copy';
  return CALL_TYPES.includes(type) ? 'call' : 'data';
}

const CODE_OR_DATA: readonly number[] = [
  spec.STT_NOTYPE,
  spec.STT_OBJECT,
  spec.STT_FUNC,
  spec.STT_COMMON,
  spec.STT_TLS,
  spec.STT_GNU_IFUNC,
];
const GLOBAL_BINDINGS: readonly number[] = [spec.STB_GLOBAL, spec.STB_WEAK, spec.STB_GNU_UNIQUE];

interface Candidate extends Definition {
  /** Of DT_VERSYM; undefined where the module has no versions. */
  readonly versionIndex: number | undefined;
}

/** Visible to its own module alone: STV_INTERNAL or STV_HIDDEN. */
const bindsLocally = ({ binding, visibility }: ElfSymbol): boolean =>
  binding === spec.STB_LOCAL || visibility === spec.STV_INTERNAL || visibility === spec.STV_HIDDEN;

export class Scope {
  readonly #byName = new Map<string, Candidate[]>();
  readonly #symbolic: ReadonlySet<ClosureModule>;

  /** @param modules in the order of the global scope. */
  constructor(modules: readonly ClosureModule[]) {
    this.#symbolic = new Set(modules.filter(({ image }) => isSymbolic(image)));
    for (const module of modules) {
      for (const candidate of candidatesOf(module)) {
        const known = this.#byName.get(candidate.symbol.name);
        if (known === undefined) this.#byName.set(candidate.symbol.name, [candidate]);
        else known.push(candidate);
      }
    }
  }

  /**
   * What a relocation's symbol is bound to.
   * @returns undefined where nothing defines it: a weak reference, which becomes 0, or an error of the loader's.
   */
  resolve(module: ClosureModule, symbol: ElfSymbol, kind: ReferenceKind): Definition | undefined {
    if (bindsLocally(symbol)) return { module, symbol };
    const found = this.#lookUp(module, symbol, kind);
    // A protected definition is its own module's, whoever else defines the name.
    const isProtected = symbol.visibility === spec.STV_PROTECTED && symbol.shndx !== spec.SHN_UNDEF;
    return isProtected && found !== undefined ? { module, symbol } : found;
  }

  #lookUp(from: ClosureModule, symbol: ElfSymbol, kind: ReferenceKind): Definition | undefined {
    const all = this.#byName.get(symbol.name) ?? [];
    const own = this.#symbolic.has(from) ? all.filter(({ module }) => module === from) : [];
    return match(own, from, symbol, kind) ?? match(all, from, symbol, kind);
  }
}

/** The first module with a match, as the loader goes through them. */
function match(
  candidates: readonly Candidate[],
  from: ClosureModule,
  { version }: ElfSymbol,
  kind: ReferenceKind,
): Definition | undefined {
  for (let i = 0; i < candidates.length; ) {
    const module = candidates[i]?.module;
    let newest: Candidate | undefined;
    let versioned = 0;
    for (; i < candidates.length && candidates[i]?.module === module; i++) {
      const candidate = candidates[i];
      if (candidate === undefined || !mayAnswer(candidate, from, kind)) continue;
      const answer = versionAnswer(candidate, version?.name);
      if (answer === 'match') return candidate;
      if (answer === 'default' && versioned++ === 0) newest = candidate;
    }
    // Without a version any is right, where there is but one.
    if (versioned === 1 && newest !== undefined) return newest;
  }
  return undefined;
}

function mayAnswer({ module, symbol }: Candidate, from: ClosureModule, kind: ReferenceKind): boolean {
  if (kind === 'copy') return module !== from && module.role !== 'program';
  return kind === 'data' || symbol.shndx !== spec.SHN_UNDEF;
}

function versionAnswer(
  { symbol, versionIndex }: Candidate,
  wanted: string | undefined,
): 'match' | 'default' | 'no' {
  if (versionIndex === undefined) return 'match';
  const isHidden = (versionIndex & spec.VERSYM_HIDDEN) !== 0;
  if (wanted === undefined) {
    // 0 and 1 are no versions, and 2 is the oldest: what an old program without versions was linked to.
    if ((versionIndex & spec.VERSYM_VERSION) < 3) return 'match';
    return isHidden ? 'no' : 'default';
  }
  if (symbol.version?.name === wanted) return 'match';
  return symbol.version === undefined && !isHidden ? 'match' : 'no';
}

function* candidatesOf(module: ClosureModule): Generator<Candidate> {
  const { image } = module;
  const { dynamic, symbols } = image;
  const versions =
    dynamic.value(spec.DT_VERSYM) === undefined
      ? undefined
      : dynamic.table(spec.DT_VERSYM, symbols.length * 2);
  for (const symbol of symbols) {
    if (!CODE_OR_DATA.includes(symbol.type) || !GLOBAL_BINDINGS.includes(symbol.binding)) continue;
    if (bindsLocally(symbol)) continue;
    const hasValue =
      symbol.value !== 0n ||
      symbol.shndx === spec.SHN_ABS ||
      (symbol.type === spec.STT_TLS && symbol.shndx !== spec.SHN_UNDEF);
    if (hasValue) yield { module, symbol, versionIndex: versions?.getUint16(symbol.index * 2, true) };
  }
}

function isSymbolic({ dynamic }: ElfImage): boolean {
  const flags = dynamic.value(spec.DT_FLAGS) ?? 0;
  return dynamic.value(spec.DT_SYMBOLIC) !== undefined || (flags & spec.DF_SYMBOLIC) !== 0;
}
