/*
 * sys.h: the kernel's side of the runtime: raw x86-64 system calls, the constants and structures they
 * take. No libc: a dynamic loader in front of every program start would cost more than winnow may.
 *
 * Every sys_… returns what the kernel does: a result, or -errno. Values are from the kernel's uapi headers.
 * Over 300 lines: it is a table, and one place for each value is worth more than two shorter files.
 */
#ifndef WINNOW_SYS_H
#define WINNOW_SYS_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#define NULL ((void *)0)

#define EPERM 1
#define ENOENT 2
#define EINTR 4
#define E2BIG 7
#define ENOEXEC 8
#define EAGAIN 11
#define ENOMEM 12
#define EACCES 13
#define EFAULT 14
#define EEXIST 17
#define ENOTDIR 20
#define EINVAL 22
#define ENFILE 23
#define EMFILE 24
#define ETXTBSY 26
#define ENAMETOOLONG 36
#define ENOSYS 38
#define ELOOP 40
#define EOPNOTSUPP 95

#define O_RDONLY 0
#define O_WRONLY 1
#define O_RDWR 2
#define O_NOCTTY 0400
#define O_APPEND 02000
#define O_NONBLOCK 04000
#define O_DIRECTORY 0200000
#define O_PATH 010000000
#define O_NOFOLLOW 0400000
#define O_CLOEXEC 02000000

#define AT_FDCWD (-100)
#define R_OK 4
#define AT_NO_AUTOMOUNT 0x800
#define AT_SYMLINK_NOFOLLOW 0x100
#define AT_EMPTY_PATH 0x1000
#define AT_STATX_DONT_SYNC 0x4000
#define STATX_TYPE 0x1u
#define STATX_MTIME 0x40u
#define STATX_INO 0x100u
#define STATX_SIZE 0x200u
#define STATX_ATTR_MOUNT_ROOT 0x2000u

#define S_IFMT 0170000
#define S_IFREG 0100000
#define S_IFDIR 0040000

#define PROT_NONE 0
#define PROT_READ 1
#define PROT_WRITE 2
#define PROT_EXEC 4
#define MAP_SHARED 1
#define MAP_PRIVATE 2
#define MAP_FIXED 0x10
#define MAP_ANONYMOUS 0x20
#define MAP_FIXED_NOREPLACE 0x100000 /* before Linux 4.17: a hint */
#define MREMAP_MAYMOVE 1
#define MREMAP_FIXED 2

#define POSIX_FADV_RANDOM 1
#define RWF_NOWAIT 8

#define SIG_DFL 0ul
#define SIG_IGN 1ul
#define SIG_SETMASK 2
#define SIGALRM 14
#define SIGTERM 15
#define SIGCHLD 17

#define __WALL 0x40000000
#define CLOCK_MONOTONIC 1

#define RLIMIT_FSIZE 1
#define RLIMIT_STACK 3
#define RLIMIT_NOFILE 7

#define ARCH_SET_FS 0x1002
#define RSEQ_FLAG_UNREGISTER 1

#define CLONE_NEWNS 0x00020000
#define CLONE_NEWUSER 0x10000000
#define MS_BIND 0x1000ul
#define MS_REC 0x4000ul
#define MS_SLAVE 0x80000ul
#define ST_NOEXEC 8

#define CAPABILITY_VERSION_3 0x20080522u
#define CAP_SYS_ADMIN 21

#define PR_SET_NAME 15
#define PR_GET_SECCOMP 21
#define PR_GET_CHILD_SUBREAPER 37
#define PR_SET_NO_NEW_PRIVS 38
#define PR_SET_MM 35
#define PR_SET_MM_MAP 14

#define SECCOMP_SET_MODE_FILTER 1
#define SECCOMP_FILTER_FLAG_SPEC_ALLOW (1u << 2)
#define SECCOMP_FILTER_FLAG_NEW_LISTENER (1u << 3)
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1u << 5)

/* Types of the auxiliary vector. */
#define AT_NULL 0
#define AT_PHDR 3
#define AT_PHNUM 5
#define AT_PAGESZ 6
#define AT_BASE 7
#define AT_ENTRY 9
#define AT_EUID 12
#define AT_EGID 14
#define AT_PLATFORM 15
#define AT_HWCAP 16
#define AT_CLKTCK 17
#define AT_SECURE 23
#define AT_RANDOM 25
#define AT_HWCAP2 26
#define AT_EXECFN 31
#define AT_SYSINFO_EHDR 33
#define AT_MINSIGSTKSZ 51

struct sys_iovec {
  void *base;
  unsigned long length;
};

struct sys_timespec {
  i64 sec;
  i64 nsec;
};

