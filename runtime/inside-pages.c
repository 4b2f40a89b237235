/*
 * inside-pages.c: makes present bits of file mappings exact, from inside (src/sys/uffd.ts says how that works).
 *
 * Problem: a registration belongs to a memory, needs a descriptor that was made in it, and must be made before pages are
 * touched; and the program must not find that descriptor. Method: while the loader works nobody counts descriptors: it is
 * made here, modules are registered as their writable segment is mapped (the last one, before the loader touches
 * any of it), and before the program begins the watcher takes it over. From then on the watcher registers what the program
 * maps (a word of some ten microseconds each), and looks at pages before they are unmapped.
 *
 * The program and the loader are mapped by the kernel and have run for a while by then: what is present of the program's
 * unwritten segments is let go, and comes back page by page.
 * Example: cc1: ten modules, ten registrations, one word.
 * Limits: of the loader's own pages all that fault-around brought count; after an unshared memory of another kind (a raw
 * clone) there is none, and the recorder is told of no such process.
 */
#include "inside-log.h"
#include "messages.h"

#define PAGE 4096ul
#define MAP_DENYWRITE 0x800u
#define UFFD_USER_MODE_ONLY 1
#define UFFDIO_API 0xc018aa3ful
#define UFFDIO_REGISTER 0xc020aa00ul
#define UFFD_FEATURES (1ul << 13 | 1ul << 15) /* WP_UNPOPULATED, WP_ASYNC */
#define UFFD_MODE_WP 2
#define MADV_DONTNEED 4
#define PR_SET_PTRACER 0x59616d61
#define AF_UNIX 1
#define SOCK_DGRAM 2
#define SOL_SOCKET 1
#define SMALL_FILE 65536u /* LOGGED_SMALL_FILE */
#define RANGES_MAX 1024u

struct socket_address {
  u16 family;
  char path[108];
};

static struct socket_address keep_address;

struct range {
  u64 start, end;
};

/* Of mappings of files, in the order they were made. */
static struct range ranges[RANGES_MAX];
static volatile u32 ranges_count;
static struct {
  u64 start, end;
  u64 written; /* the start of the module whose writable segment has been mapped */
} module; /* that is being mapped */
static int uffd = -1;
static int kept; /* the watcher has it */
static int has_begun;

static int make_uffd(void) {
  u64 api[3] = {0xaa, UFFD_FEATURES, 0};
  int fd = (int)sys_call3(323, O_CLOEXEC | UFFD_USER_MODE_ONLY, 0, 0);
  if (fd < 0) return -1;
  if (sys_call3(16, fd, (long)UFFDIO_API, (long)api) == 0) return fd;
  sys_close(fd);
  return -1;
}

static void put_unseen(u64 why) {
  struct inside_entry entry = {.kind = ENTRY_UNSEEN, .first = why};
  inside_log_add(entry, NULL);
}

static void register_range(struct range range) {
  u64 argument[4] = {range.start, range.end - range.start, UFFD_MODE_WP, 0};
  if (uffd >= 0) sys_call3(16, uffd, (long)UFFDIO_REGISTER, (long)argument);
  else if (kept && !inside_quiet) inside_tell(INSIDE_REGISTER, range.start, range.end);
}

static struct range note_range(u64 start, u64 end) {
  struct range range = {start, (end + PAGE - 1) & ~(PAGE - 1)};
  u32 at = __atomic_fetch_add(&ranges_count, 1, __ATOMIC_RELAXED);
  if (at < RANGES_MAX) ranges[at] = range;
  return range;
}

static void add_range(u64 start, u64 end) { register_range(note_range(start, end)); }

static struct range extent_of(const struct elf_segment *segments, u64 count, u64 base) {
  struct range range = {~0ul, 0};
  for (u64 i = 0; i < count; i++) {
    if (segments[i].type != PT_LOAD || segments[i].filesz == 0) continue;
    u64 start = (base + segments[i].vaddr) & ~(PAGE - 1), end = base + segments[i].vaddr + segments[i].filesz;
    if (start < range.start) range.start = start;
    if (end > range.end) range.end = end;
  }
  return range;
}

/* Nobody has written to these; the next touch is a fault of its own. */
static void let_go(const struct elf_segment *segments, u64 count, u64 base) {
  for (u64 i = 0; i < count; i++) {
    if (segments[i].type != PT_LOAD || segments[i].flags & PF_W) continue;
    u64 start = (base + segments[i].vaddr) & ~(PAGE - 1);
    u64 end = (base + segments[i].vaddr + segments[i].filesz + PAGE - 1) & ~(PAGE - 1);
    if (end > start) sys_call3(28, (long)start, (long)(end - start), MADV_DONTNEED); /* madvise */
  }
}

