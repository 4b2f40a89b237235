/*
 * inside.c: inside.so, the recorder's part inside the program: an audit object (rtld-audit(7)).
 *
 * Problem: a recorder that is another process makes a program wait for each look-up that it wants to know of: half its
 * time again and more. Example: `gcc hello.c` looks up 700 paths; 700 words to another process are 6 ms of its 32, 700 entries in a
 * file that both have mapped are none.
 *
 * Method: the loader loads this object before the program's libraries. It changes the places where the loader's and libc's
 * system calls return (inside-sites.c), writes to the log (inside-log.c), follows reads (inside-reads.c) and makes
 * present bits exact (inside-pages.c). Exec and exit stay the watcher's, which looks at the pages. Children get the object
 * by audit-exec.c; a program whose libraries need much static thread-local storage is executed anew without (audit-storage.c).
 *
 * Same behaviour: no descriptor stays open, the variable is taken out of the environment, arguments are read only after the kernel
 * has read them, and a program with a filter of its own gets no further system calls (inside_quiet).
 *
 * Limits: programs of glibc's loader only, of the libc that `sites` knows; all others are seen by the watcher alone, and the
 * recorder says so. /proc/PID/maps shows this object and the log.
 */
#include "inside-log.h"
#include "text.h"

#define LAV_NEEDED 2 /* LAV_CURRENT of glibc 2.35 */
#define LM_ID_BASE 0
#define EXPORTED __attribute__((visibility("default")))

static struct audit_process process;
static int has_begun;
static int met_libc;

int audit_wants(const struct sys_stat *program, char *const *envp) {
  (void)program, (void)envp;
  return !inside_quiet;
}

long audit_executes(const char *path) {
  struct inside_entry entry = {.kind = ENTRY_EXEC};
  if (path == NULL || inside_quiet) return 0;
  long found = sys_access(path, 1); /* X_OK */
  /* A path that cannot be read is the kernel's to refuse. */
  if (found == -EFAULT) return 0;
  inside_log_add(entry, path);
  /* Sure to fail, as most of a search along PATH. */
  return found == -ENOENT || found == -ENOTDIR ? INSIDE_WORD : inside_sight(SEEN_EXEC, 0);
}

long inside_tell(u32 what, u64 a, u64 b) {
  return sys_call6(323, INSIDE_WORD, (long)what, (long)a, (long)b, 0, 0); /* userfaultfd, which it is not */
}

void inside_forked(void) {
  struct inside_entry entry = {
      .kind = ENTRY_FORKED, .first = audit_auxiliary(&process, AT_SYSINFO_EHDR), .second = inside_log_own_process()};
  inside_log_process((u32)sys_getpid());
  inside_log_add(entry, NULL);
}

u64 inside_program_base(const struct elf_segment *segments, u64 count) {
  for (u64 i = 0; i < count; i++)
    if (segments[i].type == PT_PHDR) return (u64)segments - segments[i].vaddr;
  return 0;
}

/* The program's interpreter, as its PT_INTERP says. */
static const char *loader_path(void) {
  const struct elf_segment *segments = (const void *)audit_auxiliary(&process, AT_PHDR);
  u64 count = audit_auxiliary(&process, AT_PHNUM), base = inside_program_base(segments, count);
  for (u64 i = 0; i < count; i++)
    if (segments[i].type == PT_INTERP) return (const char *)(base + segments[i].vaddr);
  return NULL;
}

/* Room for the words of most programs; of others the last are cut off. */
#define START_ROOM 8192u

/* Counts only where there is no place yet. */
static u32 put_text(char *to, u32 at, const char *text) {
  for (; text != NULL && *text && at < START_ROOM - 1; at++, text++)
    if (to != NULL) to[at] = *text;
  if (at < START_ROOM && to != NULL) to[at] = 0;
  return at < START_ROOM ? at + 1 : at;
}

static const char *library_path(void) {
  static const char name[] = "LD_LIBRARY_PATH=";
  enum { EQUALS = sizeof name - 2 };
  const char *found = NULL;
  for (char **one = process.envp; *one != NULL; one++) {
    unsigned i = 0;
    while (name[i] && (*one)[i] == name[i]) i++;
    if (name[i] == 0) found = *one + EQUALS;
  }
  return found;
}

static char folder[AUDIT_PATH_SIZE], self[AUDIT_PATH_SIZE];

static u32 put_words(char *to) {
  u32 at = put_text(to, 0, folder);
  at = put_text(to, at, self);
  /* With its `=`: an empty one is one. */
  at = put_text(to, at, library_path());
  for (char **word = process.argv; *word != NULL && at < START_ROOM; word++) at = put_text(to, at, *word);
  return at;
}

static void put_start(void) {
  if (sys_getcwd(folder, sizeof folder) <= 0) folder[0] = 0;
  long length = sys_readlink(AUDIT_SELF, self, sizeof self - 1);
  self[length > 0 ? length : 0] = 0;
  u32 size = put_words(NULL), room = (size + 7) & ~7u;
  struct inside_entry *at = inside_log_reserve(room);
  if (at == NULL) return;
  put_words((char *)(at + 1));
  struct inside_entry entry = {.kind = ENTRY_STARTED, .first = audit_auxiliary(&process, AT_SYSINFO_EHDR)};
  inside_log_fill(at, entry, room, size);
}

/* 0: the auditor withdraws, and the loader goes on as if there were none. */
EXPORTED unsigned la_version(unsigned version) {
  if (!audit_begin(&process, __builtin_frame_address(0)) || version < LAV_NEEDED) return 0;
  const char *log = audit_beside("log", 0);
  if (log == NULL || !inside_log_open(log)) return 0;
  const char *sites = audit_beside("sites", 0), *loader = loader_path();
  if (sites == NULL || !inside_sites_open(sites)) return 0;
  if (loader == NULL || !inside_sites_meet(loader, audit_auxiliary(&process, AT_BASE))) {
    inside_sites_close();
    return 0;
  }
  put_start();
  inside_reads_start();
  inside_pages_start(&process);
  return LAV_NEEDED;
}

EXPORTED unsigned la_objopen(struct link_map *map, long namespace, unsigned long *cookie) {
  (void)cookie;
  if (!has_begun && namespace == LM_ID_BASE && !audit_storage_meet(map)) audit_execute_plainly(&process);
  if (namespace == LM_ID_BASE && !met_libc && audit_is_libc(map)) {
    met_libc = 1;
    if (!inside_sites_meet(map->name, map->base)) {
      struct inside_entry entry = {.kind = ENTRY_UNSEEN, .first = UNSEEN_PLACES};
      inside_log_add(entry, NULL);
    }
    audit_exec_meet(map);
  }
  return 0;
}

EXPORTED void la_preinit(unsigned long *cookie) {
  (void)cookie;
  inside_sites_close();
  inside_pages_begin();
  has_begun = 1;
}