/* struct stat of newfstat */
struct sys_stat {
  u64 dev;
  u64 ino;
  u64 nlink;
  u32 mode;
  u32 uid;
  u32 gid;
  u32 pad;
  u64 rdev;
  i64 size;
  i64 blksize;
  i64 blocks;
  struct sys_timespec atime;
  struct sys_timespec mtime;
  struct sys_timespec ctime;
  i64 unused[3];
};

/* struct statfs */
struct sys_statfs {
  i64 type;
  i64 bsize;
  u64 blocks, bfree, bavail, files, ffree;
  int fsid[2];
  i64 namelen;
  i64 frsize;
  i64 flags; /* ST_…, of the mount */
  i64 spare[4];
};

struct sys_statx_time {
  i64 sec;
  u32 nsec;
  int reserved;
};

struct sys_statx {
  u32 mask;
  u32 blksize;
  u64 attributes;
  u32 nlink;
  u32 uid;
  u32 gid;
  u16 mode;
  u16 spare0;
  u64 ino;
  u64 size;
  u64 blocks;
  u64 attributes_mask;
  struct sys_statx_time atime;
  struct sys_statx_time btime;
  struct sys_statx_time ctime;
  struct sys_statx_time mtime;
  u32 rdev_major;
  u32 rdev_minor;
  u32 dev_major;
  u32 dev_minor;
  u64 spare[14];
};

struct sys_rlimit {
  u64 soft;
  u64 hard;
};

/* What capget takes and gives. */
struct sys_cap_header {
  u32 version;
  int pid;
};
struct sys_cap_data {
  u32 effective;
  u32 permitted;
  u32 inheritable;
};

/* struct kernel_sigaction */
struct sys_sigaction {
  unsigned long handler;
  unsigned long flags;
  unsigned long restorer;
  u64 mask;
};

static inline long sys_call6(long number, long a, long b, long c, long d, long e, long f) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}

static inline long sys_call3(long number, long a, long b, long c) {
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c)
                   : "rcx", "r11", "memory");
  return result;
}

static inline long sys_call4(long number, long a, long b, long c, long d) {
  long result;
  register long r10 __asm__("r10") = d;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                   : "rcx", "r11", "memory");
  return result;
}

static inline long sys_read(int fd, void *buffer, unsigned long size) {
  return sys_call3(0, fd, (long)buffer, (long)size);
}

static inline long sys_write(int fd, const void *buffer, unsigned long size) {
  return sys_call3(1, fd, (long)buffer, (long)size);
}

/* The calls that glibc makes for open, stat, lstat and getrlimit: filters are made for programs that make these. */
static inline long sys_open(const char *path, int flags) { return sys_call4(257, AT_FDCWD, (long)path, flags, 0); }

static inline long sys_close(int fd) { return sys_call3(3, fd, 0, 0); }

static inline long sys_stat(const char *path, struct sys_stat *stat) {
  return sys_call4(262, AT_FDCWD, (long)path, (long)stat, 0);
}

static inline long sys_lstat(const char *path, struct sys_stat *stat) {
  return sys_call4(262, AT_FDCWD, (long)path, (long)stat, AT_SYMLINK_NOFOLLOW);
}

static inline long sys_fstat(int fd, struct sys_stat *stat) { return sys_call3(5, fd, (long)stat, 0); }

static inline long sys_mmap(void *at, unsigned long size, int protection, int flags, int fd, long offset) {
  return sys_call6(9, (long)at, (long)size, protection, flags, fd, offset);
}

static inline long sys_munmap(void *at, unsigned long size) { return sys_call3(11, (long)at, (long)size, 0); }

static inline long sys_mprotect(void *at, unsigned long size, int protection) {
  return sys_call3(10, (long)at, (long)size, protection);
}

static inline long sys_brk(unsigned long at) { return sys_call3(12, (long)at, 0, 0); }

static inline long sys_mremap(void *at, unsigned long size, unsigned long next_size, int flags, void *to) {
  return sys_call6(25, (long)at, (long)size, (long)next_size, flags, (long)to, 0);
}

static inline long sys_sigaction(int signal, const struct sys_sigaction *next, struct sys_sigaction *previous) {
  return sys_call4(13, signal, (long)next, (long)previous, 8);
}

static inline long sys_sigprocmask(int how, const u64 *next, u64 *previous) {
  return sys_call4(14, how, (long)next, (long)previous, 8);
}

static inline long sys_access(const char *path, int mode) { return sys_call3(21, (long)path, mode, 0); }

static inline long sys_pread(int fd, void *buffer, unsigned long size, long offset) {
  return sys_call4(17, fd, (long)buffer, (long)size, offset);
}

