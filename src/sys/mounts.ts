/** Mounts that one thread of this process sees, and what it starts; and a root folder of its own. */
import { lastErrno, libc } from './libc.ts';

const CLONE_NEWNS = 0x00020000;
const MS_BIND = 0x1000;
const MS_REC = 0x4000;
const MS_SLAVE = 0x80000;

const unshare = libc.func('int unshare(int flags)');
const chroot = libc.func('int chroot(const char *path)');
const chdir = libc.func('int chdir(const char *path)');
const mount = libc.func(
  'int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data)',
);

/**
 * Gives this thread a mount namespace of its own, in which each file `to` is what stands at `from`. Nothing gets out of it,
 * and it is gone with the thread and its children.
 *
 * @throws Error with the errno's name: EPERM without CAP_SYS_ADMIN.
 */
export function showHere(files: readonly { readonly from: string; readonly to: string }[]): void {
  if (unshare(CLONE_NEWNS) !== 0) throw new Error(`unshare: ${lastErrno()}`);
  if (mount('none', '/', null, MS_SLAVE | MS_REC, null) !== 0) throw new Error(`mount /: ${lastErrno()}`);
  for (const { from, to } of files) {
    if (mount(from, to, null, MS_BIND, null) !== 0) throw new Error(`mount ${to}: ${lastErrno()}`);
  }
}

/**
 * Makes `root` the root folder of this thread, which must have called `showHere`: only then it shares neither mounts nor
 * root with the others. This machine's /proc stands at `proc`, a folder in there.
 *
 * @throws Error with the errno's name.
 */
export function enterRoot({ root, proc }: { readonly root: string; readonly proc: string }): void {
  if (mount('/proc', proc, null, MS_BIND | MS_REC, null) !== 0)
    throw new Error(`mount ${proc}: ${lastErrno()}`);
  if (chroot(root) !== 0) throw new Error(`chroot ${root}: ${lastErrno()}`);
  if (chdir('/') !== 0) throw new Error(`chdir /: ${lastErrno()}`);
}
