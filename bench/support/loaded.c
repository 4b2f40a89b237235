/*
 * loaded RESULT FILE WHERE PROGRAM ARGV0 [ARG...]: how long a program needs from its exec to an instruction, and
 * what memory it has of its own then.
 *
 * Problem: 'exec to the end of relocation' is a moment inside a process of which nothing tells outside, and it must be the
 * same moment for the plain loader and for an image.
 * Method: the child calls execve with the time written down before; at the stop after the exec a hardware breakpoint is set
 * on the instruction, so no page is written; the time of the stop itself is left out. Both processes are bound to one
 * processor, where a stop is a switch of tasks and no message between processors. WHERE is the address,
 * hexadecimal, or +RVA in the module that AT_BASE names.
 * Limits: two stops' wake-ups, some tens of microseconds, are in the figure, of every mode alike.
 *
 * Writes one line to the file RESULT: nanoseconds from execve to the stop behind it, from there to the instruction, then, as
 * smaps has them at that moment: mappings, KiB of private written pages of files, KiB of private written pages in all.
 * FILE takes the program's output. Ends with 3 where the program ended without coming to the instruction.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static _Noreturn void fail(const char *what) {
  fprintf(stderr, "loaded: %s: %s\n", what, strerror(errno));
  exit(1);
}

static uint64_t base_of(pid_t child) {
  char path[64];
  Elf64_auxv_t one;
  uint64_t base = 0;
  snprintf(path, sizeof path, "/proc/%d/auxv", child);
  int fd = open(path, O_RDONLY);
  if (fd < 0) fail(path);
  while (read(fd, &one, sizeof one) == sizeof one)
    if (one.a_type == AT_BASE) base = one.a_un.a_val;
  close(fd);
  return base;
}

static void describe_memory(pid_t child, FILE *out) {
  char path[64], line[512];
  snprintf(path, sizeof path, "/proc/%d/smaps", child);
  FILE *smaps = fopen(path, "r");
  if (smaps == NULL) fail(path);
  unsigned long mappings = 0, of_files = 0, all = 0, inode = 0, kib;
  while (fgets(line, sizeof line, smaps)) {
    unsigned long from, to, file;
    if (sscanf(line, "%lx-%lx %*s %*x %*s %lu", &from, &to, &file) == 3) {
      mappings++;
      inode = file;
    } else if (sscanf(line, "Anonymous: %lu", &kib) == 1) {
      all += kib;
      if (inode != 0) of_files += kib;
    }
  }
  fclose(smaps);
  fprintf(out, " %lu %lu %lu\n", mappings, of_files, all);
}

int main(int argc, char **argv) {
  if (argc < 6) {
    fprintf(stderr, "usage: loaded RESULT OUTPUT WHERE PROGRAM ARGV0 [ARG...]\n");
    return 2;
  }
  int64_t *started = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (started == MAP_FAILED) fail("mmap");
  cpu_set_t here;
  CPU_ZERO(&here);
  CPU_SET((unsigned)sched_getcpu(), &here);
  sched_setaffinity(0, sizeof here, &here);
  pid_t child = fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    int out = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (out < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0) _exit(126);
    close(out);
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0) _exit(126);
    *started = now();
    execv(argv[4], argv + 5);
    _exit(127);
  }
  int status;
  if (waitpid(child, &status, 0) < 0) fail("waitpid");
  int64_t executed = now();
  if (!WIFSTOPPED(status)) {
    fprintf(stderr, "loaded: %s was not started\n", argv[4]);
    return 1;
  }
  const char *where = argv[3];
  uint64_t at = strtoull(where + (*where == '+'), NULL, 16);
  if (*where == '+') at += base_of(child);
  ptrace(PTRACE_SETOPTIONS, child, NULL, (void *)(uintptr_t)PTRACE_O_EXITKILL);
  if (ptrace(PTRACE_POKEUSER, child, (void *)offsetof(struct user, u_debugreg[0]), (void *)at) < 0 ||
      ptrace(PTRACE_POKEUSER, child, (void *)offsetof(struct user, u_debugreg[7]), (void *)1ul) < 0)
    fail("no hardware breakpoint");
  int64_t resumed = now(), reached = 0;
  int signal = 0;
  for (;;) {
    if (ptrace(PTRACE_CONT, child, NULL, (void *)(uintptr_t)signal) < 0) fail("PTRACE_CONT");
    if (waitpid(child, &status, 0) < 0) fail("waitpid");
    reached = now();
    if (!WIFSTOPPED(status)) return 3;
    if (WSTOPSIG(status) == SIGTRAP) break;
    signal = WSTOPSIG(status);
  }
  FILE *out = fopen(argv[1], "w");
  if (out == NULL) fail(argv[1]);
  fprintf(out, "%lld %lld", (long long)(executed - *started), (long long)(reached - resumed));
  describe_memory(child, out);
  if (fclose(out) != 0) fail(argv[1]);
  kill(child, SIGKILL);
  waitpid(child, &status, 0);
  return 0;
}
