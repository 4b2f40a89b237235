/**
 * DWARF's variable numbers and the encoded pointers of .eh_frame, .eh_frame_hdr and language-specific data
 * areas (LSB: DWARF extensions). An encoding is one byte: a format, what the value counts from, and whether it is the
 * address of a slot that holds the pointer.
 */
export const DW_EH_PE_absptr = 0x00;
export const DW_EH_PE_uleb128 = 0x01;
export const DW_EH_PE_udata2 = 0x02;
export const DW_EH_PE_udata4 = 0x03;
export const DW_EH_PE_udata8 = 0x04;
export const DW_EH_PE_signed = 0x08;
export const DW_EH_PE_sleb128 = 0x09;
export const DW_EH_PE_sdata2 = 0x0a;
export const DW_EH_PE_sdata4 = 0x0b;
export const DW_EH_PE_sdata8 = 0x0c;
export const DW_EH_PE_pcrel = 0x10;
export const DW_EH_PE_textrel = 0x20;
export const DW_EH_PE_datarel = 0x30;
export const DW_EH_PE_funcrel = 0x40;
export const DW_EH_PE_aligned = 0x50;
export const DW_EH_PE_indirect = 0x80;
export const DW_EH_PE_omit = 0xff;

/** How the value is written. */
export const formatOf = (encoding: number): number => encoding & 0x0f;
/** What it counts from. */
export const baseOf = (encoding: number): number => encoding & 0x70;

/** Bytes of a value, or undefined for those of variable length and for formats that do not exist. */
export function formatSize(encoding: number): 2 | 4 | 8 | undefined {
  switch (formatOf(encoding)) {
    case DW_EH_PE_udata2:
    case DW_EH_PE_sdata2:
      return 2;
    case DW_EH_PE_udata4:
    case DW_EH_PE_sdata4:
      return 4;
    case DW_EH_PE_absptr:
    case DW_EH_PE_signed:
    case DW_EH_PE_udata8:
    case DW_EH_PE_sdata8:
      return 8;
    default:
      return undefined;
  }
}

export interface DwarfContext {
  /** RVA of the view's first byte. */
  readonly base: number;
  /** What datarel counts from; undefined where nothing is known. */
  readonly data: number | undefined;
  /** What a plain address in a field is: in a position-independent module a relocation may fill it. */
  absolute(fieldAt: number, value: number): number;
  fail(at: number, what: string): never;
}

/** Reads numbers one after the other; nothing past `limit`. Positions count from the view's start. */
export class DwarfReader {
  at = 0;
  limit: number;
  readonly view: DataView;
  readonly #context: DwarfContext;

  constructor(view: DataView, context: DwarfContext) {
    this.view = view;
    this.limit = view.byteLength;
    this.#context = context;
  }

  /** Steps over `size` bytes. @returns where they begin. */
  skip(size: number): number {
    const { at } = this;
    if (size > this.limit - at) this.fail(`${size} bytes do not fit the record`);
    this.at = at + size;
    return at;
  }

  u8(): number {
    return this.view.getUint8(this.skip(1));
  }

  u32(): number {
    return this.view.getUint32(this.skip(4), true);
  }

  /** Signed, 64 bits, as a number. */
  s64(): number {
    const at = this.skip(8);
    return this.#safe(
      this.view.getInt32(at + 4, true) * 0x1_0000_0000 + this.view.getUint32(at, true),
      'a value',
    );
  }

  uleb(): number {
    return this.#leb(false);
  }

  sleb(): number {
    return this.#leb(true);
  }

  /** The number alone, without what it counts from. */
  value(encoding: number): number {
    switch (formatOf(encoding)) {
      case DW_EH_PE_sdata4:
        return this.view.getInt32(this.skip(4), true);
      case DW_EH_PE_udata4:
        return this.view.getUint32(this.skip(4), true);
      case DW_EH_PE_absptr:
      case DW_EH_PE_signed:
      case DW_EH_PE_udata8:
      case DW_EH_PE_sdata8:
        return this.s64();
      case DW_EH_PE_udata2:
        return this.view.getUint16(this.skip(2), true);
      case DW_EH_PE_sdata2:
        return this.view.getInt16(this.skip(2), true);
      case DW_EH_PE_uleb128:
        return this.uleb();
      case DW_EH_PE_sleb128:
        return this.sleb();
      default:
        return this.fail(`the pointer encoding 0x${encoding.toString(16)} does not exist`);
    }
  }

  /**
   * An encoded pointer's RVA: of what it points to, or of the slot where it is indirect. 0 is no pointer
   * (like the unwinder, a value of zero is not counted from anywhere).
   */
  pointer(encoding: number): number {
    if (encoding === DW_EH_PE_aligned) {
      this.skip(-(this.#context.base + this.at) & 7);
      const field = this.#context.base + this.at;
      return this.#rva(this.#context.absolute(field, this.s64()));
    }
    const field = this.#context.base + this.at;
    const value = this.value(encoding);
    switch (baseOf(encoding)) {
      case DW_EH_PE_absptr:
        return this.#rva(formatSize(encoding) === 8 ? this.#context.absolute(field, value) : value);
      case DW_EH_PE_pcrel:
        return value === 0 ? 0 : this.#rva(field + value);
      case DW_EH_PE_datarel: {
        if (value === 0) return 0;
        const { data } = this.#context;
        return this.#rva(
          data === undefined ? this.fail('nothing says what a datarel pointer counts from') : data + value,
        );
      }
      default:
        return this.fail(`the pointer encoding 0x${encoding.toString(16)} has no meaning here`);
    }
  }

  fail(what: string): never {
    return this.#context.fail(this.#context.base + this.at, what);
  }

  /** 49 bits: every address of a user program. Longer numbers may only go on with copies of their sign. */
  #leb(signed: boolean): number {
    let value = 0;
    let scale = 1;
    let padding = 0;
    for (;;) {
      const byte = this.u8();
      const bits = byte & 0x7f;
      if (scale < 2 ** 49) {
        value += bits * scale;
        scale *= 0x80;
        if (signed && (byte & 0x40) !== 0) padding = 0x7f;
        else padding = 0;
      } else if (bits !== padding) this.fail('a LEB128 number has more than 49 bits');
      if (byte < 0x80) return padding === 0 ? value : value - scale;
    }
  }

  #rva(value: number): number {
    if (value < 0 || value > Number.MAX_SAFE_INTEGER) this.fail('a pointer leads out of the module');
    return value;
  }

  #safe(value: number, what: string): number {
    return Number.isSafeInteger(value) ? value : this.fail(`${what} is beyond 2^53`);
  }
}
