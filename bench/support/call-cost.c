/*
 * What a call costs by the way that leads to the function: nanoseconds for each way, one line a round.
 *
 *   call-cost ROUNDS
 *
 * Problem: systems for sharing code differ in how a call finds its target.
 * Method: a function that returns at once, in this program and in a library that another library calls, called 16 times in a row in a loop; the
 * ways take turns within each round, each time beginning with another, so that a machine that becomes slower
 * slows all of them. Of each way the best of a few short tries counts in a round: whoever else runs here only adds.
 * The program lies far from its libraries, and these near each other, as the kernel and the loader lay them.
 * Limits: the target is in the caches and the branch predictors know it; what a table costs when its line or page is
 * not at hand is not seen. The kernel and the vDSO do some work of their own.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "call-cost-loop.h"

enum { SLOTS = 262144, SLOT = 123456, /* also in the loops below */ UNROLLED = 16, CALLS = 1 << 16, SLOW_CALLS = 1 << 12, TRIES = 9 };

extern void in_library(void);
extern void near_got(long count), near_plt(long count);
void in_program(void);
void jump_stub(void);
void dispatch(void);

/* The table of all imports, where the hash of a name is the index. */
void *table[SLOTS];

__asm__(
    ".text\n"
    ".balign 64\n in_program: ret\n"
    ".balign 64\n jump_stub: jmp in_program\n"
    /* The central dispatcher: the caller says the hash. */
    ".balign 64\n dispatch: lea table(%rip), %rdx\n jmp *(%rdx,%rax,8)\n"
    ".globl in_program, jump_stub, dispatch\n");

static LOOP(direct, "call in_program")
static LOOP(stub, "call jump_stub")
static LOOP(got, "call *in_library@GOTPCREL(%%rip)")
static LOOP(plt, "call in_library@PLT")
static LOOP(slot, "call *table+8*123456(%%rip)")
static LOOP(dispatcher, "mov $123456, %%eax\n call dispatch")

static void vdso(long count) {
  static volatile time_t kept;
  while (count-- > 0) kept = time(NULL);
}

static void system_call(long count) {
  while (count-- > 0) syscall(SYS_getppid);
}

static const struct {
  const char *name;
  void (*run)(long);
  long calls;
} ways[] = {
    {"direct", direct, CALLS},         {"stub", stub, CALLS},
    {"got", got, CALLS},               {"plt", plt, CALLS},
    {"near-got", near_got, CALLS},     {"near-plt", near_plt, CALLS},
    {"slot", slot, CALLS},             {"dispatcher", dispatcher, CALLS},
    {"vdso", vdso, SLOW_CALLS},        {"system-call", system_call, SLOW_CALLS},
};
enum { WAYS = sizeof ways / sizeof ways[0] };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}

int main(int argc, char **argv) {
  int rounds = argc > 1 ? atoi(argv[1]) : 1;
  table[SLOT] = (void *)in_library;
  for (int way = 0; way < WAYS; way++) ways[way].run(UNROLLED);
  for (int round = 0; round < rounds; round++) {
    double taken[WAYS];
    for (int i = 0; i < WAYS; i++) {
      int way = (round + i) % WAYS;
      double best = 0;
      for (int try = 0; try < TRIES; try++) {
        double begin = now();
        ways[way].run(ways[way].calls);
        double one = now() - begin;
        if (try == 0 || one < best) best = one;
      }
      taken[way] = best / ways[way].calls;
    }
    for (int way = 0; way < WAYS; way++) printf("%s=%.4f%s", ways[way].name, taken[way], way + 1 < WAYS ? " " : "\n");
  }
  return 0;
}
