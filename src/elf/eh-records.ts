/** The records of .eh_frame: common information entries (CIE) and frame description entries (FDE). */
import { type Rva, rva } from '../base/brands.ts';
import {
  DW_EH_PE_absptr,
  DW_EH_PE_indirect,
  DW_EH_PE_omit,
  type DwarfContext,
  DwarfReader,
} from './dwarf.ts';
import { elfError } from './errors.ts';
import type { ElfImage } from './image.ts';
import { lazy } from './lazy.ts';
import * as spec from './spec.ts';

/** A field with an encoded pointer. */
export interface PointerField {
  /** RVA of the field. */
  readonly at: Rva;
  readonly encoding: number;
  /** What it points to: where `DW_EH_PE_indirect` is set the slot that will hold the pointer. 0: nothing. */
  readonly target: Rva;
}

export interface Cie {
  /** RVA of the record, whose first field is its length. */
  readonly at: Rva;
  /** Bytes of the record with its length field. */
  readonly size: number;
  readonly version: number;
  readonly augmentation: string;
  readonly codeAlign: number;
  readonly dataAlign: number;
  readonly returnRegister: number;
  /** Of the pc fields in its FDEs. */
  readonly pcEncoding: number;
  /** Of the LSDA pointers in its FDEs; DW_EH_PE_omit where they have none. */
  readonly lsdaEncoding: number;
  readonly personality: PointerField | undefined;
  readonly signalFrame: boolean;
  /** RVA and bytes of the initial instructions. */
  readonly programAt: Rva;
  readonly programSize: number;
}

export interface Fde {
  /** RVA of the record, whose first field is its length. */
  readonly at: Rva;
  /** Bytes of the record with its length field. */
  readonly size: number;
  readonly cie: Cie;
  /** RVA of the 4-byte field with the distance back to the CIE. */
  readonly ciePointerAt: Rva;
  /** The code: from `start`, to `end`, exclusive. */
  readonly start: Rva;
  readonly end: Rva;
  /** RVA of the field with the start, in the CIE's `pcEncoding`; the range follows in the same format. */
  readonly startAt: Rva;
  /** RVA of the field with the range. */
  readonly rangeAt: Rva;
  /** RVA of the field with the LSDA pointer; undefined where the CIE knows none. */
  readonly lsdaAt: Rva | undefined;
  /** The language-specific data area; where the encoding is indirect the slot. */
  readonly lsda: Rva | undefined;
  /** RVA and bytes of the call frame instructions. */
  readonly programAt: Rva;
  readonly programSize: number;
}

/** Linkers leave such records of code that they dropped: they describe nothing. */
export const isLeftover = (fde: Fde): boolean => fde.end === fde.start || fde.start === 0;

/** Reads the records one after the other into `cies` and `fdes`. */
export class Records {
  readonly cies: Cie[] = [];
  readonly fdes: Fde[] = [];
  readonly #reader: DwarfReader;
  readonly #base: number;
  readonly #cieAt = new Map<number, Cie>();

  constructor(image: ElfImage, view: DataView, base: Rva) {
    this.#base = base;
    this.#reader = new DwarfReader(view, contextOf(image, base));
  }

