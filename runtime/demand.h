/* demand.h: what the files of demand.so, the audit object of images whose unused code is denied or stored, ask of each other. */
#ifndef WINNOW_DEMAND_H
#define WINNOW_DEMAND_H

#include "audit.h"
#include "cold.h"
#include "modules.h"

#define SIGABRT 6
#define SIGSEGV 11
#define SEGV_BIT (1ull << (SIGSEGV - 1))

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
  unsigned long stack[3];
  unsigned long registers[23]; /* REG_RSP, REG_RIP */
  unsigned long floating_point;
  unsigned long reserved[8];
  u64 mask;
};
#define REG_RSP 15
#define REG_RIP 16
#define REG_ERR 19

typedef void demand_handler(int signal, struct sys_siginfo *info, struct sys_ucontext *context);

/* demand.c */

/* Before anything is loaded: SIGSEGV is ours from here on. `folder` ends with a slash and stays where it is. */
void demand_start(const char *folder, u32 user);

/*
 * The next module that is opened may be this one of the image: opens its store, and ends the program where that is missing or
 * damaged. 0 where the process has no means to open it: no fault of the store's, so the original will do.
 */
int demand_expect(const struct modules_table *table, const struct modules_entry *entry);
void demand_expect_nothing(void);

/* Looks at a module that was loaded, before its code runs; `program`: it is the program itself. */
void demand_meet(const struct link_map *map, const struct modules_table *table);
void demand_forget(const struct link_map *map);
/* Whether an address lies in code that cannot be executed as it is. */
int demand_covers(unsigned long at);
/* A word that a forked child finds 0; NULL where the kernel cannot do that. */
int *demand_wiped(void);

/* demand-load.c */

/* Whether these bytes of a mapped file are still there: reading behind a file's new end would be SIGBUS, which kills. */
int demand_is_there(const void *from, unsigned long size);
/* A chunk from a store into memory; NULL or what is wrong with the store. Needs a stack of some KiB, one at a time. */
const char *demand_load(const struct cold_header *cold, const struct cold_range *range, unsigned long base, u32 chunk);

/* demand-report.c */

struct demand_place {
  const struct link_map *map; /* NULL: in no module that is known here */
  const char *path;           /* of the original; NULL: the map's name */
  unsigned long at;
};

_Noreturn void demand_denied(const struct demand_place *called, const struct demand_place *caller);
/* `what` is said of the store: "is missing". */
_Noreturn void demand_damaged(const char *what, const char *folder, const char *replacement);
/* A line in the image's folder; where that cannot be written, nothing. */
void demand_log(const char *folder, const struct demand_place *called, const struct demand_place *caller);

/* demand-signals.c */

/* The program's own doings with SIGSEGV go past the kernel from here on. */
void signals_start(demand_handler *handler);
/* Hooks a C library's ways to the kernel; whether all were found. */
int signals_meet(const struct link_map *libc);
/* A fault that is none of ours, or a SIGSEGV that was sent: what the program would have had. */
void signals_pass_on(int signal, struct sys_siginfo *info, struct sys_ucontext *context);
/* Around exec: what the new program inherits is what the old one set; put back where exec fails. */
void signals_before_exec(void);
void signals_after_exec(void);

#endif
