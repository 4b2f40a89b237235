/*
 * restore-guards.c: is everything that the dynamic loader depends on as it was when the image was built?
 *
 * The cheapest first: the environment, what the kernel says of itself, the processor, then a look at each file. No
 * content is read but that of the image's head and of the vDSO; size, time and inode tell a file that has changed.
 */
#include "modules.h"
#include "restore.h"
#include "text.h"

static int begins(const char *text, const char *with) {
  for (; *with; text++, with++)
    if (*text != *with) return 0;
  return 1;
}

/* What follows `name` on a line of its own; NULL where there is none. */
static const char *line_of(const char *text, const char *name) {
  for (const char *at = text; *at; at++)
    if (*at == '\n' && begins(at + 1, name)) return at + 1 + length_of(name);
  return NULL;
}

/* PR_GET_SECCOMP would cost a fortieth of it, and filters may kill who asks. */
void read_status(struct start *start) {
  char text[4096];
  start->is_traced = start->is_filtered = 1;
  int fd = (int)sys_open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  long size = sys_read(fd, text, sizeof text - 1);
  sys_close(fd);
  text[size > 0 ? size : 0] = 0;
  const char *tracer = line_of(text, "TracerPid:\t"), *filter = line_of(text, "Seccomp:\t");
  start->is_traced = tracer == NULL || *tracer != '0';
  /* Kernels that know no filters have no such line; but many groups may have pushed it out. */
  start->is_filtered = filter != NULL ? *filter != '0' : tracer == NULL || size == sizeof text - 1;
}

long stat_of(const struct image *image, int fd, struct sys_stat *stat) {
  return image->is_filtered ? sys_fstatat(fd, "", stat, AT_EMPTY_PATH) : sys_fstat(fd, stat);
}

/*
 * Debuggers that start a program switch the random addresses off, and may have written breakpoints into it, which
 * would move with it. The stack then ends where the user half does, with the program's name. Filters may kill who
 * asks for the personality.
 */
#define STACK_END ((1ull << 47) - PLAN_PAGE)
int has_random_addresses(const struct start *start) {
  u64 name = aux(start, AT_EXECFN);
  return !(name < STACK_END && name >= STACK_END - 2 * PLAN_PAGE);
}

static int is_debugged(const struct start *start) { return !has_random_addresses(start) && start->is_traced; }

#define LIBRARY_PATH "LD_LIBRARY_PATH="

struct verdict check_surroundings(const struct start *start) {
  if (aux(start, AT_SECURE) != 0) return verdict(LINKED_BAD_SECURE, 0);
  for (char **at = start->envp; *at != NULL; at++) {
    const char *text = *at;
    /* MALLOC_…: older names of tunables. */
    int counts = (text[0] == 'L' && begins(text, "LD_") && !begins(text, LIBRARY_PATH)) ||
                 (text[0] == 'G' && begins(text, "GLIBC_TUNABLES=")) ||
                 (text[0] == 'M' && begins(text, "MALLOC_"));
    if (counts) return verdict(LINKED_BAD_ENVIRONMENT, at - start->envp);
  }
  if (is_debugged(start)) return verdict(LINKED_BAD_DEBUGGER, 0);
  return verdict(LINKED_GOOD, 0);
}

/* Of several the loader takes the last; programs that have them get a plain start. */
struct verdict check_library_path(const struct image *image, const struct start *start) {
  u32 wanted = image->header->library_path;
  unsigned found = 0;
  for (char **at = start->envp; *at != NULL; at++) {
    if ((*at)[0] != 'L' || !begins(*at, LIBRARY_PATH)) continue;
    const char *value = *at + sizeof LIBRARY_PATH - 1;
    if (wanted >= image->header->strings_size || found++ > 0 || !same(value, text_at(image, wanted)))
      return verdict(LINKED_BAD_ENVIRONMENT, at - start->envp);
  }
  return verdict(wanted == LINKED_UNSET || found > 0 ? LINKED_GOOD : LINKED_BAD_ENVIRONMENT, 0);
}

static void cpuid(u32 leaf, u32 words[4]) {
  __asm__ volatile("cpuid" : "=a"(words[0]), "=b"(words[1]), "=c"(words[2]), "=d"(words[3]) : "a"(leaf), "c"(0));
}

