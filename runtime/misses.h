/*
 * misses.h: NAME.misses and plan.misses, in which starts from an image note what they had to do without.
 *
 * Problem. A program that falls back says nothing, so nobody learns that an image no longer helps. Whoever starts it must not
 * notice that it is counted: no process, no lock, no file where none was, nothing that can end by a signal.
 *
 * Example. A library was updated: each start of the program adds eight bytes to share-00-git.misses, cause and number of the file.
 *
 * Method. `winnow build` makes the file, empty. A miss is one write at its end, which those of other processes do not mix with. Only the
 * owner of the image writes: a system-wide image does not count its users' misses. Nothing is written where the limit of file
 * sizes would raise SIGXFSZ, nor by shared memory, where a full disk would raise SIGBUS.
 *
 * Limits. When the file is full nobody adds to it any more, so it tells of at least so many. On a file system that is frozen
 * the write waits, as all of its user's do.
 *
 * The TypeScript side is src/base/misses.ts; a test compares both.
 */
#ifndef WINNOW_MISSES_H
#define WINNOW_MISSES_H

#include "sys.h"

#define MISSES_MAX 65536u /* bytes */

struct miss {
  u32 what;  /* NAME.misses: LINKED_BAD_…; plan.misses: PLAN_MISS_… */
  u32 index; /* of what it is about, in the tables of the image or the plan */
};

static inline void misses_add(const char *path, u32 user, u32 what, u32 index) {
  int fd = (int)sys_openat(AT_FDCWD, path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return;
  struct sys_stat stat;
  struct sys_rlimit limit;
  struct miss miss = {what, index};
  int good = sys_fstat(fd, &stat) >= 0 && (stat.mode & S_IFMT) == S_IFREG && !(stat.mode & 022) && stat.uid == user &&
             stat.size >= 0 && (u64)stat.size <= MISSES_MAX - sizeof miss && stat.size % sizeof miss == 0;
  /* As far as another one's writes let the file grow, too. */
  if (good && sys_getrlimit(RLIMIT_FSIZE, &limit) >= 0 && limit.soft >= 2 * MISSES_MAX) sys_write(fd, &miss, sizeof miss);
  sys_close(fd);
}

#endif
