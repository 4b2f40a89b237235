/*
 * audit-storage.c: whether an auditor leaves the program's libraries as much static thread-local storage as a plain start.
 *
 * Problem: under an auditor glibc lays static storage out before it knows the libraries, so theirs comes out of a reserve,
 * which is there for libraries that are opened later. An auditor makes the reserve larger by what two C libraries would need of
 * it. With more, a library that is opened later might find no room; with much more, the program does not start.
 *
 * Example: libc 144 bytes, libgomp 136: good. libjemalloc, 2,632: "cannot allocate memory in static TLS block".
 *
 * Method: a library says of itself that its storage must be static (DF_STATIC_TLS), and how much it is in PT_TLS, which
 * is read from its file: where a copy has its program headers in memory, only the loader knows.
 *
 * Limits: libraries that do not say so, but are reached at a fixed distance by others, are not counted.
 */
#include "audit.h"
#include "elf.h"

#define AUDITOR_ADDS (160u + 144u) /* _dl_tls_static_surplus_init */
#define DT_NULL 0
#define DT_FLAGS 30
#define DF_STATIC_TLS 0x10u
#define SEGMENTS_MAX 512
#define SEGMENTS_AT_ONCE 16u

static u64 taken;

static int is_static(const struct link_map *map) {
  for (const unsigned long *tag = map->dynamic; tag != NULL && tag[0] != DT_NULL; tag += 2)
    if (tag[0] == DT_FLAGS) return (tag[1] & DF_STATIC_TLS) != 0;
  return 0;
}

static void take_segment(int fd, const struct elf_header *elf) {
  struct elf_segment segments[SEGMENTS_AT_ONCE];
  for (u64 first = 0; first < elf->phnum && first < SEGMENTS_MAX; first += SEGMENTS_AT_ONCE) {
    u64 count = elf->phnum - first < SEGMENTS_AT_ONCE ? elf->phnum - first : SEGMENTS_AT_ONCE;
    long size = (long)(count * sizeof segments[0]);
    if (sys_pread(fd, segments, (unsigned long)size, (long)(elf->phoff + first * sizeof segments[0])) != size) return;
    for (u64 i = 0; i < count; i++) {
      if (segments[i].type != PT_TLS) continue;
      u64 align = segments[i].align > 0 ? segments[i].align : 1;
      taken = (taken + segments[i].memsz + align - 1) / align * align;
    }
  }
}

int audit_storage_meet(const struct link_map *map) {
  if (map->name[0] == 0 || !is_static(map)) return 1;
  int fd = (int)sys_openat(AT_FDCWD, map->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return 1;
  struct elf_header elf;
  if (sys_pread(fd, &elf, sizeof elf, 0) == (long)sizeof elf && elf_is_ours(&elf)) take_segment(fd, &elf);
  sys_close(fd);
  return taken <= AUDITOR_ADDS;
}
