/*
 * prefetch.c: is the program's working set in memory, and if not, bring it there in the background.
 *
 * Problem: the program must find no trace of the prefetch: no child, no zombie, no SIGCHLD, no descriptor,
 * no process that keeps its pipes open; and it must not wait for the disk.
 *
 * Method: two forks. The first child leaves the session, closes every descriptor, forks the leader and
 * ends; the launcher waits for it, which takes as long as that, and goes on to execve. The leader belongs
 * to init now. It checks the plan's body, forks the other workers, and all of them take tasks from one
 * counter until none are left. Most of a worker's time is spent waiting for a folder or an inode to be
 * read; that there are several of them gives the disk a queue. Data is only asked for (readahead), never
 * waited for.
 *
 * Where orphans would fall to a process that does not reap them, and where fork fails, the launcher itself
 * asks for the data before execve, for at most INLINE_MS, and leaves the look-ups out.
 *
 * Limits: wait4 of the first child adds its time to RUSAGE_CHILDREN of the program (some 0.1 ms).
 */
#include "prefetch.h"

#include "misses.h"
#include "text.h"

#define GUARD_SECONDS 60
#define INLINE_MS 100
/* The name of the first pid namespace: PROC_PID_INIT_INO of the kernel. */
#define FIRST_PID_NAMESPACE "pid:[4026531836]"

struct plan_body {
  const struct prefetch *prefetch;
  const struct plan_header *head;
  const struct plan_file *files;
  const struct plan_extent *extents;
  const struct plan_lookup *lookups;
  const struct plan_task *tasks;
  const char *strings;
};

int plan_head_is_good(const struct plan_header *head, u64 have, u64 size) {
  const struct plan_envelope *envelope = &head->envelope;
  if (have < sizeof *head || envelope->magic != PLAN_MAGIC || envelope->version != PLAN_VERSION) return 0;
  u64 head_size = envelope->head_size;
  if (head_size % 8 || head_size < sizeof *head || head_size > have || head_size > PLAN_HEAD_MAX) return 0;
  if (envelope->total_size != size || size % 8 || size < head_size || size > PLAN_SIZE_MAX) return 0;
  const char *bytes = (const char *)head;
  u64 skipped = sizeof *envelope;
  if (plan_checksum(bytes + skipped, head_size - skipped) != envelope->head_checksum) return 0;
  if (head->workers < 1 || head->workers > PLAN_WORKERS_MAX) return 0;
  if (head->probe_count > PLAN_PROBES_MAX) return 0;
  u64 probes_end = sizeof *head + head->probe_count * sizeof(struct plan_probe);
  return probes_end <= head_size && (head->probe_count == 0 || bytes[head_size - 1] == 0);
}

/* The same by mincore, which tells the truth to those only who may write the file: others see all in memory. */
static int page_is_mapped_warm(int fd, u32 page) {
  long at = (long)sys_mmap(NULL, PLAN_PAGE, PROT_READ, MAP_PRIVATE, fd, (long)page * PLAN_PAGE);
  if (at < 0 && at > -4096) return -1;
  u8 resident = 0;
  long result = sys_mincore((void *)at, PLAN_PAGE, &resident);
  sys_munmap((void *)at, PLAN_PAGE);
  return result < 0 ? -1 : resident & 1;
}

/* 1: in memory, 0: not, -1: it cannot be said. */
static int page_is_warm(int fd, u32 page, u32 user) {
  char byte;
  struct sys_iovec vector = {&byte, 1};
  long got = sys_preadv2(fd, &vector, 1, (u64)page * PLAN_PAGE, RWF_NOWAIT);
  /* overlayfs, of which containers are made, has no RWF_NOWAIT. */
  if (got == -EOPNOTSUPP && user == 0) return page_is_mapped_warm(fd, page);
  return got == 1 ? 1 : got == -EAGAIN ? 0 : -1;
}

