/*
 * show.c: lets the started program find the image's modules in place of the original files.
 *
 * Problem: a program opens its libraries by many ways (RPATH, cache, dlopen by absolute path), asks for their
 * names, starts children by path. All of these must lead to the image's copies, the program must not see
 * that they do, and the rest of the machine must not be touched.
 *
 * Example: /usr/lib/libfoo.so.1.2 has a copy, images/.git@0123456789ab/libfoo.so.1.2.
 *
 * Method, the first that works:
 *   mounts  a mount namespace of this process and its children, in which the copy is bind-mounted over the
 *           original. Propagation is cut off in one direction: what the host mounts still comes in,
 *           nothing goes out. Names stay as they are, in maps, /proc/self/exe and everywhere. Needs CAP_SYS_ADMIN.
 *   audit   LD_AUDIT with an object of ours, which gives the loader the copy's path where it would open the
 *           original, takes the variable out again before the program begins, and gives it to children (audit.c).
 *   direct  a program that is linked already and never asks for its own path is executed as it stands in the image
 *           (linked-programs.c).
 *   plain   the originals.
 * An image of prelinked programs (prelink.bin) is shown by audit or not at all.
 *
 * A module whose original has changed, or whose copy is missing or could have been written by others, is
 * left out.
 *
 * Limits: inside the namespace an original is a mount point, so it cannot be replaced there (EBUSY) and what
 * the program mounts is not seen outside. docs/commands/run.md says for which programs that matters.
 *
 * Over 300 lines: all ways share the checks of the copies and the paths in one buffer.
 */
#include "show.h"

#include "linked-programs.h"
#include "prelinked-programs.h"
#include "target.h"
#include "text.h"

#define PATH_SIZE 4096
/* ld.so takes no longer name of an audit object (SECURE_PATH_LIMIT). */
#define AUDIT_PATH_MAX 1000
#define AUDIT_VARIABLE "LD_AUDIT="
#define AUDIT_OBJECT "audit.so"

static char path_buffer[PATH_SIZE];

static int begins_with(const char *text, const char *start) {
  while (*start && *text == *start) text++, start++;
  return *start == 0;
}

static int contains(const char *text, char wanted) {
  while (*text && *text != wanted) text++;
  return *text == wanted;
}

/* The path of a file in the image's folder; NULL where the name is none, or too long. */
static const char *beside(const struct show_request *request, const char *name) {
  unsigned long folder = length_of(request->folder), length = length_of(name);
  if (length == 0 || contains(name, '/') || folder + length >= PATH_SIZE) return NULL;
  for (unsigned long i = 0; i < folder; i++) path_buffer[i] = request->folder[i];
  for (unsigned long i = 0; i <= length; i++) path_buffer[folder + i] = name[i];
  return path_buffer;
}

/* What the caller asks for, taken out of the environment; -1 where it is nothing that is known. */
static int take_wish(char **envp) {
  static const char *const modes[] = {"auto", "mounts", "user-mounts", "audit", "plain"};
  int wish = -1;
  char **kept = envp;
  for (char **one = envp; *one; one++) {
    if (!begins_with(*one, SHOW_VARIABLE "=")) {
      *kept++ = *one;
      continue;
    }
    const char *value = *one + sizeof SHOW_VARIABLE;
    for (unsigned mode = 0; mode < sizeof modes / sizeof *modes; mode++)
      if (begins_with(value, modes[mode]) && length_of(value) == length_of(modes[mode])) wish = (int)mode;
  }
  *kept = NULL;
  return wish;
}

static int open_table(const struct show_request *request, struct modules_table *table) {
  const char *path = beside(request, "modules.bin");
  if (path == NULL) return 0;
  int fd = (int)sys_open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return 0;
  struct sys_stat stat;
  int good = sys_fstat(fd, &stat) >= 0 && only_owner_writes(&stat, request->user) && stat.size > 0 &&
             stat.size <= MODULES_SIZE_MAX;
  if (good) {
    long at = (long)sys_mmap(NULL, (unsigned long)stat.size, PROT_READ, MAP_PRIVATE, fd, 0);
    good = !(at < 0 && at > -4096) && modules_open(table, (const void *)at, (u64)stat.size);
  }
  sys_close(fd);
  return good && table->header->count > 0;
}

/*
 * In a mount namespace children under other users meet the copy too: whoever may use the original must be
 * able to use it.
 */
static int is_as_usable(const struct sys_stat *original, const struct sys_stat *copy) {
  u32 needs = original->mode & 0555;
  if (needs & ~copy->mode) return 0;
  u32 others = original->mode & 5;
  if (needs == (others << 6 | others << 3 | others)) return 1;
  return original->uid == copy->uid && original->gid == copy->gid;
}