void read_processor(struct image *image) {
  u32 one[4], seven[4], low = 0, high = 0;
  cpuid(1, one);
  cpuid(7, seven);
  if (one[2] & (1u << 27)) __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  image->processor = (struct linked_processor){
      one[0], one[1] & 0xffffff, one[2], one[3], seven[1], seven[2], seven[3], 0, (u64)high << 32 | low};
  image->processor_number = one[1] & 0xff000000u;
}

static int same_processor(const struct linked_processor *a, const struct linked_processor *b) {
  const u64 *x = (const u64 *)a, *y = (const u64 *)b;
  for (unsigned i = 0; i < sizeof *a / 8; i++)
    if (x[i] != y[i]) return 0;
  return 1;
}

static u32 version_for(u32 flags) {
  if (flags & LINKED_PAGE_IN) return flags & LINKED_SLID ? LINKED_VERSION : 0;
  return flags & LINKED_SLID ? LINKED_VERSION_SLID : LINKED_VERSION_FIXED;
}

/* The tables fill the head, and their strings end in it. */
static int head_is_whole(struct image *image, u64 file_size) {
  const struct linked_header *header = image->header;
  const struct plan_envelope *envelope = &header->envelope;
  if (file_size < sizeof *header || envelope->magic != LINKED_MAGIC) return 0;
  if (envelope->version != version_for(header->flags)) return 0;
  u64 size = envelope->head_size;
  if (size < sizeof *header || size > LINKED_HEAD_MAX || size % 8 || envelope->total_size != file_size) return 0;
  if (header->pages_offset < size || header->pages_offset > file_size ||
      header->pages_size != file_size - header->pages_offset || (header->flags & ~(LINKED_JOINED | LINKED_SLID | LINKED_PAGE_IN)) || header->reserved != 0)
    return 0;
  if (header->file_count > LINKED_FILES_MAX || header->map_count > LINKED_MAPS_MAX ||
      header->fixup_count > LINKED_FIXUPS_MAX || header->watch_count > LINKED_WATCHES_MAX)
    return 0;
  image->files = (const struct linked_file *)(header + 1);
  image->maps = (const struct linked_map *)(image->files + header->file_count);
  image->fixups = (const struct linked_fixup *)(image->maps + header->map_count);
  image->watches = (const struct linked_watch *)(image->fixups + header->fixup_count);
  image->strings = (const char *)(image->watches + header->watch_count);
  if (header->flags & LINKED_SLID) {
    image->slide = (const struct linked_slide *)image->strings;
    image->slid_pages = (const struct linked_slid_page *)(image->slide + 1);
    if ((u64)((const char *)image->slid_pages - (const char *)header) > size) return 0;
    if (image->slide->page_count > LINKED_HEAD_MAX / sizeof *image->slid_pages) return 0;
    image->strings = (const char *)(image->slid_pages + image->slide->page_count);
  }
  if ((u64)(image->strings - (const char *)header) + header->strings_size != size) return 0;
  if (header->strings_size > 0 && image->strings[header->strings_size - 1] != 0) return 0;
  return plan_checksum((const u8 *)header + sizeof *envelope, size - sizeof *envelope) == envelope->head_checksum;
}

static int read_small(struct image *image) {
  long got = sys_pread(image->fd, image->small, sizeof image->small, 0);
  image->header = (const struct linked_header *)image->small;
  return got >= (long)sizeof *image->header && image->header->envelope.head_size <= (u64)got;
}

struct verdict image_open(struct image *image, const char *path, const struct start *start) {
  struct sys_stat stat;
  image->fd = (int)sys_open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  if (image->fd < 0 || stat_of(image, image->fd, &stat) < 0) return verdict(LINKED_BAD_IMAGE, 0);
  if (!only_owner_writes(&stat, (u32)aux(start, AT_EUID))) return verdict(LINKED_BAD_IMAGE, 0);
  u64 size = (u64)stat.size;
  if (size < sizeof *image->header) return verdict(LINKED_BAD_IMAGE, 0);
  u64 wanted = size < LINKED_HEAD_MAX ? size : LINKED_HEAD_MAX;
  /* Larger images have larger heads. */
  if (size < LINKED_HEAD_MAX && read_small(image)) return verdict(head_is_whole(image, size) ? LINKED_GOOD : LINKED_BAD_IMAGE, 0);
  long at = sys_mmap(NULL, wanted, PROT_READ, MAP_PRIVATE, image->fd, 0);
  if (at < 0 && at > -4096) return verdict(LINKED_BAD_IMAGE, 0);
  image->header = (const struct linked_header *)at;
  image->mapped = wanted;
  return verdict(head_is_whole(image, size) ? LINKED_GOOD : LINKED_BAD_IMAGE, 0);
}

