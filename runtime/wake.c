/*
 * wake.so: signals of the recorder as bytes in a pipe.
 *
 * The recorder sleeps in poll() on its listener and on this pipe. SIGCHLD (a tracee stopped), SIGINT
 * and SIGTERM may be taken by any of Node's threads, none of which can run JavaScript in a handler; so
 * the handler writes the signal's number. No libc, async-signal-safe, errno untouched.
 *
 * When the awaited child ended is written down here, too: JavaScript that runs for the first time after the program has
 * ended needs a millisecond to look at a clock, and that is none of the program's time.
 */
#include "sys.h"

#define SIGCHLD 17
#define CLD_EXITED 1
#define CLD_DUMPED 3
#define CLOCK_MONOTONIC 1
#define EXPORTED __attribute__((visibility("default")))

/* The part of siginfo_t that SIGCHLD fills. */
struct child_info {
  int signal, error, code, padding;
  int pid;
};

static int wake_fd = -1;
static int awaited;
static volatile u64 ended_at; /* CLOCK_MONOTONIC in nanoseconds; 0: it runs, or its end was not told apart */

EXPORTED void winnow_wake_into(int fd) { wake_fd = fd; }

EXPORTED void winnow_await(int pid) {
  awaited = pid;
  ended_at = 0;
}

EXPORTED u64 winnow_ended_at(void) { return ended_at; }

EXPORTED void winnow_wake(int signal, const struct child_info *info) {
  unsigned char byte = (unsigned char)signal;
  if (signal == SIGCHLD && info->pid == awaited && info->code >= CLD_EXITED && info->code <= CLD_DUMPED) {
    u64 now[2];
    if (sys_call3(228, CLOCK_MONOTONIC, (long)now, 0) == 0) ended_at = now[0] * 1000000000 + now[1]; /* clock_gettime */
  }
  sys_write(wake_fd, &byte, 1);
}
