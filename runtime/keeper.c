/*
 * keeper: stays with a program that the recorder has left running.
 *
 * usage: keeper FD
 *
 * A seccomp filter cannot be taken off again, and a trapped call whose listener is closed fails with
 * ENOSYS. So when the recorder leaves a daemon running, the listener (FD) goes to this program, which
 * lets every call go on, and ends when no process is left behind the filter.
 */
#include "sys.h"

#define SECCOMP_IOCTL_NOTIF_RECV 0xc0502100ul
#define SECCOMP_IOCTL_NOTIF_SEND 0xc0182101ul
#define SECCOMP_USER_NOTIF_FLAG_CONTINUE 1u
#define POLLIN 1
#define POLLHUP 16

struct seccomp_notif {
  u64 id;
  u32 pid;
  u32 flags;
  u64 data[8];
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

static long sys_poll(struct pollfd *fds, unsigned long count, int timeout) {
  return sys_call3(7, (long)fds, (long)count, timeout);
}

static long sys_ioctl(int fd, unsigned long request, void *argument) {
  return sys_call3(16, fd, (long)request, (long)argument);
}

/* Whatever was open here before, nothing of it may be held: pipes would never end. */
static void let_go_of_the_rest(int fd) {
  sys_setsid();
  sys_chdir("/");
  if (fd > 0) sys_close_range(0, (unsigned)fd - 1, 0);
  sys_close_range((unsigned)fd + 1, ~0u, 0);
}

int keeper_main(long argc, char **argv) {
  if (argc < 2) return EINVAL;
  int fd = 0;
  for (const char *at = argv[1]; *at >= '0' && *at <= '9'; at++) fd = fd * 10 + (*at - '0');
  let_go_of_the_rest(fd);
  for (;;) {
    struct pollfd waiting = {fd, POLLIN, 0};
    long ready = sys_poll(&waiting, 1, -1);
    if (ready == -EINTR) continue;
    if (ready < 0 || (waiting.revents & POLLHUP)) return 0;
    struct seccomp_notif notice = {0};
    if (sys_ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &notice) < 0) continue;
    struct seccomp_notif_resp answer = {notice.id, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE};
    sys_ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &answer);
  }
}

__asm__(
    ".globl _start\n"
    "_start:\n"
    "  xor %ebp, %ebp\n"
    "  mov (%rsp), %rdi\n"
    "  lea 8(%rsp), %rsi\n"
    "  and $-16, %rsp\n"
    "  call keeper_main\n"
    "  mov %eax, %edi\n"
    "  mov $231, %eax\n"
    "  syscall\n");
