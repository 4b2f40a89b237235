/* signals.h: what the kernel gives a handler of signals, and how one is set: for demand.so and restore. */
#ifndef WINNOW_SIGNALS_H
#define WINNOW_SIGNALS_H

#include "sys.h"

#define SIGILL 4
#define SIGABRT 6
#define SIGBUS 7
#define SIGFPE 8
#define SIGSEGV 11
#define SIGVTALRM 26
#define SIGSYS 31

#define ITIMER_VIRTUAL 1

#define SA_SIGINFO 4ul
#define SA_RESTORER 0x04000000ul
#define SA_ONSTACK 0x08000000ul
#define SA_RESTART 0x10000000ul
#define SA_NODEFER 0x40000000ul
#define SA_RESETHAND 0x80000000ul

/* The start of the kernel's siginfo_t. */
struct sys_siginfo {
  int signal;
  int error;
  int code;
  int pad;
  unsigned long address; /* of a fault */
};

/* The kernel's struct ucontext, as far as it is the same on all x86-64 machines. */
struct sys_ucontext {
  unsigned long flags;
  void *link;
  unsigned long stack[3]; /* stack_t: address, flags, size */
  unsigned long registers[23]; /* REG_RSP, REG_RIP */
  unsigned long floating_point;
  unsigned long reserved[8];
  u64 mask;
};
#define REG_R8 0
#define REG_R9 1
#define REG_R10 2
#define REG_RDI 8
#define REG_RSI 9
#define REG_RDX 12
#define REG_RAX 13
#define REG_RSP 15
#define REG_RIP 16
#define REG_ERR 19

#endif
