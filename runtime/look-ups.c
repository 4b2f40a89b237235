/*
 * A part of wake.so: the recorder's sleep, and the look-ups that end no sleep.
 *
 * Problem: most notices of a recording are look-ups (stat, access, open of what is not there), of which the
 * recorder wants the path and nothing else; each one that wakes JavaScript keeps the program waiting
 * for 20 microseconds and more. Method: while the recorder sleeps here, a look-up by an absolute path is
 * written down and let go on the spot, and the sleep goes on. Everything else is the recorder's.
 * It runs on the recorder's own thread, so nothing happens at the same time. No libc.
 */
#include "notices.h"

#define SYS_open 2
#define SYS_stat 4
#define SYS_lstat 6
#define SYS_access 21
#define SYS_openat 257
#define SYS_newfstatat 262
#define SYS_faccessat 269
#define SYS_statx 332
#define SYS_faccessat2 439
#define PATH_MAX 4096
#define ENDS_READING (O_WRONLY | O_RDWR | 0100 | 01000) /* O_CREAT, O_TRUNC */

/* What woke the recorder. */
#define NOTICE 1
#define GONE 2   /* nobody is left behind the filter */
#define SIGNAL 4 /* one is in the pipe */

/* src/sys/wake.ts fills and reads it. */
struct sleep {
  int listener; /* -1: none */
  int pipe;
  int timeout;
  int hold; /* look-ups are the recorder's too */
  int woken;
  u32 used; /* bytes of the log: 2 of length and a path, again and again */
  u32 size;
  u32 padding;
  struct seccomp_notif notice;
};

static int begins(const char *path, const char *with) {
  while (*with)
    if (*path++ != *with++) return 0;
  return 1;
}

/* Whether the call is a look-up and no more; then it is in the log. */
static int log_look_up(struct sleep *sleep, char *log) {
  const struct seccomp_notif *notice = &sleep->notice;
  int at, opens = 0;
  switch (notice->nr) {
    case SYS_open:
      opens = 1; /* fall through */
    case SYS_stat:
    case SYS_lstat:
    case SYS_access:
      at = 0;
      break;
    case SYS_openat:
      opens = 1; /* fall through */
    case SYS_newfstatat:
    case SYS_faccessat:
    case SYS_faccessat2:
    case SYS_statx:
      at = 1;
      break;
    default:
      return 0;
  }
  if (sleep->used + 2 + PATH_MAX > sleep->size) return 0;
  if (opens && (notice->args[at + 1] & ENDS_READING)) return 0;
  char *path = log + sleep->used + 2;
  struct sys_iovec here = {path, PATH_MAX}, there = {(void *)notice->args[at], PATH_MAX};
  long n = sys_call6(310, notice->pid, (long)&here, 1, (long)&there, 1, 0); /* process_vm_readv */
  if (n <= 0 || path[0] != '/') return 0;
  long length = 1;
  while (length < n && path[length]) length++;
  if (length == n) return 0;
  /* Names of a process for itself mean something only while it waits. */
  if (begins(path, "/proc/") || begins(path, "/dev/")) return 0;
  struct sys_stat stat;
  if (opens) {
    long found = sys_stat(path, &stat);
    if (found != -ENOENT && found != -ENOTDIR) return 0;
  }
  log[sleep->used] = (char)(length & 0xff);
  log[sleep->used + 1] = (char)(length >> 8);
  sleep->used += 2 + (u32)length;
  return 1;
}

__attribute__((visibility("default"))) void winnow_sleep(struct sleep *sleep, char *log) {
  struct pollfd fds[] = {{sleep->pipe, POLLIN, 0}, {sleep->listener, POLLIN, 0}};
  sleep->woken = 0;
  for (;;) {
    long ready = sys_poll(fds, 2, sleep->timeout);
    /* A signal's byte is in the pipe then. */
    if (ready < 0 || fds[0].revents) sleep->woken |= SIGNAL;
    if (ready > 0 && (fds[1].revents & POLLHUP)) sleep->woken |= GONE;
    if (ready > 0 && (fds[1].revents & POLLIN)) {
      struct seccomp_notif empty = {0};
      sleep->notice = empty;
      if (sys_ioctl(sleep->listener, SECCOMP_IOCTL_NOTIF_RECV, &sleep->notice) == 0) {
        if (!sleep->hold && log_look_up(sleep, log)) let_go(sleep->listener, sleep->notice.id);
        else sleep->woken |= NOTICE;
      }
      /* Gone where its thread was killed meanwhile. */
      if (sleep->woken == 0) continue;
    }
    return;
  }
}
