/** The bytes that may stand in front of an opcode. */

export const OPERAND_SIZE = 0x66;
export const ADDRESS_SIZE = 0x67;
/** Segments (3e is also notrack), sizes, lock, repne (also bnd), rep. */
const LEGACY = new Set([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, OPERAND_SIZE, ADDRESS_SIZE, 0xf0, 0xf2, 0xf3]);

export const isPrefix = (byte: number | undefined): boolean => byte !== undefined && LEGACY.has(byte);

/** It counts only right before the opcode. */
export const isRex = (byte: number | undefined): boolean => byte !== undefined && (byte & 0xf0) === 0x40;