void image_close(struct image *image) {
  if (image->mapped > 0 && !image->is_kept) sys_munmap((void *)image->header, image->mapped);
  if (image->fd >= 0) sys_close(image->fd);
}

/* The bytes that a vDSO has mapped: its one PT_LOAD, in whole pages. */
static u64 vdso_size(const struct elf_header *vdso) {
  if (!elf_is_ours(vdso) || vdso->phoff + vdso->phnum * sizeof(struct elf_segment) > PLAN_PAGE) return 0;
  const struct elf_segment *segments = (const struct elf_segment *)((const u8 *)vdso + vdso->phoff);
  for (unsigned i = 0; i < vdso->phnum; i++)
    if (segments[i].type == PT_LOAD && segments[i].offset == 0)
      return (segments[i].memsz + PLAN_PAGE - 1) & ~(u64)(PLAN_PAGE - 1);
  return 0;
}

static int vdso_is_same(const struct linked_header *header, u64 at) {
  if (header->vdso_at == 0 || at == 0) return header->vdso_at == at;
  return vdso_size((const struct elf_header *)at) == header->vdso_size &&
         plan_checksum((const void *)at, header->vdso_size) == header->vdso_checksum;
}

/* glibc takes other limits than these for something else, and the kernel lays out the address space by very large ones. */
#define STACK_LEAST (4ull << 20)
#define STACK_MOST (1ull << 40)

static int is_ordinary(u64 stack) { return stack >= STACK_LEAST && stack <= STACK_MOST; }

static int stack_limit_is_good(const struct image *image) {
  u64 built = image->header->stack_limit;
  struct sys_rlimit limit;
  if (sys_getrlimit(RLIMIT_STACK, &limit) < 0) return 0;
  if (limit.soft == built) return 1;
  if (!is_ordinary(limit.soft) || !is_ordinary(built)) return 0;
  for (u32 i = 0; i < image->header->fixup_count; i++)
    if (image->fixups[i].kind == LINKED_THREAD_STACK) return 1;
  return 0;
}

struct verdict check_machine(const struct image *image, const struct start *start) {
  const struct linked_header *header = image->header;
  if (aux(start, AT_HWCAP) != header->hwcap || aux(start, AT_HWCAP2) != header->hwcap2 ||
      aux(start, AT_MINSIGSTKSZ) != header->minsigstksz || aux(start, AT_PAGESZ) != header->page_size ||
      aux(start, AT_CLKTCK) != header->clock_tick)
    return verdict(LINKED_BAD_KERNEL, 0);
  if (!stack_limit_is_good(image)) return verdict(LINKED_BAD_STACK, 0);
  if (!same_processor(&image->processor, &header->processor)) return verdict(LINKED_BAD_PROCESSOR, 0);
  if (!vdso_is_same(header, aux(start, AT_SYSINFO_EHDR))) return verdict(LINKED_BAD_VDSO, 0);
  return verdict(LINKED_GOOD, 0);
}

const char *text_at(const struct image *image, u32 at) {
  return at < image->header->strings_size ? image->strings + at : "";
}

static int is_absent(const char *path) {
  struct sys_stat stat;
  /* For whatever reason: what cannot be seen cannot be opened either. */
  return sys_stat(path, &stat) < 0;
}

static int is_folder(const struct sys_stat *stat) { return (stat->mode & S_IFMT) == S_IFDIR; }

static int is_unchanged(const struct linked_watch *watch, const char *path) {
  struct sys_stat stat;
  return sys_stat(path, &stat) >= 0 && stat.ino == watch->inode &&
         (is_folder(&stat) ? 0 : (u64)stat.size) == watch->size && stat.mtime.sec == watch->mtime_sec &&
         stat.mtime.nsec == watch->mtime_nsec;
}

struct verdict check_watches(const struct image *image) {
  for (u32 i = 0; i < image->header->watch_count; i++) {
    const struct linked_watch *watch = &image->watches[i];
    const char *path = text_at(image, watch->path);
    int good = watch->kind == LINKED_ABSENT      ? is_absent(path)
               : watch->kind == LINKED_UNCHANGED ? is_unchanged(watch, path)
                                                 : 0;
    if (!good) return verdict(LINKED_BAD_WATCH, i);
  }
  return verdict(LINKED_GOOD, 0);
}
