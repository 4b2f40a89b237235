/* inside-log.h: what inside.so's files ask of its log and of each other. */
#ifndef WINNOW_INSIDE_LOG_H
#define WINNOW_INSIDE_LOG_H

#include "audit.h"
#include "elf.h"
#include "inside.h"

/* inside-log.c */

/* Opens the log at `path`, which must stay; 0 where that fails: then nothing is written. */
int inside_log_open(const char *path);
/*
 * Writes an entry down; `path` may be NULL, and counts up to PATH_MAX bytes. Returns its sequence number, or 0 where there was no
 * room. Async-signal-safe.
 */
u64 inside_log_add(struct inside_entry entry, const char *path);
u32 inside_log_watcher(void);
/* The process that entries are of. */
void inside_log_process(u32 process);
u32 inside_log_own_process(void);
/* An entry with `room` bytes behind it, which inside_log_fill ends; NULL where there is none. */
struct inside_entry *inside_log_reserve(u32 room);
u64 inside_log_fill(struct inside_entry *at, struct inside_entry entry, u32 room, u32 length);
/* An entry with room for a table, all zero; NULL where there is none. */
struct inside_reading *inside_log_table(void);
/* The program has a filter of its own: no more system calls that it would not have made. */
extern volatile int inside_quiet;

/* inside-sites.c */

/* Changes a module's code where the file `sites` says so. */
int inside_sites_open(const char *path);
void inside_sites_close(void);
int inside_sites_meet(const char *path, u64 base);

/* inside-pages.c */

void inside_pages_start(const struct audit_process *process);
/* Everything of the program has been mapped, nothing of it has run. */
void inside_pages_begin(void);
void inside_pages_fork(void);
void inside_pages_mapped(u64 at, u64 size, u32 protection, u32 flags, int by_loader);
void inside_pages_unmap(u64 at, u64 size);

/* inside-reads.c */

void inside_reads_open(int fd, u64 opened, u64 flags);
void inside_reads_call(u32 call, const u64 *arguments, i64 result);
/* From now on `to` is `from`. */
void inside_reads_share(u64 from, i64 to);
void inside_reads_fork(void);
void inside_reads_start(void);

/* inside-sight.c */

/* This process looks at itself; returns what lets the call that follows pass the filter, or 0. */
long inside_sight(u32 what, u64 status);
/* At some pages only, which are about to be unmapped. */
void inside_sight_range(u64 start, u64 end);
void inside_exit(int status);

/* inside.c */

/* Where the program lies, by its program headers in memory. */
u64 inside_program_base(const struct elf_segment *segments, u64 count);
/* This process is a child that has its parent's memory copied. */
void inside_forked(void);
/* Asks the watcher; below 0 where nobody answers. */
long inside_tell(u32 what, u64 a, u64 b);

#endif
