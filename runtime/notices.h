/*
 * notices.h: seccomp's user notices (seccomp_unotify(2)) for the programs that answer them.
 */
#ifndef WINNOW_NOTICES_H
#define WINNOW_NOTICES_H
#include "sys.h"

#define SECCOMP_IOCTL_NOTIF_RECV 0xc0502100ul
#define SECCOMP_IOCTL_NOTIF_SEND 0xc0182101ul
#define SECCOMP_USER_NOTIF_FLAG_CONTINUE 1u
#define POLLIN 1
#define POLLOUT 4
#define POLLERR 8
#define POLLHUP 16

struct seccomp_notif {
  u64 id;
  u32 pid;
  u32 flags;
  int nr;
  u32 arch;
  u64 ip;
  u64 args[6];
};

struct seccomp_notif_resp {
  u64 id;
  i64 value;
  int error;
  u32 flags;
};

struct pollfd {
  int fd;
  short events;
  short revents;
};

static inline long sys_poll(struct pollfd *fds, unsigned long count, int timeout) {
  return sys_call3(7, (long)fds, (long)count, timeout);
}

static inline long sys_ioctl(int fd, unsigned long request, void *argument) {
  return sys_call3(16, fd, (long)request, (long)argument);
}

static inline void let_go(int listener, u64 id) {
  struct seccomp_notif_resp answer = {id, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE};
  /* Unanswered, the thread would wait for ever. */
  while (sys_ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) == -EINTR) continue;
}

/*
 * Leaves the session and closes all but `kept` (ascending): nothing that was open before may be held, or
 * pipes would never end.
 */
static inline void keep_only(const int *kept, int count) {
  sys_setsid();
  sys_chdir("/");
  unsigned from = 0;
  for (int i = 0; i < count; i++) {
    if ((unsigned)kept[i] > from) sys_close_range(from, (unsigned)kept[i] - 1, 0);
    from = (unsigned)kept[i] + 1;
  }
  sys_close_range(from, ~0u, 0);
}

static inline int parse_fd(const char *text) {
  int fd = 0;
  for (; *text >= '0' && *text <= '9'; text++) fd = fd * 10 + (*text - '0');
  return fd;
}

#endif