int plan_is_warm(const struct plan_header *head, u64 random, u32 user) {
  const char *bytes = (const char *)head;
  const struct plan_probe *probes = (const struct plan_probe *)(head + 1);
  u32 count = head->probe_count;
  u32 tries = count < PLAN_PROBES_TRIED ? count : PLAN_PROBES_TRIED;
  u32 warm = 0, opened = 0, open_path = 0;
  int fd = -1, cold = 0;
  for (u32 i = 0; i < tries && !cold; i++) {
    /* The program's own page comes first: it is needed in any case, and most often tells it all. */
    u32 at = i == 0 ? 0 : (u32)(1 + (random % (count - 1) + i) % (count - 1));
    u32 path = probes[at].path;
    if (path >= head->envelope.head_size) return 1;
    if (fd < 0 || path != open_path) {
      if (fd >= 0) sys_close(fd);
      fd = (int)sys_open(bytes + path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
      if (fd < 0) continue;
      open_path = path;
      opened++;
      /* A probe of a missing page begins to read it: this keeps it at that page. */
      sys_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
    }
    int answer = page_is_warm(fd, probes[at].page, user);
    if (answer > 0) warm++;
    if (answer == 0) cold = 1;
  }
  if (fd >= 0) sys_close(fd);
  /* Files were opened and none could answer: the file system has no RWF_NOWAIT, so nothing is known. */
  return !cold && (warm > 0 || opened == 0);
}

/* Finds the tables, and that they fill the file exactly. What they say is checked where it is used. */
static int open_body(struct plan_body *body, const struct prefetch *prefetch, const u8 *map) {
  body->prefetch = prefetch;
  const struct plan_header *head = (const struct plan_header *)map;
  u64 head_size = head->envelope.head_size, total = head->envelope.total_size;
  u64 at = head_size;
  body->head = head;
  body->files = (const struct plan_file *)(map + at);
  at += (u64)head->file_count * sizeof *body->files;
  body->extents = (const struct plan_extent *)(map + at);
  at += (u64)head->extent_count * sizeof *body->extents;
  body->lookups = (const struct plan_lookup *)(map + at);
  at += (u64)head->lookup_count * sizeof *body->lookups;
  body->tasks = (const struct plan_task *)(map + at);
  at += (u64)head->task_count * sizeof *body->tasks;
  body->strings = (const char *)map + at;
  if (at + head->strings_size != total) return 0;
  if (head->strings_size > 0 && map[total - 1] != 0) return 0;
  return plan_checksum(map + head_size, total - head_size) == head->body_checksum;
}

/* A table's rows `first` to `first + count`, as many of them as there are. */
static u64 rows_end(u32 first, u32 count, u32 rows) {
  u64 end = (u64)first + count;
  return end < rows ? end : rows;
}

/* Each file once, though it may be several tasks. */
static void note_miss(const struct plan_body *body, const struct plan_task *task, u32 what) {
  if (task->first == body->files[task->file].extent_first)
    misses_add(body->prefetch->misses, body->prefetch->user, what, task->file);
}

static void fetch_file(const struct plan_body *body, const struct plan_task *task) {
  if (task->file >= body->head->file_count) return;
  const struct plan_file *file = &body->files[task->file];
  if (file->path >= body->head->strings_size) return;
  if (file->chunk_pages < 1 || file->chunk_pages > PLAN_CHUNK_MAX) return;
  const char *path = body->strings + file->path;
  struct sys_statx now;
  /* Before open: what stands there now may be a pipe or a device, and opening those has effects. */
  if (sys_statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT,
                STATX_TYPE | STATX_SIZE | STATX_MTIME | STATX_INO, &now) < 0)
    return note_miss(body, task, PLAN_MISS_GONE);
  if ((now.mode & S_IFMT) != S_IFREG || now.size != file->size || now.ino != file->inode ||
      now.mtime.sec != file->mtime_sec || now.mtime.nsec != file->mtime_nsec)
    return note_miss(body, task, PLAN_MISS_CHANGED);
  int fd = (int)sys_open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return note_miss(body, task, PLAN_MISS_GONE);
  u64 end = rows_end(task->first, task->count, body->head->extent_count);
  for (u64 i = task->first; i < end; i++) {
    const struct plan_extent *extent = &body->extents[i];
    u64 page = extent->page, past = page + extent->count;
    if (past > (file->size + PLAN_PAGE - 1) / PLAN_PAGE) break;
    for (; page < past; page += file->chunk_pages) {
      u64 pages = past - page < file->chunk_pages ? past - page : file->chunk_pages;
      if (sys_readahead(fd, page * PLAN_PAGE, pages * PLAN_PAGE) < 0) break;
    }
  }
  sys_close(fd);
}

static void look_up(const struct plan_body *body, const struct plan_task *task) {
  u64 end = rows_end(task->first, task->count, body->head->lookup_count);
  for (u64 i = task->first; i < end; i++) {
    struct sys_statx ignored;
    u32 path = body->lookups[i].path;
    if (path >= body->head->strings_size) return;
    sys_statx(AT_FDCWD, body->strings + path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &ignored);
  }
}

static _Noreturn void work(const struct plan_body *body, u32 *next_task) {
  sys_alarm(GUARD_SECONDS);
  for (;;) {
    u32 at = __atomic_fetch_add(next_task, 1, __ATOMIC_RELAXED);
    if (at >= body->head->task_count) sys_exit(0);
    const struct plan_task *task = &body->tasks[at];
    if (task->kind == PLAN_TASK_FILE) fetch_file(body, task);
    if (task->kind == PLAN_TASK_LOOKUPS) look_up(body, task);
  }
}