static inline long sys_mincore(void *at, unsigned long size, u8 *pages) {
  return sys_call3(27, (long)at, (long)size, (long)pages);
}

static inline long sys_alarm(unsigned seconds) { return sys_call3(37, seconds, 0, 0); }

static inline long sys_getpid(void) { return sys_call3(39, 0, 0, 0); }

/* A copy of this process, as fork makes it, whose end sends the parent `exit_signal` (0: none). */
static inline long sys_clone(int exit_signal) { return sys_call6(56, exit_signal, 0, 0, 0, 0, 0); }

static inline long sys_execve(const char *path, char *const *argv, char *const *envp) {
  return sys_call3(59, (long)path, (long)argv, (long)envp);
}

static inline long sys_wait4(int process, int *status, int options) {
  return sys_call4(61, process, (long)status, options, 0);
}

static inline long sys_getcwd(char *buffer, unsigned long size) { return sys_call3(79, (long)buffer, (long)size, 0); }

static inline long sys_chdir(const char *path) { return sys_call3(80, (long)path, 0, 0); }

static inline long sys_readlink(const char *path, char *buffer, unsigned long size) {
  return sys_call3(89, (long)path, (long)buffer, (long)size);
}

static inline long sys_getrlimit(int resource, struct sys_rlimit *limit) {
  return sys_call4(302, 0, resource, 0, (long)limit); /* prlimit64 */
}

static inline long sys_setsid(void) { return sys_call3(112, 0, 0, 0); }

static inline long sys_capget(struct sys_cap_header *header, struct sys_cap_data *data) {
  return sys_call3(125, (long)header, (long)data, 0);
}

static inline long sys_statfs(const char *path, struct sys_statfs *result) {
  return sys_call3(137, (long)path, (long)result, 0);
}

static inline long sys_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d) {
  return sys_call6(157, option, (long)a, (long)b, (long)c, (long)d, 0);
}

static inline long sys_arch_prctl(int option, unsigned long value) {
  return sys_call3(158, option, (long)value, 0);
}

static inline long sys_setrlimit(int resource, const struct sys_rlimit *limit) {
  return sys_call3(160, resource, (long)limit, 0);
}

static inline long sys_mount(const char *source, const char *target, unsigned long flags) {
  return sys_call6(165, (long)source, (long)target, 0, (long)flags, 0, 0);
}

static inline long sys_getxattr(const char *path, const char *name, void *value, unsigned long size) {
  return sys_call4(191, (long)path, (long)name, (long)value, (long)size);
}

static inline long sys_readahead(int fd, u64 offset, unsigned long size) {
  return sys_call3(187, fd, (long)offset, (long)size);
}

static inline long sys_set_tid_address(void *at) { return sys_call3(218, (long)at, 0, 0); }

static inline long sys_fadvise(int fd, u64 offset, u64 size, int advice) {
  return sys_call4(221, fd, (long)offset, (long)size, advice);
}

static inline long sys_clock_gettime(int clock, struct sys_timespec *time) {
  return sys_call3(228, clock, (long)time, 0);
}

static inline _Noreturn void sys_exit(int status) {
  for (;;) sys_call3(231, status, 0, 0); /* exit_group */
}

static inline long sys_set_robust_list(void *at, unsigned long size) {
  return sys_call3(273, (long)at, (long)size, 0);
}

static inline long sys_unshare(unsigned long flags) { return sys_call3(272, (long)flags, 0, 0); }

static inline long sys_seccomp(unsigned operation, unsigned flags, void *argument) {
  return sys_call3(317, operation, flags, (long)argument);
}

static inline long sys_preadv2(int fd, const struct sys_iovec *vectors, int count, u64 offset, int flags) {
  /* The offset goes in two halves; on x86-64 the low one is all of it. */
  return sys_call6(327, fd, (long)vectors, count, (long)offset, 0, flags);
}

static inline long sys_openat(int folder, const char *path, int flags) {
  return sys_call4(257, folder, (long)path, flags, 0);
}

static inline long sys_fstatat(int folder, const char *path, struct sys_stat *stat, int flags) {
  return sys_call4(262, folder, (long)path, (long)stat, flags);
}

static inline long sys_rseq(void *at, u32 size, int flags, u32 signature) {
  return sys_call4(334, (long)at, size, flags, signature);
}

static inline long sys_statx(int folder, const char *path, int flags, u32 mask, struct sys_statx *result) {
  return sys_call6(332, folder, (long)path, flags, mask, (long)result, 0);
}

static inline long sys_close_range(unsigned first, unsigned last, unsigned flags) {
  return sys_call3(436, first, last, flags);
}

#endif
