/*
 * target.c: which dynamic loader will a path run that is to be executed?
 *
 * Example: `./tool`, a script that begins with `#!/usr/bin/env python3`, runs /usr/bin/env, an ELF file whose
 * PT_INTERP is /lib64/ld-linux-x86-64.so.2: glibc's loader.
 *
 * Method: what the kernel does: the first bytes say `#!` or ELF. A script leads to its interpreter, at most as
 * many times as the kernel follows. In an ELF file the end of the path in PT_INTERP is compared.
 *
 * Limits: a file that may be executed but not read, one that binfmt_misc knows, and a set-uid one count as
 * no.
 */
#include "target.h"

#include "elf.h"
#include "sys.h"

#define START_SIZE 1024
#define SCRIPT_LINE 256 /* BINPRM_BUF_SIZE of the kernel */
#define SCRIPT_DEPTH 5
#define LOADER "/ld-linux-x86-64.so.2"

/* Reads all `size` bytes at `offset`, from the file's start where that holds them. */
static int read_at(int fd, const u8 *start, u64 have, u64 offset, void *into, u64 size) {
  u8 *out = into;
  if (offset + size < offset) return 0;
  if (offset + size > have) return sys_pread(fd, into, size, (long)offset) == (long)size;
  for (u64 i = 0; i < size; i++) out[i] = start[offset + i];
  return 1;
}

static int loader_is_ours(int fd, const u8 *start, u64 have) {
  const struct elf_header *elf = (const struct elf_header *)start;
  if (have < sizeof *elf || !elf_is_ours(elf) || elf->phnum > 512) return 0;
  for (u64 i = 0; i < elf->phnum; i++) {
    struct elf_segment segment;
    if (!read_at(fd, start, have, elf->phoff + i * sizeof segment, &segment, sizeof segment)) return 0;
    if (segment.type != PT_INTERP) continue;
    char end[sizeof LOADER];
    static const char loader[] = LOADER;
    if (segment.filesz < sizeof end) return 0;
    if (!read_at(fd, start, have, segment.offset + segment.filesz - sizeof end, end, sizeof end)) return 0;
    for (unsigned at = 0; at < sizeof end; at++)
      if (end[at] != loader[at]) return 0;
    return 1;
  }
  return 0;
}

/* The interpreter of a script, cut out of its first line in place; NULL where it is none. */
static const char *interpreter_of(u8 *start, u64 have) {
  if (have < 2 || start[0] != '#' || start[1] != '!') return NULL;
  u64 end = have < SCRIPT_LINE ? have : SCRIPT_LINE;
  u64 at = 2;
  while (at < end && (start[at] == ' ' || start[at] == '\t')) at++;
  u64 from = at;
  while (at < end && start[at] != ' ' && start[at] != '\t' && start[at] != '\n' && start[at] != 0) at++;
  /* As long as that it was cut off, by the kernel too. */
  if (at == from || at >= SCRIPT_LINE || at >= START_SIZE) return NULL;
  start[at] = 0;
  return (const char *)start + from;
}

int target_takes_audit(const char *path, struct sys_stat *file) {
  u8 start[START_SIZE + 1] __attribute__((aligned(8)));
  for (int depth = 0; depth <= SCRIPT_DEPTH; depth++) {
    /* Before open: opening a pipe or a device has effects. */
    if (sys_fstatat(AT_FDCWD, path, file, 0) < 0 || (file->mode & S_IFMT) != S_IFREG || file->mode & 06000) return 0;
    int fd = (int)sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return 0;
    long have = sys_read(fd, start, START_SIZE);
    int answer = have > 0 && loader_is_ours(fd, start, (u64)have);
    sys_close(fd);
    if (answer || have <= 0) return answer;
    path = interpreter_of(start, (u64)have);
    if (path == NULL) return 0;
  }
  return 0;
}