/* Leaves the copy's path in path_buffer. */
static int is_mountable(const struct show_request *request, const struct modules_table *table,
                        const struct modules_entry *entry) {
  const char *original = modules_text(table, entry->path);
  const char *copy = beside(request, modules_text(table, entry->replacement));
  struct sys_stat now, instead;
  /* Rights by file capabilities are the file's own. */
  if ((entry->flags & MODULE_ROLE) == MODULE_PROGRAM &&
      sys_getxattr(original, "security.capability", NULL, 0) > 0)
    return 0;
  return copy != NULL && original[0] == '/' && sys_stat(original, &now) >= 0 && module_is_original(entry, &now) &&
         sys_lstat(copy, &instead) >= 0 && module_is_replacement(entry, &instead, request->user) &&
         is_as_usable(&now, &instead) && (!(entry->flags & MODULE_LINKED) || linked_has_loader(request, path_buffer));
}

static int write_file(const char *path, const char *text) {
  int fd = (int)sys_open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  unsigned long length = length_of(text);
  long written = sys_write(fd, text, length);
  sys_close(fd);
  return written == (long)length;
}

/* `ID ID 1`: this number alone, as it is outside. */
static int write_map(const char *path, u32 id) {
  char digits[11], text[32];
  int at = sizeof digits - 1, length = 0;
  digits[at] = 0;
  do digits[--at] = (char)('0' + id % 10);
  while ((id /= 10) > 0);
  for (int twice = 0; twice < 2; twice++) {
    for (int i = at; digits[i]; i++) text[length++] = digits[i];
    text[length++] = ' ';
  }
  text[length++] = '1';
  text[length] = 0;
  return write_file(path, text);
}

static int enter_namespaces(const struct show_request *request, int in_user_namespace) {
  if (in_user_namespace) {
    if (sys_unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0) return 0;
    return write_map("/proc/self/uid_map", request->user) && write_file("/proc/self/setgroups", "deny") &&
           write_map("/proc/self/gid_map", request->group) && sys_mount("", "/", MS_SLAVE | MS_REC) >= 0;
  }
  return sys_unshare(CLONE_NEWNS) >= 0 && sys_mount("", "/", MS_SLAVE | MS_REC) >= 0;
}

/* Nobody can leave a user namespace that was left half-made: a child tries first. */
static int child_enters(const struct show_request *request) {
  long child = sys_clone(0);
  if (child < 0) return 0;
  if (child == 0) sys_exit(!enter_namespaces(request, 1));
  int status = 0;
  while (sys_wait4((int)child, &status, __WALL) == -EINTR) {
  }
  return status == 0;
}

/* A chroot that is no mount has no propagation that could be cut off. Before Linux 5.8 the try tells. */
static int root_is_mount(void) {
  struct sys_statx root;
  if (sys_statx(AT_FDCWD, "/", 0, STATX_TYPE, &root) < 0) return 1;
  return !(root.attributes_mask & STATX_ATTR_MOUNT_ROOT) || (root.attributes & STATX_ATTR_MOUNT_ROOT);
}

static int may_mount(void) {
  struct sys_cap_header header = {CAPABILITY_VERSION_3, 0};
  struct sys_cap_data data[2];
  return sys_capget(&header, data) >= 0 && (data[0].effective >> CAP_SYS_ADMIN & 1);
}

static int has_linked(const struct modules_table *table) {
  for (u32 i = 0; i < table->header->count; i++)
    if (table->entries[i].flags & MODULE_LINKED) return 1;
  return 0;
}

/* Whether any module was mounted. */
static int mount_modules(const struct show_request *request, const struct modules_table *table, int in_user_namespace) {
  static u8 mountable[MODULES_MAX];
  u32 count = 0, mounted = 0;
  /* In a user namespace of one user nobody becomes another. */
  int reachable = in_user_namespace || (has_linked(table) && linked_is_reachable(request));
  for (u32 i = 0; i < table->header->count; i++) {
    const struct modules_entry *entry = &table->entries[i];
    if ((entry->flags & MODULE_LINKED) && !reachable) continue;
    count += mountable[i] = (u8)is_mountable(request, table, entry);
  }
  if (count == 0 || !root_is_mount()) return 0;
  if (in_user_namespace ? !child_enters(request) : !may_mount()) return 0;
  if (!enter_namespaces(request, in_user_namespace)) return 0;
  for (u32 i = 0; i < table->header->count; i++) {
    const struct modules_entry *entry = &table->entries[i];
    if (!mountable[i] || beside(request, modules_text(table, entry->replacement)) == NULL) continue;
    mounted += sys_mount(path_buffer, modules_text(table, entry->path), MS_BIND) >= 0;
  }
  return mounted > 0;
}

static int has_libraries(const struct modules_table *table) {
  for (u32 i = 0; i < table->header->count; i++)
    if ((table->entries[i].flags & MODULE_ROLE) == MODULE_LIBRARY) return 1;
  return 0;
}

