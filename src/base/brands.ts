/**
 * Numbers that can be confused get a type of their own. A brand costs nothing at run time: the
 * constructors below are the only casts, and they check what can be checked.
 */
declare const brand: unique symbol;
type Brand<T, Name extends string> = T & { readonly [brand]: Name };

/** Byte offset from the start of a file. At most 2^53 - 1. */
export type FileOffset = Brand<number, 'FileOffset'>;
/** Virtual address relative to a module's load bias, as the ELF file says it. At most 2^53 - 1. */
export type Rva = Brand<number, 'Rva'>;
/** Address in the memory of a tracee: 64 bits, so a bigint. */
export type Address = Brand<bigint, 'Address'>;
/**
 * Address in the user half of a process: below 2^56, so a number holds it. For the tables with many
 * thousands of addresses (mappings, page maps), where bigint would cost.
 */
export type UserAddress = Brand<number, 'UserAddress'>;
/** Index of a 4 KiB page in a file. */
export type PageIndex = Brand<number, 'PageIndex'>;
/** A process (thread group) id. */
export type Pid = Brand<number, 'Pid'>;
/** A thread id. */
export type Tid = Brand<number, 'Tid'>;

export const PAGE_SIZE = 4096;

function checked(value: number, what: string): number {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new RangeError(`${what} must be an integer from 0 to 2^53 - 1, not ${value}`);
  }
  return value;
}

export const fileOffset = (value: number): FileOffset => checked(value, 'file offset') as FileOffset;
export const rva = (value: number): Rva => checked(value, 'RVA') as Rva;
export const address = (value: bigint): Address => BigInt.asUintN(64, value) as Address;
export const userAddress = (value: number | bigint): UserAddress =>
  checked(Number(value), 'user address') as UserAddress;
export const pageIndex = (value: number): PageIndex => checked(value, 'page index') as PageIndex;
export const pid = (value: number): Pid => checked(value, 'process id') as Pid;
export const tid = (value: number): Tid => checked(value, 'thread id') as Tid;

/** The page that holds a byte of a file. */
export const pageOf = (offset: FileOffset): PageIndex => pageIndex(Math.floor(offset / PAGE_SIZE));
/** How many pages `size` bytes take, the last one perhaps in part. */
export const pagesIn = (size: number): number => Math.ceil(size / PAGE_SIZE);
