/*
 * restore-plain.c: maps the dynamic loader that the program names, as the kernel would have done it.
 *
 * In the copy of a program that stands in an image PT_INTERP names restore; only its place and size in the file were
 * changed, so in memory, at its p_vaddr, the loader's name still stands.
 */
#include "restore.h"
#include "text.h"

#define LOADER_SEGMENTS 64

static u64 page_down(u64 at) { return at & ~(u64)(PLAN_PAGE - 1); }
static u64 page_up(u64 at) { return page_down(at + PLAN_PAGE - 1); }

static void say(const char *text) { sys_write(2, text, length_of(text)); }

static _Noreturn void fail(const char *loader) {
  say("winnow: E_NO_LOADER: the program's dynamic loader cannot be mapped\n  where: ");
  say(loader);
  say("\n  next:  start the program itself, and build its image again: winnow build\n");
  sys_exit(127);
}

/* struct prctl_mm_map */
struct mm_map {
  u64 start_code, end_code;
  u64 start_data, end_data;
  u64 start_brk, brk;
  u64 start_stack;
  u64 arg_start, arg_end;
  u64 env_start, env_end;
  u64 *auxv;
  u32 auxv_size;
  u32 exe_fd;
};

/* As load_elf_binary of the kernel counts them. */
static void find_code_and_data(struct mm_map *map, u64 bias, const struct elf_segment *segments, u64 count) {
  map->start_code = ~0ull;
  for (u64 i = 0; i < count; i++) {
    const struct elf_segment *segment = &segments[i];
    if (segment->type != PT_LOAD) continue;
    u64 from = bias + segment->vaddr, to = from + segment->filesz;
    if ((segment->flags & PF_X) && from < map->start_code) map->start_code = from;
    if ((segment->flags & PF_X) && to > map->end_code) map->end_code = to;
    if (from > map->start_data) map->start_data = from;
    if (to > map->end_data) map->end_data = to;
  }
}

static u64 end_of(const char *text) { return (u64)text + length_of(text) + 1; }

void tell_kernel(const struct start *start, u64 bias, const struct elf_segment *segments, u64 count) {
  if (start->is_filtered) return;
  struct mm_map map = {0};
  find_code_and_data(&map, bias, segments, count);
  /* Nothing has asked for memory yet: both are the same. */
  map.start_brk = map.brk = (u64)sys_brk(0);
  map.start_stack = (u64)start->stack;
  /* The strings follow each other in this order. */
  map.arg_start = (u64)start->argv[0];
  map.arg_end = start->argc > 0 ? end_of(start->argv[start->argc - 1]) : map.arg_start;
  map.env_start = map.env_end = map.arg_end;
  for (char **at = start->envp; *at != NULL; at++) map.env_end = (u64)*at;
  if (start->envp[0] != NULL) map.env_end = end_of((const char *)map.env_end);
  map.auxv = start->auxv;
  map.auxv_size = (u32)start->auxv_size;
  map.exe_fd = ~0u;
  sys_prctl(PR_SET_MM, PR_SET_MM_MAP, (unsigned long)&map, sizeof map, 0);
}

/* What the program's addresses are to be added to. */
static u64 find_bias(const struct elf_segment *segments, u64 count) {
  for (u64 i = 0; i < count; i++)
    if (segments[i].type == PT_PHDR) return (u64)segments - segments[i].vaddr;
  /* Without PT_PHDR the loader too takes it to be 0. */
  return 0;
}

static const char *find_loader(u64 bias, const struct elf_segment *segments, u64 count) {
  for (u64 i = 0; i < count; i++)
    if (segments[i].type == PT_INTERP) return (const char *)(bias + segments[i].vaddr);
  fail("");
}

struct loader {
  int fd;
  struct elf_header header;
  struct elf_segment segments[LOADER_SEGMENTS];
};

static int read_loader(struct loader *loader, const char *path) {
  loader->fd = (int)sys_open(path, O_RDONLY | O_CLOEXEC);
  if (loader->fd < 0) return 0;
  struct elf_header *header = &loader->header;
  if (sys_pread(loader->fd, header, sizeof *header, 0) != sizeof *header) return 0;
  if (!elf_is_ours(header) || header->type != ET_DYN || header->phnum > LOADER_SEGMENTS) return 0;
  long size = (long)(header->phnum * sizeof *loader->segments);
  return sys_pread(loader->fd, loader->segments, (unsigned long)size, (long)header->phoff) == size;
}

/* Room for all segments, aligned as the most demanding one wants. The bias of the loader there, or an error. */
static long find_room(const struct loader *loader) {
  u64 low = ~0ull, high = 0, align = PLAN_PAGE;
  for (u64 i = 0; i < loader->header.phnum; i++) {
    const struct elf_segment *segment = &loader->segments[i];
    if (segment->type != PT_LOAD) continue;
    if (segment->vaddr < low) low = segment->vaddr;
    if (segment->vaddr + segment->memsz > high) high = segment->vaddr + segment->memsz;
    if (segment->align > align && !(segment->align & (segment->align - 1))) align = segment->align;
  }
  if (high <= low) return -ENOEXEC;
  low = low & ~(align - 1);
  u64 size = page_up(high - low) + align - PLAN_PAGE;
  long at = sys_mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (failed(at)) return at;
  sys_munmap((void *)at, size);
  return (long)((((u64)at + align - 1) & ~(align - 1)) - low);
}

static int map_segment(const struct loader *loader, u64 bias, const struct elf_segment *segment) {
  int protection = elf_protection(segment->flags);
  u64 from = page_down(bias + segment->vaddr);
  u64 file_end = bias + segment->vaddr + segment->filesz, end = bias + segment->vaddr + segment->memsz;
  u64 offset = page_down(segment->offset);
  if (segment->filesz > 0 &&
      failed(sys_mmap((void *)from, page_up(file_end) - from, protection, MAP_PRIVATE | MAP_FIXED, loader->fd, (long)offset)))
    return 0;
  if (end <= file_end) return 1;
  u64 zeros = segment->filesz > 0 ? page_up(file_end) : from;
  /* To the end of the page: glibc's loader allocates its first memory behind its .bss and takes it to be zero. */
  if (segment->filesz > 0 && (segment->flags & PF_W))
    for (u64 at = file_end; at < zeros; at++) *(u8 *)at = 0;
  return page_up(end) <= zeros || !failed(sys_mmap((void *)zeros, page_up(end) - zeros, protection,
                                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
}

struct jump map_plain_loader(struct start *start) {
  const struct elf_segment *segments = (const struct elf_segment *)aux(start, AT_PHDR);
  u64 count = aux(start, AT_PHNUM);
  u64 bias = find_bias(segments, count);
  const char *path = find_loader(bias, segments, count);
  struct loader loader;
  if (!read_loader(&loader, path)) fail(path);
  long room = find_room(&loader);
  if (failed(room)) fail(path);
  for (u64 i = 0; i < loader.header.phnum; i++)
    if (loader.segments[i].type == PT_LOAD && !map_segment(&loader, (u64)room, &loader.segments[i])) fail(path);
  sys_close(loader.fd);
  if (start->values[AT_BASE] != NULL) *start->values[AT_BASE] = (u64)room;
  tell_kernel(start, bias, segments, count);
  return (struct jump){0, (u64)room + loader.header.entry};
}
