/* demand.h: what the files of demand.so, the audit object of images whose unused code is denied or stored, ask of each other. */
#ifndef WINNOW_DEMAND_H
#define WINNOW_DEMAND_H

#include "audit.h"
#include "cold.h"
#include "modules.h"
#include "signals.h"

#define SEGV_BIT (1ull << (SIGSEGV - 1))

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
