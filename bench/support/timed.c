/*
 * Runs commands one after another inside a changed root and in a control group, and reports how long
 * that took.
 *
 *   timed REPORT ROOT FOLDER CGROUP FILE ARGV0 [ARG...] [';;' FILE ARGV0 [ARG...]]...
 *
 * The clock starts right before the first command and stops when the last has been waited for: neither
 * chroot nor joining the group is measured. Afterwards it waits for whatever the commands left behind (a
 * prefetch in the background), so that the file system can be unmounted. CGROUP is the group's file of
 * tasks, or '-'. REPORT gets one line:
 *   wall_ns status user_us system_us major_faults settled_ns
 * status is wait's; settled_ns is the time until everything had ended, -1 when something had to be killed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LONGEST_SETTLE_SECONDS = 20 };

static long long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void die(const char *what) {
  fprintf(stderr, "timed: %s: %s\n", what, strerror(errno));
  exit(125);
}

/* The first word is the file, the second its argv[0]. */
static pid_t start(char **step) {
  pid_t child = vfork();
  if (child == 0) {
    execv(step[0], step + 1);
    _exit(127);
  }
  if (child < 0) die("vfork");
  return child;
}

static void on_alarm(int signal) { (void)signal; }

int main(int argc, char **argv) {
  if (argc < 7) {
    fprintf(stderr, "usage: timed REPORT ROOT FOLDER CGROUP FILE ARGV0 [ARG...] [';;' FILE ...]\n");
    return 125;
  }
  int report = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (report < 0) die(argv[1]);
  if (strcmp(argv[4], "-") != 0) {
    int group = open(argv[4], O_WRONLY | O_CLOEXEC);
    if (group < 0 || write(group, "0", 1) != 1) die(argv[4]);
    close(group);
  }
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) die("subreaper");
  if (chroot(argv[2]) != 0) die(argv[2]);
  if (chdir(argv[3]) != 0) die(argv[3]);

  int status = 0;
  struct rusage sum;
  memset(&sum, 0, sizeof sum);
  long long begin = now();
  for (char **step = argv + 5; *step != NULL;) {
    char **end = step;
    while (*end != NULL && strcmp(*end, ";;") != 0) end++;
    char **next = *end == NULL ? end : end + 1;
    *end = NULL;
    pid_t child = start(step);
    struct rusage used;
    while (wait4(child, &status, 0, &used) < 0) {
      if (errno != EINTR) die("wait4");
    }
    sum.ru_utime.tv_sec += used.ru_utime.tv_sec;
    sum.ru_utime.tv_usec += used.ru_utime.tv_usec;
    sum.ru_stime.tv_sec += used.ru_stime.tv_sec;
    sum.ru_stime.tv_usec += used.ru_stime.tv_usec;
    sum.ru_majflt += used.ru_majflt;
    step = next;
  }
  long long wall = now() - begin;

  struct sigaction action = {.sa_handler = on_alarm};
  sigaction(SIGALRM, &action, NULL);
  alarm(LONGEST_SETTLE_SECONDS);
  long long settled = 0;
  for (;;) {
    if (waitpid(-1, NULL, 0) >= 0) continue;
    if (errno == EINTR) settled = -1;
    break;
  }
  if (settled == 0) settled = now() - begin;
  dprintf(report, "%lld %d %lld %lld %ld %lld\n", wall, status,
          sum.ru_utime.tv_sec * 1000000LL + sum.ru_utime.tv_usec,
          sum.ru_stime.tv_sec * 1000000LL + sum.ru_stime.tv_usec, sum.ru_majflt, settled);
  return 0;
}