/* The environment with LD_AUDIT at its end; NULL where the program would not take it. */
static char **environment_with_audit(const struct show_request *request) {
  unsigned long count = 0;
  for (; request->envp[count]; count++)
    if (begins_with(request->envp[count], AUDIT_VARIABLE)) return NULL;
  const char *object = beside(request, AUDIT_OBJECT);
  struct sys_stat stat;
  /* A colon separates objects, $ begins what ld.so expands. */
  if (object == NULL || contains(object, ':') || contains(object, '$')) return NULL;
  unsigned long length = length_of(object);
  if (length >= AUDIT_PATH_MAX || sys_lstat(object, &stat) < 0) return NULL;
  if (!only_owner_writes(&stat, request->user) || !target_takes_audit(request->path, &stat)) return NULL;
  unsigned long pointers = (count + 2) * sizeof(char *);
  unsigned long size = pointers + sizeof AUDIT_VARIABLE + length;
  long at = (long)sys_mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at < 0 && at > -4096) return NULL;
  char **envp = (char **)at;
  char *text = (char *)at + pointers;
  for (unsigned long i = 0; i < count; i++) envp[i] = request->envp[i];
  envp[count] = text;
  for (const char *from = AUDIT_VARIABLE; *from;) *text++ = *from++;
  for (unsigned long i = 0; i <= length; i++) text[i] = object[i];
  return envp;
}

static int read_word(const char *path, char *text, unsigned long size) {
  int fd = (int)sys_open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  long have = sys_read(fd, text, size - 1);
  sys_close(fd);
  text[have > 0 ? have : 0] = 0;
  return have > 0;
}

/* Files of the image have the labels of their folder, which confined domains may not execute. */
static int selinux_confines(void) {
  char text[256];
  if (!read_word("/sys/fs/selinux/enforce", text, sizeof text) || text[0] != '1') return 0;
  if (!read_word("/proc/self/attr/current", text, sizeof text)) return 1;
  for (const char *at = text; *at; at++)
    if (begins_with(at, ":unconfined_t:")) return 0;
  return 1;
}

/* The audit object alone can show prelinked libraries (prelink.c). */
static char **show_prelinked(const struct show_request *request, int wish) {
  int may = wish < 0 || wish == (int)MODULES_SHOW_AUTO || wish == (int)MODULES_SHOW_AUDIT;
  struct sys_statfs mount;
  if (!may || !prelinked_is_for(request)) return request->envp;
  if (sys_statfs(request->folder, &mount) < 0 || mount.flags & ST_NOEXEC) return request->envp;
  if (wish != (int)MODULES_SHOW_AUDIT && selinux_confines()) return request->envp;
  char **envp = environment_with_audit(request);
  return envp != NULL ? envp : request->envp;
}

char **show_modules(struct show_request *request) {
  struct modules_table table;
  int wish = take_wish(request->envp);
  if (request->folder[0] == '/' && prelinked_is_there(request)) return show_prelinked(request, wish);
  /* Without /proc the launcher may know its folder by a relative path only, which serves nobody else. */
  if (wish == (int)MODULES_SHOW_PLAIN || request->folder[0] != '/' || !open_table(request, &table)) return request->envp;
  u32 way = wish >= 0 ? (u32)wish : table.header->show;
  struct sys_statfs mount;
  if (way == MODULES_SHOW_PLAIN) return request->envp;
  if (sys_statfs(request->folder, &mount) < 0 || mount.flags & ST_NOEXEC) return request->envp;
  int stored = table.header->cold == MODULES_COLD_STORE;
  if (stored && (way == MODULES_SHOW_MOUNTS || way == MODULES_SHOW_USER_MOUNTS)) return request->envp;
  int automatic = way == MODULES_SHOW_AUTO;
  if (automatic && selinux_confines()) return request->envp;
  if (automatic && table.header->count == 1) {
    /* A namespace for one program costs more than a small one gains. */
    const char *alone = linked_direct_path(request, &table);
    if (alone != NULL) {
      request->path = alone;
      return request->envp;
    }
  }
  /* A filter may kill whoever asks, so under one nobody asks without being told to. */
  if (automatic && !stored && sys_prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 0) way = MODULES_SHOW_MOUNTS;
  if (way == MODULES_SHOW_MOUNTS || way == MODULES_SHOW_USER_MOUNTS) {
    if (mount_modules(request, &table, way == MODULES_SHOW_USER_MOUNTS)) {
      if (table.header->cold == MODULES_COLD_FILE) return request->envp;
      /* Says what was called; a program that does not take it dies all the same. */
      way = MODULES_SHOW_AUDIT;
    }
  }
  if (!automatic && way != MODULES_SHOW_AUDIT) return request->envp;
  const char *direct = linked_direct_path(request, &table);
  if (direct != NULL) request->path = direct;
  if (!has_libraries(&table) && table.header->cold == MODULES_COLD_FILE) return request->envp;
  char **envp = environment_with_audit(request);
  return envp != NULL ? envp : request->envp;
}
