/*
 * keeper: stays with a program that the recorder has left running.
 *
 * usage: keeper FD
 *
 * A seccomp filter cannot be taken off again, and a trapped call whose listener is closed fails with
 * ENOSYS. So when the recorder leaves a daemon running, the listener (FD) goes to this program, which
 * lets every call go on, and ends when no process is left behind the filter.
 */
#include "notices.h"
#include "start.h"

int keeper_main(long argc, char **argv) {
  if (argc < 2) return EINVAL;
  int fd = parse_fd(argv[1]);
  keep_only(&fd, 1);
  for (;;) {
    struct pollfd waiting = {fd, POLLIN, 0};
    long ready = sys_poll(&waiting, 1, -1);
    if (ready == -EINTR) continue;
    if (ready < 0 || (waiting.revents & POLLHUP)) return 0;
    struct seccomp_notif notice = {0};
    if (sys_ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &notice) < 0) continue;
    let_go(fd, notice.id);
  }
}

START_AT(keeper_main);
