/** What this kernel and this container offer, found out by trying: small probes without lasting effect. */
import { closeSync, openSync } from 'node:fs';
import koffi from 'koffi';
import { pid, tid } from '../base/brands.ts';
import { assembleFilter, SECCOMP_RET_USER_NOTIF } from './bpf.ts';
import { closeFd, type Fd } from './fds.ts';
import { lastErrno, libc } from './libc.ts';
import { readMaps } from './maps.ts';
import { backedPages, pagemapMethod } from './pagemap.ts';
import { PTRACE_O_EXITKILL, PtraceFailed, seize } from './ptrace.ts';
import { askForHandOver } from './seccomp.ts';
import { startWaiting } from './start.ts';
import { SYS_userfaultfd, startUffd, UFFD_FLAGS } from './uffd.ts';
import { waitFor } from './wait.ts';

/** What came of a try: it worked, or the errno (or the reason in words) why not. */
export type Offer = { readonly works: true } | { readonly works: false; readonly why: string };

const YES: Offer = { works: true };
const no = (why: string): Offer => ({ works: false, why });

const syscall3 = libc.func('long syscall(long nr, long a, long b, long c)');
const preadv2 = libc.func('long preadv2(int fd, void *vectors, int count, int64_t offset, int flags)');

/** Whether page tables can be read, and by PAGEMAP_SCAN or word by word. */
export function tryPagemap(): Offer & { readonly method?: 'scan' | 'bits' } {
  const own = readMaps(pid(process.pid))[0];
  if (own === undefined) return no('/proc is not mounted');
  try {
    backedPages(pid(process.pid), [own]);
    return { works: true, method: pagemapMethod() };
  } catch (error) {
    return no(error instanceof Error ? error.message : String(error));
  }
}

/** Whether fault-around can be switched off: userfaultfd with asynchronous write-protection. */
export function tryUserfaultfd(): Offer {
  const fd = Number(syscall3(Number(SYS_userfaultfd), Number(UFFD_FLAGS), 0, 0));
  if (fd < 0) return no(lastErrno());
  try {
    return startUffd(fd) ? YES : no('the kernel has no asynchronous write-protection (Linux 6.7)');
  } finally {
    closeFd(fd);
  }
}

export interface TracingOffers {
  readonly ptrace: Offer;
  readonly notices: Offer;
}

/**
 * Traces a waiting stub and gives it a filter, as a recording begins; the stub then ends without having
 * started a program.
 */
export function tryTracing(): TracingOffers {
  const stub = startWaiting({
    program: '/bin/true',
    argv: ['true'],
    env: {},
    openFiles: 0,
    ignoredSignals: '0',
    blockedSignals: '0',
    descriptors: [],
  });
  let listener: Fd | undefined;
  try {
    const ptrace = trySeize(stub.pid);
    listener = stub.installFilter(assembleFilter([], SECCOMP_RET_USER_NOTIF), true);
    if (listener !== undefined) askForHandOver(listener);
    return { ptrace, notices: listener === undefined ? no('refused') : YES };
  } finally {
    stub.abandon();
    if (listener !== undefined) closeFd(listener);
    waitFor(tid(stub.pid));
  }
}

function trySeize(pid: number): Offer {
  try {
    seize(tid(pid), PTRACE_O_EXITKILL);
    return YES;
  } catch (error) {
    if (error instanceof PtraceFailed) return no(error.errno);
    throw error;
  }
}

const RWF_NOWAIT = 8;

/** Whether a read of `path` can say that it would have to wait: how the launcher tells warm from cold. */
export function tryNoWaitRead(path: string): Offer {
  const fd = openSync(path, 'r');
  try {
    const byte = Buffer.alloc(1);
    const vector = Buffer.alloc(16);
    vector.writeBigUInt64LE(koffi.address(byte), 0);
    vector.writeBigUInt64LE(1n, 8);
    const got = Number(preadv2(fd, vector, 1, 0, RWF_NOWAIT));
    if (got >= 0) return YES;
    const errno = lastErrno();
    return errno === 'EAGAIN' ? YES : no(errno);
  } finally {
    closeSync(fd);
  }
}