  /**
   * @param size bytes of all pieces; where it is not known the records end with the first zero length, but
   *   not before the FDE at the RVA `last`.
   * @returns where the reading ended, from the start.
   */
  readAll(size: number | undefined, last: number): number {
    const reader = this.#reader;
    const limit = size ?? reader.view.byteLength;
    reader.limit = limit;
    while (reader.at + 4 <= limit) {
      const at = reader.at;
      if (size === undefined && last !== 0 && this.#base + at > last) {
        // Without section headers nothing else says what follows: more leftovers, or another section.
        return reader.u32() === 0 ? reader.at : at;
      }
      let length = reader.u32();
      if (length === 0) {
        if (size === undefined && this.#base + at >= last) return reader.at;
        continue;
      }
      if (length === 0xffffffff) length = reader.s64();
      if (length < 4 || length > limit - reader.at) reader.fail(`a record of ${length} bytes`);
      reader.limit = reader.at + length;
      this.#record(at);
      reader.at = reader.limit;
      reader.limit = limit;
    }
    return reader.at;
  }

  #record(at: number): void {
    const reader = this.#reader;
    const idAt = reader.at;
    const id = reader.u32();
    if (id === 0) {
      const cie = this.#cie(at);
      this.#cieAt.set(at, cie);
      this.cies.push(cie);
      return;
    }
    const cie = this.#cieAt.get(idAt - id) ?? reader.fail('an FDE leads to no CIE before it');
    this.fdes.push(this.#fde(at, idAt, cie));
  }

  #cie(at: number): Cie {
    const reader = this.#reader;
    const version = reader.u8();
    if (version !== 1 && version !== 3) reader.fail(`a CIE of version ${version}`);
    let augmentation = '';
    for (let letter = reader.u8(); letter !== 0; letter = reader.u8()) {
      if (augmentation.length === 16) reader.fail('the augmentation of a CIE is too long');
      augmentation += String.fromCharCode(letter);
    }
    // GCC 2's exception tables: a pointer that nothing reads any more.
    if (augmentation === 'eh') reader.skip(8);
    const codeAlign = reader.uleb();
    const dataAlign = reader.sleb();
    const returnRegister = version === 1 ? reader.u8() : reader.uleb();
    let pcEncoding = DW_EH_PE_absptr;
    let lsdaEncoding = DW_EH_PE_omit;
    let personality: PointerField | undefined;
    let signalFrame = false;
    if (augmentation.startsWith('z')) {
      const size = reader.uleb();
      const end = reader.skip(size) + size;
      reader.at = end - size;
      for (const letter of augmentation.slice(1)) {
        if (letter === 'R') pcEncoding = reader.u8();
        else if (letter === 'L') lsdaEncoding = reader.u8();
        else if (letter === 'P') personality = this.#pointer(reader.u8());
        else if (letter === 'S') signalFrame = true;
        else reader.fail(`the augmentation "${augmentation}" is not known`);
      }
      if (reader.at > end) reader.fail('the augmentation data of a CIE is longer than it says');
      reader.at = end;
    } else if (augmentation !== '' && augmentation !== 'eh') {
      reader.fail(`the augmentation "${augmentation}" is not known`);
    }
    if ((pcEncoding & DW_EH_PE_indirect) !== 0) reader.fail('the code addresses of FDEs are indirect');
    return {
      ...this.#frameOf(at),
      version,
      augmentation,
      codeAlign,
      dataAlign,
      returnRegister,
      pcEncoding,
      lsdaEncoding,
      personality,
      signalFrame,
      ...this.#program(),
    };
  }

  #fde(at: number, idAt: number, cie: Cie): Fde {
    const reader = this.#reader;
    const startAt = reader.at;
    const start = reader.pointer(cie.pcEncoding);
    const rangeAt = reader.at;
    const range = reader.value(cie.pcEncoding);
    if (range < 0 || !Number.isSafeInteger(start + range)) reader.fail(`an FDE of ${range} bytes of code`);
    let lsdaAt: Rva | undefined;
    let lsda = 0;
    if (cie.augmentation.startsWith('z')) {
      const size = reader.uleb();
      const end = reader.skip(size) + size;
      reader.at = end - size;
      if (cie.lsdaEncoding !== DW_EH_PE_omit) {
        lsdaAt = rva(this.#base + reader.at);
        lsda = reader.pointer(cie.lsdaEncoding);
      }
      if (reader.at > end) reader.fail('the augmentation data of an FDE is longer than it says');
      reader.at = end;
    }
    return {
      at: rva(this.#base + at),
      size: reader.limit - at,
      cie,
      ciePointerAt: rva(this.#base + idAt),
      start: rva(start),
      end: rva(start + range),
      startAt: rva(this.#base + startAt),
      rangeAt: rva(this.#base + rangeAt),
      lsdaAt,
      lsda: lsda === 0 ? undefined : rva(lsda),
      programAt: rva(this.#base + reader.at),
      programSize: reader.limit - reader.at,
    };
  }

  #pointer(encoding: number): PointerField {
    const at = rva(this.#base + this.#reader.at);
    return { at, encoding, target: rva(this.#reader.pointer(encoding)) };
  }

  #frameOf(at: number): Pick<Cie, 'at' | 'size'> {
    return { at: rva(this.#base + at), size: this.#reader.limit - at };
  }

  #program(): Pick<Cie, 'programAt' | 'programSize'> {
    const { at, limit } = this.#reader;
    return { programAt: rva(this.#base + at), programSize: limit - at };
  }
}

function contextOf(image: ElfImage, base: number): DwarfContext {
  const fail = (at: number, what: string): never => {
    throw elfError('E_ELF_EH_FRAME', {
      path: image.path,
      part: '.eh_frame',
      what: `${what}, at 0x${at.toString(16)}`,
    });
  };
  const byField = lazy(
    () => new Map(image.relocations.map((relocation) => [Number(relocation.rva), relocation])),
  );
  return {
    base,
    data: image.dynamic.value(spec.DT_PLTGOT),
    fail,
    absolute: (fieldAt, value) => {
      const relocation = image.header.type === spec.ET_EXEC ? undefined : byField().get(fieldAt);
      if (relocation === undefined) return value;
      if (relocation.type !== spec.R_X86_64_RELATIVE)
        fail(fieldAt, 'the address of a symbol fills a pointer');
      return Number(relocation.addend);
    },
  };
}
