/*
 * prelinked-programs.c: is the program that the launcher is about to execute one of prelink.bin's?
 *
 * Any other one is executed without the audit object: prelink.c tells why.
 */
#include "prelinked-programs.h"

#include "misses.h"
#include "modules.h"
#include "prelink.h"
#include "target.h"
#include "text.h"

#define PATH_SIZE 4096

static char path_buffer[PATH_SIZE];

static const char *beside(const struct show_request *request, const char *name) {
  unsigned long folder = length_of(request->folder), length = length_of(name);
  if (folder + length >= PATH_SIZE) return NULL;
  for (unsigned long i = 0; i < folder; i++) path_buffer[i] = request->folder[i];
  for (unsigned long i = 0; i <= length; i++) path_buffer[folder + i] = name[i];
  return path_buffer;
}

int prelinked_is_there(const struct show_request *request) {
  struct sys_stat stat;
  const char *path = beside(request, "prelink.bin");
  return path != NULL && sys_lstat(path, &stat) >= 0;
}

static int open_table(const struct show_request *request, struct prelink_table *table) {
  const char *path = beside(request, "prelink.bin");
  int fd = path == NULL ? -1 : (int)sys_open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return 0;
  struct sys_stat stat;
  int good = sys_fstat(fd, &stat) >= 0 && only_owner_writes(&stat, request->user) && stat.size > 0 &&
             stat.size <= PRELINK_SIZE_MAX;
  if (good) {
    long at = (long)sys_mmap(NULL, (unsigned long)stat.size, PROT_READ, MAP_PRIVATE, fd, 0);
    good = !(at < 0 && at > -4096) && prelink_open(table, (const void *)at, (u64)stat.size);
  }
  sys_close(fd);
  return good;
}

int prelinked_is_for(const struct show_request *request) {
  struct prelink_table table;
  struct sys_stat file;
  if (!open_table(request, &table) || !target_takes_audit(request->path, &file)) return 0;
  const struct prelink_program *program = prelink_find(&table, &file);
  if (program == NULL) return 0;
  if (!prelink_is_spoken_to(request->envp)) return 1;
  const char *misses = beside(request, PRELINK_MISSES);
  if (misses != NULL) misses_add(misses, request->user, PRELINK_MISS_ENVIRONMENT, (u32)(program - table.programs));
  return 0;
}
