/*
 * linked-programs.c: programs that start from an image after linking (share.h).
 *
 * Problem: the copy of such a program names the image's launcher as its loader. Mounted over the program, it is
 * everybody's in that namespace; executed by its own path, it is not what /proc/self/exe should show.
 *
 * Example: images/.git@0123456789ab/share-00-git stands for /usr/bin/git, names share-00-git.restore, and is
 * also called direct/git.
 *
 * Method: it is mounted only where everybody can come to the loader that it names; else, where the program never asks for its own
 * path, its copy under `direct` is executed. All other programs start as ever.
 */
#include "linked-programs.h"

#include "elf.h"
#include "text.h"

#define PATH_SIZE 4096
#define RESTORE_ENDING ".restore"
#define DIRECT_FOLDER "direct/"
#define MODE_OTHERS_SEARCH 01u
#define MODE_OWNER_EXECUTES 0100u
#define LOADER_SEGMENTS 16

static char path_buffer[PATH_SIZE];

int linked_is_reachable(const struct show_request *request) {
  struct sys_stat stat;
  unsigned long length = length_of(request->folder);
  if (length >= PATH_SIZE) return 0;
  for (unsigned long i = 0; i < length; i++) {
    path_buffer[i] = request->folder[i];
    if (path_buffer[i] != '/') continue;
    path_buffer[i + 1] = 0;
    if (sys_stat(path_buffer, &stat) < 0 || !(stat.mode & MODE_OTHERS_SEARCH)) return 0;
  }
  return 1;
}

/* Begins as a program of ours, and is as long as its segments want it: the kernel would kill who executes less. */
static int is_whole_program(int fd, const struct sys_stat *stat) {
  struct {
    struct elf_header header;
    struct elf_segment segments[LOADER_SEGMENTS];
  } start;
  long size = sys_pread(fd, &start, sizeof start, 0);
  if (size < (long)sizeof start.header || !elf_is_ours(&start.header)) return 0;
  unsigned count = start.header.phnum;
  if (start.header.phoff != sizeof start.header || count > LOADER_SEGMENTS) return 0;
  if ((unsigned long)size < sizeof start.header + count * sizeof *start.segments) return 0;
  for (unsigned i = 0; i < count; i++)
    if (start.segments[i].offset + start.segments[i].filesz > (u64)stat->size) return 0;
  return 1;
}

int linked_has_loader(const struct show_request *request, char *copy) {
  unsigned long length = length_of(copy);
  struct sys_stat stat;
  if (length + sizeof RESTORE_ENDING > PATH_SIZE) return 0;
  for (unsigned long i = 0; i < sizeof RESTORE_ENDING; i++) copy[length + i] = RESTORE_ENDING[i];
  int fd = (int)sys_open(copy, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  copy[length] = 0;
  if (fd < 0) return 0;
  int good = sys_fstat(fd, &stat) >= 0 && only_owner_writes(&stat, request->user) && (stat.mode & MODE_OWNER_EXECUTES) &&
             is_whole_program(fd, &stat);
  sys_close(fd);
  return good;
}

static const char *name_of(const char *path) {
  const char *name = path;
  for (; *path; path++)
    if (*path == '/') name = path + 1;
  return name;
}

const char *linked_direct_path(const struct show_request *request, const struct modules_table *table) {
  struct sys_stat now, instead;
  if (sys_stat(request->path, &now) < 0) return NULL;
  const struct modules_entry *entry = modules_find(table, &now);
  if (entry == NULL || !(entry->flags & MODULE_BY_ANY_NAME)) return NULL;
  if (sys_getxattr(request->path, "security.capability", NULL, 0) > 0) return NULL;
  const char *parts[] = {request->folder, modules_text(table, entry->replacement)};
  const char *direct[] = {request->folder, DIRECT_FOLDER, name_of(request->path)};
  unsigned long at = 0;
  for (int part = 0; part < 2; part++)
    for (const char *from = parts[part]; *from && at < PATH_SIZE - 1;) path_buffer[at++] = *from++;
  path_buffer[at] = 0;
  if (!linked_has_loader(request, path_buffer)) return NULL;
  at = 0;
  for (int part = 0; part < 3; part++)
    for (const char *from = direct[part]; *from && at < PATH_SIZE - 1;) path_buffer[at++] = *from++;
  path_buffer[at] = 0;
  if (sys_lstat(path_buffer, &instead) < 0 || !module_is_replacement(entry, &instead, request->user)) return NULL;
  return path_buffer;
}
