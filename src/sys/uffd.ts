/**
 * userfaultfd as a switch for fault-around.
 *
 * A read fault in a file mapping makes up to 16 neighbouring cached pages present as well, so present
 * bits say too much. The kernel does not do that in a mapping that is registered for write-protect
 * notices (`uffd_disable_fault_around` in mm/memory.c), whether or not anything is write-protected.
 * With WP_ASYNC (Linux 6.7) any kind of mapping can be registered and no handler is needed.
 *
 * The descriptor is made in the tracee (its memory is what it governs) and borrowed by the tracer, so
 * the tracee holds none. Registrations end when the last holder closes it.
 */
import type { Fd } from './fds.ts';
import { ioctl } from './libc.ts';
import type { AddressRange } from './pagemap.ts';

export const SYS_userfaultfd = 323n;
const O_CLOEXEC = 0o2000000;
const UFFD_USER_MODE_ONLY = 1;
/** Argument of the call made in the tracee: allowed without privilege. */
export const UFFD_FLAGS = BigInt(O_CLOEXEC | UFFD_USER_MODE_ONLY);

const UFFDIO_API = 0xc018aa3f;
const UFFDIO_REGISTER = 0xc020aa00;
const UFFD_API = 0xaan;
const UFFD_FEATURE_WP_UNPOPULATED = 1n << 13n;
const UFFD_FEATURE_WP_ASYNC = 1n << 15n;
const UFFDIO_REGISTER_MODE_WP = 2n;

/** @returns whether the kernel offers asynchronous write-protection. */
export function startUffd(fd: Fd): boolean {
  const api = Buffer.alloc(24);
  api.writeBigUInt64LE(UFFD_API, 0);
  api.writeBigUInt64LE(UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_ASYNC, 8);
  return ioctl(fd, UFFDIO_API, api) === 0;
}

const registerArg = Buffer.alloc(32);

/**
 * Switches fault-around off in the mappings of `range`.
 *
 * @returns false where the kernel refuses: a shared mapping of a file that is not writable.
 */
export function registerRange(fd: Fd, range: AddressRange): boolean {
  registerArg.writeBigUInt64LE(BigInt(range.start), 0);
  registerArg.writeBigUInt64LE(BigInt(range.end - range.start), 8);
  registerArg.writeBigUInt64LE(UFFDIO_REGISTER_MODE_WP, 16);
  registerArg.writeBigUInt64LE(0n, 24);
  return ioctl(fd, UFFDIO_REGISTER, registerArg) === 0;
}
