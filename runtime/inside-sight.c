/*
 * inside-sight.c: a process looks at its own pages, before its memory goes.
 *
 * Problem: where a memory goes (exec, exit) the watcher looks at it while the program waits: two switches to another
 * process, a tenth of a millisecond each time. Method: the process reads what /proc says of it into the log, and makes
 * the call with a word in an argument that the kernel does not look at; the filter lets that pass.
 * Example: a compiler's five processes end without a notice.
 * Limits: a child of vfork has no memory of its own, and only says what it is about to execute. In a sandbox, and where
 * anything fails, the call is made as ever, and the watcher looks.
 */
#include "inside-log.h"
#include "pagemap.h"

#define KCMP_VM 1
#define PIECE 2048u /* of which half is lost behind the last one */

/*
 * Threads may look at the same time (what they unmap), so the pieces of a look have a number: that of the first piece's entry.
 */
static int put_maps(u64 *look) {
  int fd = (int)sys_open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  long got = -1;
  do {
    struct inside_entry *entry = inside_log_reserve(PIECE);
    if (entry == NULL) break;
    got = sys_read(fd, entry + 1, PIECE);
    u64 sequence = inside_log_fill(entry, (struct inside_entry){.kind = ENTRY_MAPS, .result = (i64)*look}, PIECE,
                                   got > 0 ? (u32)got : 0);
    if (*look == 0) *look = sequence;
  } while (got > 0);
  sys_close(fd);
  return got == 0;
}

static int put_pages(u64 look, u64 start, u64 end) {
  int fd = (int)sys_open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  struct scan_argument scan = {.size = sizeof scan,
                               .start = start,
                               .end = end,
                               .vec_length = PIECE / sizeof(struct page_region),
                               .any_of = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
                               .wanted = PAGE_IS_PRESENT | PAGE_IS_SWAPPED};
  long got = -1;
  while (scan.start < scan.end) {
    struct inside_entry *entry = inside_log_reserve(PIECE);
    if (entry == NULL) break;
    scan.vec = (u64)(entry + 1);
    got = sys_call3(16, fd, (long)PAGEMAP_SCAN, (long)&scan);
    inside_log_fill(entry, (struct inside_entry){.kind = ENTRY_PAGES, .result = (i64)look}, PIECE,
                    got > 0 ? (u32)got * (u32)sizeof(struct page_region) : 0);
    if (got <= 0) break;
    scan.start = scan.walk_end;
  }
  sys_close(fd);
  return got >= 0;
}

static int put_seen(u32 what, u64 status, u32 process, u64 look) {
  struct sys_timespec now;
  sys_clock_gettime(CLOCK_MONOTONIC, &now);
  struct inside_entry entry = {.kind = ENTRY_SEEN,
                               .call = what,
                               .result = (i64)process,
                               .first = look << 8 | (status & 0xff),
                               .second = (u64)now.sec * 1000000000u + (u64)now.nsec,
                               .by_loader = (u32)sys_call3(110, 0, 0, 0)}; /* getppid */
  return inside_log_add(entry, NULL) != 0;
}

long inside_sight(u32 what, u64 status) {
  if (inside_quiet) return 0;
  u32 process = (u32)sys_getpid();
  if (process != inside_log_own_process()) {
    /* A copy of the memory (clone without libc) goes with the exec; the watcher looks at it. */
    long parent = sys_call3(110, 0, 0, 0); /* getppid */
    int borrows = what == SEEN_EXEC && sys_call6(312, process, parent, KCMP_VM, 0, 0, 0) == 0; /* kcmp */
    return borrows && put_seen(SEEN_EXEC_BORROWED, status, process, 0) ? INSIDE_WORD : 0;
  }
  u64 look = 0;
  return put_maps(&look) && put_pages(look, 0, USER_END) && put_seen(what, status, process, look) ? INSIDE_WORD : 0;
}

void inside_sight_range(u64 start, u64 end) {
  u64 look = 0;
  if (put_maps(&look) && put_pages(look, start, end)) put_seen(SEEN_LOOK, 0, inside_log_own_process(), look);
}

/* In place of libc's _exit. */
__attribute__((used, visibility("hidden"))) void inside_exit(int status) {
  long word = inside_sight(SEEN_EXIT, (u64)status);
  for (;;) sys_call3(231, status, word, 0); /* exit_group */
}
