/*
 * stub: starts a program for the recorder and waits, before exec, until it is traced.
 *
 * usage: stub FD NOFILE SIGIGN SIGBLK PATH ARGV0 [ARGV1 ...]
 *   FD      a socket. Out: 4 bytes, once this program runs (a tracer that seized earlier would meet the
 *           exec of the stub itself). In: 4 bytes of flags, 4 bytes n, then n seccomp instructions of 8 bytes. Out:
 *           4 bytes, the number of the filter's listener here, -errno, or 0 without a filter. In: one
 *           byte to go on. End of file means that the recorder died: leave quietly.
 *   NOFILE  the caller's soft limit on open files in decimal; 0 leaves it
 *   SIGIGN  the caller's ignored signals, hexadecimal mask as in /proc/PID/status
 *   SIGBLK  the caller's blocked signals, the same
 *
 * Node changes limits and signal dispositions of the process it runs in; a recorded program must see
 * what the caller of winnow set, so they are put back here.
 *
 * usage: stub rehearse
 *   A program for the recorder to practise on: it makes the calls that are trapped, forks once, and ends.
 *
 * If the program cannot be started the exit status is the errno of execve (all are below 134).
 */
#include "start.h"
#include "sys.h"

#define FLAG_NO_NEW_PRIVS 1u
#define MAX_FILTER 512

struct filter_program {
  unsigned short length;
  const unsigned long long *instructions;
};

static unsigned long long filter[MAX_FILTER];

static unsigned long parse(const char *text, unsigned base) {
  unsigned long value = 0;
  for (; *text; text++) {
    unsigned digit = *text >= 'a' ? (unsigned)(*text - 'a' + 10) : (unsigned)(*text - '0');
    if (digit >= base) break;
    value = value * base + digit;
  }
  return value;
}

static int read_all(int fd, void *buffer, unsigned long size) {
  char *at = buffer;
  while (size > 0) {
    long n = sys_read(fd, at, size);
    if (n == -EINTR) continue;
    if (n <= 0) return 0;
    at += n;
    size -= (unsigned long)n;
  }
  return 1;
}

static void restore_caller(unsigned long nofile, u64 ignored, u64 blocked) {
  if (nofile != 0) {
    struct sys_rlimit limit;
    if (sys_getrlimit(RLIMIT_NOFILE, &limit) == 0) {
      limit.soft = nofile;
      sys_setrlimit(RLIMIT_NOFILE, &limit);
    }
  }
  for (int signal = 1; signal <= 64; signal++) {
    struct sys_sigaction action = {.handler = (ignored >> (signal - 1)) & 1 ? SIG_IGN : SIG_DFL};
    sys_sigaction(signal, &action, 0);
  }
  sys_sigprocmask(SIG_SETMASK, &blocked, 0);
}

/* The listener is close-on-exec by itself; the recorder borrows it before that. */
static int install_filter(unsigned flags, unsigned length) {
  struct filter_program program = {(unsigned short)length, filter};
  if (flags & FLAG_NO_NEW_PRIVS) sys_prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  unsigned options = SECCOMP_FILTER_FLAG_SPEC_ALLOW | SECCOMP_FILTER_FLAG_NEW_LISTENER;
  long fd = sys_seccomp(SECCOMP_SET_MODE_FILTER, options | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &program);
  if (fd < 0) fd = sys_seccomp(SECCOMP_SET_MODE_FILTER, options, &program); /* before Linux 5.19 */
  return (int)fd;
}

/* Node compiles what it runs while it runs it: the first of each call takes ten times as long. */
static int rehearse(void) {
  for (int i = 0; i < 48; i++) {
    struct sys_stat stat;
    int fd = (int)sys_open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    sys_stat("/usr/lib", &stat);
    sys_call3(21, (long)"/nowhere", 0, 0); /* access */
    sys_call3(8, fd, 1 << 20, 0);          /* lseek */
    if (i % 8 == 0) {
      long at = (long)sys_mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
      if (at > 0) sys_munmap((void *)at, 4096);
    }
    sys_close(fd);
  }
  for (int i = 0; i < 2; i++) {
    long child = sys_clone(SIGCHLD);
    if (child == 0) sys_exit(0);
    int status;
    if (child > 0) sys_wait4((int)child, &status, 0);
  }
  return 0;
}

int stub_main(long argc, char **argv, char **envp) {
  if (argc == 2) return rehearse();
  if (argc < 7) return EINVAL;
  int fd = (int)parse(argv[1], 10);
  unsigned int head[2];
  int running = 0;
  if (sys_write(fd, &running, sizeof running) != sizeof running) return EINVAL;
  if (!read_all(fd, head, sizeof head) || head[1] > MAX_FILTER) return EINVAL;
  if (!read_all(fd, filter, head[1] * 8ul)) return EINVAL;
  int listener = head[1] > 0 ? install_filter(head[0], head[1]) : 0;
  char go;
  if (sys_write(fd, &listener, sizeof listener) != sizeof listener) return EINVAL;
  if (!read_all(fd, &go, 1)) return EINVAL;
  sys_close(fd);
  restore_caller(parse(argv[2], 10), parse(argv[3], 16), parse(argv[4], 16));
  return (int)-sys_execve(argv[5], argv + 6, envp);
}

START_AT(stub_main);
