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

#define STACK_WORDS (1u << 17) /* of what ld.so may have put there before it asks */
#define AUXV_TYPES 1024
#define AUXV_PAIRS 64
#define VARIABLE "LD_AUDIT="

static struct modules_table table;
#ifdef WINNOW_DEMAND
static const struct modules_header nothing;
#endif
static char folder[AUDIT_PATH_SIZE]; /* with a slash at its end */
static unsigned long folder_length;
static char answer[AUDIT_PATH_SIZE];
static u32 user = ~0u; /* effective, when the program began */

static int contains(const char *text, char wanted) {
  while (*text && *text != wanted) text++;
  return *text == wanted;
}

static void copy(char *to, const char *from) {
  while ((*to++ = *from++)) {
  }
}

/* Whether the auxiliary vector begins here: pairs with types that every one has. */
static int is_auxv(const u64 *at) {
  u64 seen = 0;
  for (unsigned pair = 0; pair < AUXV_PAIRS && at[0] != AT_NULL; pair++, at += 2) {
    if (at[0] >= AUXV_TYPES) return 0;
    if (at[0] == AT_PAGESZ && at[1] != PLAN_PAGE) return 0;
    if (at[0] < 64) seen |= 1ull << at[0];
  }
  u64 needed = 1ull << AT_PHDR | 1ull << AT_PAGESZ | 1ull << AT_ENTRY | 1ull << AT_EXECFN | 1ull << AT_RANDOM;
  return at[0] == AT_NULL && (seen & needed) == needed;
}

/*
 * The environment as the kernel put it on the stack: above the frames of ld.so lie argc, argv, 0, envp, 0,
 * auxv. The C library takes it from there after us. Notes the user, too, who stands in auxv.
 */
static char **find_environment(const u64 *stack) {
  for (unsigned i = 1; i < STACK_WORDS; i++) {
    if (stack[i - 1] != 0 || !is_auxv(stack + i)) continue;
    for (const u64 *pair = stack + i; pair[0] != AT_NULL; pair += 2)
      if (pair[0] == AT_EUID) user = (u32)pair[1];
    const u64 *at = stack + i - 1;
    while (at[-1] != 0) at--;
    return (char **)at;
  }
  return NULL;
}

/* Takes our variable out of the environment, and notes what it said; 0 where it is not there. */
static int take_variable(char **envp) {
  char **ours = NULL;
  for (char **one = envp; *one; one++) {
    const char *name = VARIABLE, *at = *one;
    while (*name && *name == *at) name++, at++;
    if (*name == 0) ours = one;
  }
  if (ours == NULL) return 0;
  char *text = *ours;
  unsigned long length = length_of(text);
  if (!audit_exec_keep(text)) return 0;
  const char *path = text + sizeof VARIABLE - 1;
  for (unsigned long i = 0; path[i]; i++) {
    folder[i] = path[i];
    if (path[i] == '/') folder_length = i + 1;
  }
  folder[folder_length] = 0;
  for (unsigned long i = 0; i < length; i++) text[i] = 0;
  do ours[0] = ours[1];
  while (*ours++);
  return 1;
}

/* The path of a file in the image's folder, at least as long as `least`; NULL where that is too long. */
static const char *beside(const char *name, unsigned long least) {
  unsigned long length = folder_length + length_of(name);
  unsigned long more = length < least ? least - length : 0;
  if (contains(name, '/') || length + more >= AUDIT_PATH_SIZE) return NULL;
  copy(answer, folder);
  for (unsigned long i = 0; i < more; i++) answer[folder_length + i] = '/';
  copy(answer + folder_length + more, name);
  return answer;
}

static int open_table(void) {
  const char *path = beside("modules.bin", 0);
  if (path == NULL) return 0;
  int fd = (int)sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return 0;
  struct sys_stat stat;
  int good = sys_fstatat(fd, "", &stat, AT_EMPTY_PATH) >= 0 && only_owner_writes(&stat, user) && stat.size > 0 &&
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
  int good = sys_fstatat(fd, "", &stat, AT_EMPTY_PATH) >= 0 && module_is_replacement(entry, &stat, user);
  sys_close(fd);
  return good;
}

/* 0: the auditor withdraws, and the loader goes on as if there were none. */
EXPORTED unsigned la_version(unsigned version) {
  char **envp = find_environment(__builtin_frame_address(0));
  if (envp == NULL || !take_variable(envp)) return 0;
  if (version < LAV_NEEDED || !open_table()) return 0;
#ifdef WINNOW_DEMAND
  demand_start(folder, user);
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
  if (by_path && !contains(name, '/')) return (char *)name;
  if (sys_fstatat(AT_FDCWD, name, &stat, 0) < 0) return (char *)name;
  const struct modules_entry *entry = modules_find(&table, &stat);
  if (entry == NULL || (entry->flags & MODULE_ROLE) != MODULE_LIBRARY) return (char *)name;
  if (by_path && entry->flags & MODULE_USES_ORIGIN && !audit_names_know_origin()) return (char *)name;
  const char *path = beside(modules_text(&table, entry->replacement), by_path ? audit_names_room(name) : 0);
  if (path == NULL || !is_good_copy(path, entry)) return (char *)name;
  /* A name with a slash is expanded after us. */
  if (by_path && contains(path, '$')) return (char *)name;
#ifdef WINNOW_DEMAND
  if (!demand_expect(&table, entry)) return (char *)name;
#endif
  if (by_path) audit_names_expect(name, path);
  return (char *)path;
}

EXPORTED unsigned la_objopen(struct link_map *map, long namespace, unsigned long *cookie) {
  (void)cookie;
  audit_names_meet(map);
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

#ifdef WINNOW_DEMAND
EXPORTED unsigned la_objclose(unsigned long *cookie) {
  /* The loader's own value: the module. */
  demand_forget((const struct link_map *)*cookie);
  return 0;
}
#endif
