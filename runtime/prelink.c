/*
 * prelink.c: prelink.so, the audit object of images whose programs' libraries are prelinked (src/share/prelink).
 *
 * Problem: a prelinked copy is right in one program, at one address, beside the modules that it was linked with. It must
 * be seen that all this holds before anything of it runs, and children with other modules must not meet it.
 *
 * Example: inkscape. Its loader is about to open /lib/x86_64-linux-gnu/libgtk-3.so.0, the 17th module, as it was when
 * the image was built; the answer is the copy prelink-00-017. It is mapped, and the loader tells where: as planned, or the
 * program is executed once more, without this object.
 *
 * Method: when the process begins, before any library is mapped (la_version): which program is it, is there no
 * variable that speaks to the loader, are all modules and copies the files that they were, is the area of the copies free?
 * If not, nothing is shown. Then the loader asks for each path (la_objsearch) and tells of each module (la_objopen), all
 * before it relocates the first one: its modules are the planned ones in the planned order at the planned addresses, so
 * that each reference is bound as it was. At the first difference the program is executed anew, plainly: nothing of it
 * has run. Each copy then gets the original's device and inode in the loader's books, so that whoever opens the
 * original by another path gets the module that is loaded, and in a namespace of its own (dlmopen) the original.
 *
 * When the last module is there nothing is shown any more. Children that are programs of the image get LD_AUDIT as audit-exec.c
 * tells, and decide anew. All others run as if there were no image: under an auditor, glibc reserves the thread-local
 * storage before it knows the libraries, and a program with much of it (jemalloc) does not start. The build knows.
 *
 * Limits: as audit.c's; children of programs that are none of the image's are not reached; modules lie at the same addresses in all processes, and their link_map.l_addr is 0, as it is with
 * every prelinked library.
 */
#include "prelink.h"

#include "audit.h"
#include "misses.h"
#include "modules.h"
#include "text.h"

#define LAV_NEEDED 2 /* LAV_CURRENT of glibc 2.35 */
#define LA_SER_ORIG 1
#define LM_ID_BASE 0
#define EXPORTED __attribute__((visibility("default")))

#define FIRST_WORD 5u  /* behind the public part of struct link_map */
#define LAST_WORD 144u /* the struct is longer, in every version since 2.35 */

struct file_id {
  u64 device, inode;
};

static struct audit_process process;
static struct prelink_table table;
static const struct prelink_program *program;        /* NULL: nothing is shown (any more) */
static const struct prelink_module *modules;         /* the program's */
static struct file_id originals[PRELINK_MODULES_MAX]; /* of modules that have copies */
static struct file_id copies[PRELINK_MODULES_MAX];
static u32 next;     /* the module that comes now */
static u32 answered; /* copies that the loader was told of */

int audit_wants(const struct sys_stat *file, char *const *envp) {
  return !prelink_is_spoken_to(envp) && prelink_find(&table, file) != NULL;
}

static int open_table(void) {
  const char *path = audit_beside("prelink.bin", 0);
  if (path == NULL) return 0;
  int fd = (int)sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return 0;
  struct sys_stat stat;
  int good = sys_fstatat(fd, "", &stat, AT_EMPTY_PATH) >= 0 && only_owner_writes(&stat, process.user) && stat.size > 0 &&
             stat.size <= PRELINK_SIZE_MAX;
  if (good) {
    long at = (long)sys_mmap(NULL, (unsigned long)stat.size, PROT_READ, MAP_PRIVATE, fd, 0);
    good = !(at < 0 && at > -4096) && prelink_open(&table, (const void *)at, (u64)stat.size);
  }
  sys_close(fd);
  return good;
}

/* Whether this process can open the copy, and nobody else could have written it. */
static int is_good_copy(const struct prelink_module *module, struct file_id *id) {
  const char *path = audit_beside(prelink_text(&table, module->copy), 0);
  int fd = path == NULL ? -1 : (int)sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return 0;
  struct sys_stat stat;
  int good = sys_fstatat(fd, "", &stat, AT_EMPTY_PATH) >= 0 && only_owner_writes(&stat, process.user) &&
             (u64)stat.size == module->copy_size;
  sys_close(fd);
  *id = (struct file_id){stat.dev, stat.ino};
  return good;
}

static void note(u32 what, u32 index) {
  const char *path = audit_beside(PRELINK_MISSES, 0);
  if (path != NULL) misses_add(path, process.user, what, index);
}

static u32 module_index(const struct prelink_module *module) { return (u32)(module - table.modules); }

static int miss_module(u32 what, const struct prelink_module *module) {
  note(what, module_index(module));
  return 0;
}