static void note_address(void) {
  const char *path = audit_beside("keep", 0);
  unsigned i = 0;
  while (path != NULL && path[i] && i < sizeof keep_address.path - 1) keep_address.path[i] = path[i], i++;
  if (path != NULL && path[i] == 0) keep_address.family = AF_UNIX;
}

void inside_pages_start(const struct audit_process *process) {
  note_address();
  uffd = make_uffd();
  if (uffd < 0) return put_unseen(UNSEEN_PAGES);
  const struct elf_header *loader = (const struct elf_header *)audit_auxiliary(process, AT_BASE);
  if (loader != NULL) {
    struct range range = extent_of((const struct elf_segment *)((u64)loader + loader->phoff), loader->phnum, (u64)loader);
    add_range(range.start, range.end);
  }
  const struct elf_segment *segments = (const struct elf_segment *)audit_auxiliary(process, AT_PHDR);
  u64 count = audit_auxiliary(process, AT_PHNUM), base = inside_program_base(segments, count);
  struct range range = extent_of(segments, count, base);
  if (range.end <= range.start) return;
  add_range(range.start, range.end);
  let_go(segments, count, base);
}

/*
 * As a message, for which nobody waits: the watcher reads it before it answers the next word. Yama lets a descendant's
 * relative seize this process only if it says so.
 */
static int send_descriptor(int fd) {
  struct control {
    u64 length;
    int level, type;
    int fd, padding;
  } control = {sizeof(u64) + 3 * sizeof(int), SOL_SOCKET, SCM_RIGHTS, fd, 0};
  struct sys_iovec byte = {"k", 1};
  struct socket_message message = {
      .name = &keep_address, .name_length = sizeof keep_address, .parts = &byte, .parts_count = 1, .control = &control,
      .control_length = sizeof control};
  if (keep_address.family == 0) return 0;
  int socket = (int)sys_call3(41, AF_UNIX, SOCK_DGRAM | O_CLOEXEC, 0);
  if (socket < 0) return 0;
  sys_prctl(PR_SET_PTRACER, inside_log_watcher(), 0, 0, 0);
  long sent = sys_call3(46, socket, (long)&message, 0); /* sendmsg */
  sys_close(socket);
  return sent == 1;
}

static void hand_over(void) {
  if (uffd < 0) return;
  kept = send_descriptor(uffd);
  sys_close(uffd);
  uffd = -1;
  if (!kept) put_unseen(UNSEEN_PAGES);
}

void inside_pages_begin(void) {
  hand_over();
  has_begun = 1;
}

/* A child's memory is like its parent's, but registered nowhere. */
void inside_pages_fork(void) {
  if (!kept) return;
  kept = 0;
  if (inside_quiet) return put_unseen(UNSEEN_SANDBOX);
  uffd = make_uffd();
  if (uffd < 0) return put_unseen(UNSEEN_PAGES);
  for (u32 i = 0; i < ranges_count && i < RANGES_MAX; i++)
    if (ranges[i].end > ranges[i].start) register_range(ranges[i]);
  hand_over();
}

void inside_pages_mapped(u64 at, u64 size, u32 protection, u32 flags, int by_loader) {
  if (!by_loader || !(flags & MAP_DENYWRITE)) {
    /* Read-ahead and fault-around bring a small file whole, as if it had been read. */
    if (size > SMALL_FILE) add_range(at, at + size);
    else note_range(at, at + size);
    return;
  }
  u64 end = at + size;
  if (!(flags & MAP_FIXED) || at < module.start || end > module.end) {
    /* Its first mapping, as long as all of it; at a place of its own where it is aligned to more than a page. */
    module.start = at;
    module.end = (end + PAGE - 1) & ~(PAGE - 1);
    return;
  }
  int is_written = (protection & PROT_WRITE) != 0, was_written = module.written == module.start;
  /* What is mapped behind the first writable segment, as in files that patchelf has written, is a mapping more. */
  if (is_written || was_written) add_range(was_written ? at : module.start, end);
  if (is_written) module.written = module.start;
}

void inside_pages_unmap(u64 at, u64 size) {
  if (!has_begun) return;
  int holds_file = 0;
  for (u32 i = 0; i < ranges_count && i < RANGES_MAX; i++) {
    struct range *range = &ranges[i];
    if (range->start >= at + size || range->end <= at || range->end <= range->start) continue;
    holds_file = 1;
    if (range->start >= at && range->end <= at + size) range->end = range->start;
  }
  if (holds_file && kept && !inside_quiet) inside_sight_range(at & ~(PAGE - 1), (at + size + PAGE - 1) & ~(PAGE - 1));
}
