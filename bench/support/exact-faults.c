/*
 * What exact page faults cost by themselves, without a recorder: an audit object (rtld-audit(7)) that switches the
 * kernel's fault-around off in the mappings of the program, its loader and each library, by the same registration
 * that the recorder makes (src/sys/uffd.ts). Nobody traces, no call is trapped.
 *
 * With WINNOW_AROUND in the environment it is loaded and does nothing: the price of being audited, to be taken off.
 *
 * Limits: dynamic programs only; pages that the loader touches of a library before it tells of it come with neighbours;
 * files that are mapped otherwise keep them. No libc: one would be loaded beside the program's.
 */
#define NULL ((void *)0)
typedef unsigned long ulong;
typedef unsigned int uint;

struct link_map {
  ulong addr;
  char *name;
  void *dynamic;
  struct link_map *next, *previous;
};
struct header {
  unsigned char ident[16];
  unsigned short type, machine;
  uint version;
  ulong entry, phoff, shoff;
  uint flags;
  unsigned short ehsize, phentsize, phnum;
};
struct segment {
  uint type, flags;
  ulong offset, vaddr, paddr, filesz, memsz, align;
};

#define AT_FDCWD (-100)
#define PT_LOAD 1
#define ET_DYN 3
#define O_CLOEXEC 02000000
#define UFFD_USER_MODE_ONLY 1
#define UFFDIO_API 0xc018aa3ful
#define UFFDIO_REGISTER 0xc020aa00ul
#define FEATURES (1ul << 13 | 1ul << 15) /* WP_UNPOPULATED, WP_ASYNC */
#define MODE_WP 2
#define F_DUPFD_CLOEXEC 1030
#define HIGH 900

static int uffd = -1;
static char maps[1 << 16];

static long call(long nr, long a, long b, long c, long d) {
  long result;
  register long r10 __asm__("r10") = d;
  __asm__ volatile("syscall" : "=a"(result) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
  return result;
}

static void exact(ulong start, ulong end) {
  ulong range[4] = {start, end - start, MODE_WP, 0};
  if (uffd >= 0 && start < end) call(16, uffd, (long)UFFDIO_REGISTER, (long)range, 0);
}

static int has_around(void) {
  static char env[1 << 15];
  int fd = (int)call(257, AT_FDCWD, (long)"/proc/self/environ", 0, 0);
  long size = call(0, fd, (long)env, sizeof env - 1, 0);
  call(3, fd, 0, 0, 0);
  static const char name[] = "WINNOW_AROUND=";
  for (long at = 0; at < size; at++) {
    long i = 0;
    while (name[i] && env[at + i] == name[i]) i++;
    if (!name[i]) return 1;
    while (env[at]) at++;
  }
  return 0;
}

static ulong hexadecimal(const char **text) {
  ulong value = 0;
  for (;; (*text)++) {
    char c = **text;
    if (c >= '0' && c <= '9') value = value * 16 + (ulong)(c - '0');
    else if (c >= 'a' && c <= 'f') value = value * 16 + (ulong)(c - 'a' + 10);
    else return value;
  }
}

/* Of the program and its loader, which are mapped already; a file's line has a path. */
static void exact_so_far(void) {
  int fd = (int)call(257, AT_FDCWD, (long)"/proc/self/maps", 0, 0);
  long size = 0, got;
  while ((got = call(0, fd, (long)(maps + size), (long)sizeof maps - 1 - size, 0)) > 0) size += got;
  call(3, fd, 0, 0, 0);
  maps[size] = 0;
  for (const char *at = maps; *at;) {
    ulong start = hexadecimal(&at);
    at++;
    ulong end = hexadecimal(&at);
    int is_file = 0;
    for (; *at && *at != '\n'; at++) is_file |= *at == '/';
    if (is_file) exact(start, end);
    if (*at) at++;
  }
}

__attribute__((visibility("default"))) uint la_version(uint version) {
  if (has_around()) return version;
  ulong api[3] = {0xaa, FEATURES, 0};
  int fd = (int)call(323, O_CLOEXEC | UFFD_USER_MODE_ONLY, 0, 0, 0);
  if (fd < 0 || call(16, fd, (long)UFFDIO_API, (long)api, 0) != 0) return version;
  /* Not where the program expects its own. */
  uffd = (int)call(72, fd, F_DUPFD_CLOEXEC, HIGH, 0);
  call(3, fd, 0, 0, 0);
  exact_so_far();
  return version;
}

__attribute__((visibility("default"))) uint la_objopen(struct link_map *map, long space, ulong *cookie) {
  (void)space;
  (void)cookie;
  const struct header *header = (const struct header *)map->addr;
  if (uffd < 0 || map->addr == 0 || header->type != ET_DYN || header->ident[1] != 'E') return 0;
  const struct segment *segments = (const struct segment *)(map->addr + header->phoff);
  ulong end = 0;
  for (int i = 0; i < header->phnum; i++) {
    if (segments[i].type == PT_LOAD) end = segments[i].vaddr + segments[i].filesz;
  }
  exact(map->addr, map->addr + ((end + 4095) & ~4095ul));
  return 0;
}