static int files_are_the_same(const struct prelink_program *one) {
  struct sys_stat stat;
  for (u32 i = 0; i < one->module_count; i++) {
    const struct prelink_module *module = &modules[i];
    if (sys_fstatat(AT_FDCWD, prelink_text(&table, module->path), &stat, 0) < 0 ||
        !prelink_is_file(module->size, module->mtime_sec, module->mtime_nsec, module->inode, &stat))
      return miss_module(PRELINK_MISS_FILE, module);
    originals[i] = (struct file_id){stat.dev, stat.ino};
    if (module->dynamic != 0 && !is_good_copy(module, &copies[i])) return miss_module(PRELINK_MISS_COPY, module);
  }
  return 1;
}

/* Nothing lies there, and nothing else comes: the kernel chooses far away from it. */
static int area_is_free(const struct prelink_program *one) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
  long at = (long)sys_mmap((void *)one->area, one->area_size, PROT_NONE, flags, -1, 0);
  if (at < 0 && at > -4096) return 0;
  sys_munmap((void *)at, one->area_size);
  return (u64)at == one->area;
}

static void choose_program(void) {
  struct sys_stat stat;
  if (sys_fstatat(AT_FDCWD, AUDIT_SELF, &stat, 0) < 0) return;
  const struct prelink_program *one = prelink_find(&table, &stat);
  if (one == NULL) return;
  u32 index = (u32)(one - table.programs);
  modules = table.modules + one->module_first;
  if (prelink_is_spoken_to(process.envp)) return note(PRELINK_MISS_ENVIRONMENT, index);
  if (!files_are_the_same(one)) return;
  if (!area_is_free(one)) return note(PRELINK_MISS_AREA, index);
  program = one;
}

static _Noreturn void fail(void) {
  static const char text[] =
      "winnow: E_PRELINK_PLACE: a prelinked library is not where it belongs, and the program cannot be executed anew\n"
      "  next:  start it plainly: winnow run --show plain, or build the image anew\n";
  sys_write(2, text, sizeof text - 1);
  sys_exit(127);
}

/* Whatever was mapped goes. */
static _Noreturn void execute_plainly(void) {
  audit_execute_plainly(&process);
  fail();
}

static void give_up(void) {
  note(PRELINK_MISS_MODULE, module_index(&modules[next]));
  if (answered > 0) execute_plainly();
  program = NULL;
}

/* The loader knows a module's file by device and inode, at one place of its own part of struct link_map. */
static int becomes_original(struct link_map *map, const struct file_id *copy, const struct file_id *original) {
  u64 *words = (u64 *)map, *found = NULL;
  for (unsigned i = FIRST_WORD; i + 1 < LAST_WORD; i++) {
    if (words[i] != copy->device || words[i + 1] != copy->inode) continue;
    if (found != NULL) return 0;
    found = &words[i];
  }
  if (found == NULL) return 0;
  found[0] = original->device;
  found[1] = original->inode;
  return 1;
}

/* 0: the auditor withdraws, and the loader goes on as if there were none. */
EXPORTED unsigned la_version(unsigned version) {
  if (!audit_begin(&process, __builtin_frame_address(0))) return 0;
  if (version < LAV_NEEDED || !open_table()) return 0;
  choose_program();
  return LAV_NEEDED;
}

EXPORTED char *la_objsearch(const char *name, unsigned long *cookie, unsigned flag) {
  (void)cookie;
  struct sys_stat stat;
  /* A bare name: its paths follow. No program with another one gets copies. */
  if (program == NULL || flag == LA_SER_ORIG) return (char *)name;
  const struct prelink_module *module = &modules[next];
  if (same(name, prelink_text(&table, module->path))) {
    if (module->dynamic == 0) return (char *)name;
    answered++;
    return (char *)audit_beside(prelink_text(&table, module->copy), 0);
  }
  /* What is there in front of the planned file would be taken. */
  if (sys_fstatat(AT_FDCWD, name, &stat, 0) >= 0) give_up();
  return (char *)name;
}

static void meet(struct link_map *map) {
  /* The program, the loader and the vDSO are met without having been looked for. */
  if (map->name[0] == 0) return;
  if (map->base != 0 && (map->base == audit_auxiliary(&process, AT_BASE) ||
                         map->base == audit_auxiliary(&process, AT_SYSINFO_EHDR)))
    return;
  const struct prelink_module *module = &modules[next];
  if (!same(map->name, prelink_text(&table, module->path))) return give_up();
  if (module->dynamic != 0) {
    if (map->base != 0 || (u64)map->dynamic != module->dynamic) return give_up();
    if (!becomes_original(map, &copies[next], &originals[next])) return give_up();
  }
  if (++next == program->module_count) program = NULL;
}

EXPORTED unsigned la_objopen(struct link_map *map, long namespace, unsigned long *cookie) {
  (void)cookie;
  if (namespace != LM_ID_BASE) return 0;
  if (program != NULL) meet(map);
  if (audit_is_libc(map)) audit_exec_meet(map);
  /* No interest in bindings. */
  return 0;
}

/* All modules are there and relocated: those that were answered must be those that came. */
EXPORTED void la_activity(unsigned long *cookie, unsigned flag) {
  (void)cookie;
  if (flag == 0 && program != NULL) give_up();
}
