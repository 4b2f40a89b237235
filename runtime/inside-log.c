/*
 * inside-log.c: the log that all recorded processes write to.
 *
 * Problem: a word to another process costs ten microseconds and more, several hundred times in a run of gcc. Method: a file that
 * each process maps, in chunks. An entry gets its place by one atomic addition, and its number by another: the order over
 * all processes. Who finds a chunk full moves all on to the next one. Room is allocated before it is mapped: a write
 * to a full file system would be a SIGBUS.
 * Example: a compiler's five processes write three chunks.
 * Limits: an entry of a process that dies in the middle of it has no mark, and is stepped over.
 */
#include "inside-log.h"

#define PATH_MAX 4096u
#define SYS_fallocate 285
#define MAP_POPULATE 0x8000
/* Hundreds of processes at a time fill a chunk before a slow one has mapped it. */
#define TRIES 100
#define MAPPED(at) (!((long)(at) < 0 && (long)(at) > -4096))

static char log_path[AUDIT_PATH_SIZE];
static struct inside_header *header;
static struct inside_chunk *volatile chunk;
static volatile u32 chunk_number;
static u32 own_process;
volatile int inside_quiet;

void inside_log_process(u32 process) { own_process = process; }
u32 inside_log_watcher(void) { return header == NULL ? 0 : header->watcher; }
u32 inside_log_own_process(void) { return own_process; }

static int map_chunk(int fd, u32 number) {
  if (number == 0 || number >= INSIDE_CHUNKS_MAX) return 0;
  long offset = (long)number * INSIDE_CHUNK;
  if (sys_call4(SYS_fallocate, fd, 0, offset, INSIDE_CHUNK) < 0) return 0;
  void *at = (void *)sys_mmap(NULL, INSIDE_CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, offset);
  if (!MAPPED(at)) return 0;
  /* The old one stays: another thread may be writing to it. */
  chunk = at;
  chunk_number = number;
  return 1;
}

int inside_log_open(const char *path) {
  for (unsigned i = 0; (log_path[i] = path[i]); i++) {
  }
  int fd = (int)sys_openat(AT_FDCWD, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return 0;
  void *at = (void *)sys_mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  int good = MAPPED(at) && ((struct inside_header *)at)->magic == INSIDE_MAGIC &&
             ((struct inside_header *)at)->version == INSIDE_VERSION;
  if (good) {
    header = at;
    good = map_chunk(fd, __atomic_load_n(&header->chunk, __ATOMIC_RELAXED));
  }
  sys_close(fd);
  own_process = (u32)sys_getpid();
  return good;
}

/* On to the chunk behind the full one. */
static int move_on(u32 full) {
  u32 seen = full;
  __atomic_compare_exchange_n(&header->chunk, &seen, full + 1, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  if (inside_quiet) return 0;
  int fd = (int)sys_openat(AT_FDCWD, log_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return 0;
  int good = map_chunk(fd, __atomic_load_n(&header->chunk, __ATOMIC_RELAXED));
  sys_close(fd);
  return good;
}

static struct inside_entry *reserve(u32 size) {
  for (int tries = 0; header != NULL && chunk != NULL && tries < TRIES; tries++) {
    struct inside_chunk *into = chunk;
    u32 number = chunk_number;
    u32 at = __atomic_fetch_add(&into->used, size, __ATOMIC_RELAXED) + (u32)sizeof *into;
    if (at + size <= INSIDE_CHUNK) return (struct inside_entry *)((u8 *)into + at);
    if (!move_on(number)) break;
  }
  if (header != NULL) __atomic_fetch_add(&header->lost, 1, __ATOMIC_RELAXED);
  return NULL;
}

static u64 fill(struct inside_entry *at, struct inside_entry entry, u32 size, u32 length) {
  entry.size = size;
  entry.length = length;
  entry.process = own_process;
  entry.sequence = __atomic_fetch_add(&header->sequence, 1, __ATOMIC_RELAXED);
  u32 kind = entry.kind;
  entry.kind = 0;
  *at = entry;
  __atomic_store_n(&at->kind, ENTRY_MARK | kind, __ATOMIC_RELEASE);
  return entry.sequence;
}

u64 inside_log_add(struct inside_entry entry, const char *path) {
  u32 length = 0;
  while (path != NULL && length < PATH_MAX && path[length]) length++;
  u32 size = ((u32)sizeof entry + length + 7) & ~7u;
  struct inside_entry *at = reserve(size);
  if (at == NULL) return 0;
  char *text = (char *)(at + 1);
  for (u32 i = 0; i < length; i++) text[i] = path[i];
  return fill(at, entry, size, length);
}

struct inside_entry *inside_log_reserve(u32 room) { return reserve((u32)sizeof(struct inside_entry) + room); }

u64 inside_log_fill(struct inside_entry *at, struct inside_entry entry, u32 room, u32 length) {
  return fill(at, entry, (u32)sizeof entry + room, length);
}

struct inside_reading *inside_log_table(void) {
  u32 room = INSIDE_DESCRIPTORS * sizeof(struct inside_reading);
  struct inside_entry *at = inside_log_reserve(room);
  if (at == NULL) return NULL;
  inside_log_fill(at, (struct inside_entry){.kind = ENTRY_TABLE}, room, 0);
  return (struct inside_reading *)(at + 1);
}
