/** A socket of the file system that messages with descriptors are sent to, with who sent them. */
import type { Fd } from './fds.ts';
import { closeFd } from './fds.ts';
import { lastErrno, libc } from './libc.ts';

const socket = libc.func('int socket(int domain, int type, int protocol)');
const bind = libc.func('int bind(int fd, const void *address, uint32_t size)');
const setsockopt = libc.func(
  'int setsockopt(int fd, int level, int option, const void *value, uint32_t size)',
);

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const SOL_SOCKET = 1;
const SO_PASSCRED = 16;
const PATH_AT = 2;
const ADDRESS_SIZE = 110;

/** @throws Error where the path is too long for a socket's, or the system refuses. */
export function openKeepSocket(path: string): Fd {
  const address = Buffer.alloc(ADDRESS_SIZE);
  address.writeUInt16LE(AF_UNIX);
  if (Buffer.byteLength(path) >= ADDRESS_SIZE - PATH_AT) throw new Error(`too long for a socket: ${path}`);
  address.write(path, PATH_AT);
  const made: number = socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0);
  if (made < 0) throw new Error(`socket: errno ${lastErrno()}`);
  const yes = Buffer.alloc(4);
  yes.writeInt32LE(1);
  if (
    bind(made, address, address.length) !== 0 ||
    setsockopt(made, SOL_SOCKET, SO_PASSCRED, yes, yes.length) !== 0
  ) {
    closeFd(made);
    throw new Error(`bind: errno ${lastErrno()}`);
  }
  return made;
}
