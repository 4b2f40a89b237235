/*
 * audit.c: audit.so, which lets glibc's dynamic loader open the image's modules in place of the originals.
 *
 * Problem: without the right to mount, only the loader itself can be told to open other files; and the
 * program must not see that it was told.
 *
 * Example: the program needs libfoo.so.1. The loader tries /usr/lib/libfoo.so.1, a link to libfoo.so.1.2, and asks
 * here first. stat leads to libfoo.so.1.2, whose inode, size and time stand in modules.bin: the answer is
 * images/.git@0123456789ab/libfoo.so.1.2. The loader opens that and calls it what it was asked for.
 *
 * Method: LD_AUDIT (rtld-audit(7)), with an object that has no libc and no dependencies: nothing is loaded with
 * it, and it takes effect when libraries are searched, never when functions are called (glibc from 2.35 on; with
 * an older one it withdraws). Before the program begins, the variable is taken out of the environment. audit-exec.c
 * puts it into that of children.
 *
 * A searched name is asked for path by path, and keeps its own. A name with a slash is asked for once
 * (LA_SER_ORIG), and the answer becomes the module's name: audit-names.c puts it back.
 *
 * A program whose libraries need much static thread-local storage would not start beside any auditor (audit-storage.c): it is executed
 * once more, plainly, before anything of it runs.
 *
 * While the program runs, only those system calls are made that the loader itself makes to open a library: a
 * program that has filtered its calls must not die of one more.
 *
 * Limits: the program and the loader themselves stay the originals; /proc/PID/maps has the image's paths,
 * /proc/PID/environ ends with zero bytes.
 */
#include "audit.h"

#include "modules.h"
#include "text.h"

#ifdef WINNOW_DEMAND
#include "demand.h"
#endif

#define LAV_NEEDED 2 /* LAV_CURRENT of glibc 2.35 */
#define LA_SER_ORIG 1
#define LM_ID_BASE 0
#define EXPORTED __attribute__((visibility("default")))

static struct modules_table table;
#ifdef WINNOW_DEMAND
static const struct modules_header nothing;
#endif
static struct audit_process process;
static int has_begun; /* the program: what it opens from now on takes of the reserve, as ever */

/* Any program may open the image's modules. */
int audit_wants(const struct sys_stat *program, char *const *envp) {
  (void)program, (void)envp;
  return 1;
}

static int open_table(void) {
  const char *path = audit_beside("modules.bin", 0);
  if (path == NULL) return 0;
  int fd = (int)sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return 0;
  struct sys_stat stat;
  int good = sys_fstatat(fd, "", &stat, AT_EMPTY_PATH) >= 0 && only_owner_writes(&stat, process.user) && stat.size > 0 &&
             stat.size <= MODULES_SIZE_MAX;
  if (good) {
    long at = (long)sys_mmap(NULL, (unsigned long)stat.size, PROT_READ, MAP_PRIVATE, fd, 0);
    good = !(at < 0 && at > -4096) && modules_open(&table, (const void *)at, (u64)stat.size);
  }
  sys_close(fd);
  return good;
}

/* Whether this process can open the copy, and nobody else could have written it. */
static int is_good_copy(const char *path, const struct modules_entry *entry) {
  int fd = (int)sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return 0;
  struct sys_stat stat;
  int good = sys_fstatat(fd, "", &stat, AT_EMPTY_PATH) >= 0 && module_is_replacement(entry, &stat, process.user);
  sys_close(fd);
  return good;
}

/* 0: the auditor withdraws, and the loader goes on as if there were none. */
EXPORTED unsigned la_version(unsigned version) {
  if (!audit_begin(&process, __builtin_frame_address(0))) return 0;
  if (version < LAV_NEEDED || !open_table()) return 0;
#ifdef WINNOW_DEMAND
  demand_start(process.folder, process.user);
#endif
  return LAV_NEEDED;
}

EXPORTED char *la_objsearch(const char *name, unsigned long *cookie, unsigned flag) {
  (void)cookie;
  struct sys_stat stat;
  int by_path = flag == LA_SER_ORIG;
  audit_names_expect(name, NULL);
#ifdef WINNOW_DEMAND
  demand_expect_nothing();
#endif
  /* A bare name: its paths follow. */
  if (by_path && !audit_contains(name, '/')) return (char *)name;
  if (sys_fstatat(AT_FDCWD, name, &stat, 0) < 0) return (char *)name;
  const struct modules_entry *entry = modules_find(&table, &stat);
  if (entry == NULL || (entry->flags & MODULE_ROLE) != MODULE_LIBRARY) return (char *)name;
  if (by_path && entry->flags & MODULE_USES_ORIGIN && !audit_names_know_origin()) return (char *)name;
  const char *path = audit_beside(modules_text(&table, entry->replacement), by_path ? audit_names_room(name) : 0);
  if (path == NULL || !is_good_copy(path, entry)) return (char *)name;
  /* A name with a slash is expanded after us. */
  if (by_path && audit_contains(path, '$')) return (char *)name;
#ifdef WINNOW_DEMAND
  if (!demand_expect(&table, entry)) return (char *)name;
#endif
  if (by_path) audit_names_expect(name, path);
  return (char *)path;
}

/* Denied code is to stay denied: there the loader says that it has no room. */
static int may_start_plainly(void) { return table.header->cold != MODULES_COLD_DENY; }

EXPORTED unsigned la_objopen(struct link_map *map, long namespace, unsigned long *cookie) {
  (void)cookie;
  audit_names_meet(map);
  if (!has_begun && namespace == LM_ID_BASE && may_start_plainly() && !audit_storage_meet(map))
    audit_execute_plainly(&process);
#ifdef WINNOW_DEMAND
  demand_meet(map, &table);
#endif
  if (audit_is_libc(map)) {
#ifdef WINNOW_DEMAND
    /* A C library of another make: its signals cannot be kept apart, so no more modules are shown. */
    if (!signals_meet(map)) table.header = &nothing;
#endif
    if (namespace == LM_ID_BASE) audit_exec_meet(map);
  }
  /* No interest in bindings. */
  return 0;
}

EXPORTED void la_preinit(unsigned long *cookie) {
  (void)cookie;
  has_begun = 1;
}

#ifdef WINNOW_DEMAND
EXPORTED unsigned la_objclose(unsigned long *cookie) {
  /* The loader's own value: the module. */
  demand_forget((const struct link_map *)*cookie);
  return 0;
}
#endif