static _Noreturn void lead(const struct prefetch *prefetch, const u8 *map) {
  struct plan_body body;
  if (!open_body(&body, prefetch, map)) sys_exit(1);
  sys_prctl(PR_SET_NAME, (unsigned long)"winnow-prefetch", 0, 0, 0);
  long counter = (long)sys_mmap(NULL, PLAN_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (counter < 0 && counter > -4096) sys_exit(1);
  u32 *next_task = (u32 *)counter;
  for (u32 i = 1; i < body.head->workers; i++) {
    if (sys_clone(0) <= 0) break; /* a worker, or no more processes to be had */
  }
  work(&body, next_task);
}

static void close_all(void) {
  if (sys_close_range(0, ~0u, 0) >= 0) return;
  /* Before Linux 5.9 */
  struct sys_rlimit limit = {1024, 0};
  sys_getrlimit(RLIMIT_NOFILE, &limit);
  int most = limit.soft < 65536 ? (int)limit.soft : 65536;
  for (int fd = 0; fd < most; fd++) sys_close(fd);
}

/* Leaves the session, the folder and the descriptors of the program, then forks the leader. */
static _Noreturn void detach(const struct prefetch *prefetch, const u8 *map) {
  sys_setsid();
  close_all();
  sys_chdir("/");
  /* The caller may have ignored or blocked what ends a worker. */
  struct sys_sigaction action = {SIG_DFL, 0, 0, 0};
  sys_sigaction(SIGALRM, &action, NULL);
  sys_sigaction(SIGTERM, &action, NULL);
  u64 none = 0;
  sys_sigprocmask(SIG_SETMASK, &none, NULL);
  long leader = sys_clone(0);
  if (leader == 0) lead(prefetch, map);
  sys_exit(leader < 0);
}

static int contains_word(const char *list, const char *word) {
  while (*list) {
    const char *at = word;
    while (*list && *list != ' ' && *list == *at) list++, at++;
    if ((*list == ' ' || *list == 0) && *at == 0) return 1;
    while (*list && *list != ' ') list++;
    if (*list == ' ') list++;
  }
  return 0;
}

/* Whether whoever gets our orphans waits for them: not this program, and no init that is just some program. */
static int orphans_are_reaped(void) {
  if (sys_getpid() == 1) return 0;
  int subreaper = 0;
  sys_prctl(PR_GET_CHILD_SUBREAPER, (unsigned long)&subreaper, 0, 0, 0);
  if (subreaper) return 0;
  char text[64];
  long size = sys_readlink("/proc/self/ns/pid", text, sizeof text - 1);
  if (size <= 0) return 0;
  text[size] = 0;
  if (same(text, FIRST_PID_NAMESPACE)) return 1;
  int fd = (int)sys_open("/proc/1/comm", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  size = sys_read(fd, text, sizeof text - 1);
  sys_close(fd);
  if (size <= 1) return 0;
  text[size - 1] = 0; /* the line's end */
  return contains_word("systemd init tini dumb-init docker-init podman-init catatonit s6-svscan runit "
                       "runsvdir openrc-init supervisord my_init pid1 conmon",
                       text);
}

static i64 now_ms(void) {
  struct sys_timespec now = {0, 0};
  sys_clock_gettime(CLOCK_MONOTONIC, &now);
  return now.sec * 1000 + now.nsec / 1000000;
}

static void fetch_inline(const struct prefetch *prefetch, const u8 *map) {
  struct plan_body body;
  if (!open_body(&body, prefetch, map)) return;
  i64 until = now_ms() + INLINE_MS;
  for (u32 i = 0; i < body.head->task_count && now_ms() < until; i++) {
    if (body.tasks[i].kind == PLAN_TASK_FILE) fetch_file(&body, &body.tasks[i]);
  }
}

void prefetch_start(const struct prefetch *prefetch) {
  const struct plan_header *head = prefetch->head;
  u64 size = head->envelope.total_size;
  if (head->task_count == 0) return;
  long at = (long)sys_mmap(NULL, size, PROT_READ, MAP_PRIVATE, prefetch->fd, 0);
  if (at < 0 && at > -4096) return;
  const u8 *map = (const u8 *)at;
  /* The file was checked through another read: take no figure from the map that was not compared. */
  const u64 *a = (const u64 *)map, *b = (const u64 *)head;
  for (u64 i = 0; i < sizeof *head / 8; i++)
    if (a[i] != b[i]) return;
  if (orphans_are_reaped()) {
    long child = sys_clone(0);
    if (child == 0) detach(prefetch, map);
    if (child > 0) {
      int status = 0;
      while (sys_wait4((int)child, &status, __WALL) == -EINTR) {
      }
      if (status == 0) return;
    }
  }
  fetch_inline(prefetch, map);
}
