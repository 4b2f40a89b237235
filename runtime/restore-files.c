/*
 * restore-files.c: are the modules as they were when the image was built?
 *
 * Problem. One look at each of 138 files is 280 us of inkscape's start, more than half of it for walking the same folders:
 * /usr/bin/../lib/x86_64-linux-gnu/inkscape/../libgtk-3.so.0.
 * Method. Where the next file stands in the same folder, the folder is opened once, and files are looked up below it; it
 * cannot change in between, which is as good. Where there is no descriptor left for it, whole paths do.
 * Size, time and inode tell a file that has changed.
 */
#include "restore.h"

/* Longer paths are walked each time. */
#define FOLDER_MOST 512

/* With the device, unlike elsewhere: what is linked holds it, and a library opened again by another name would be loaded twice. */
static int file_is_same(const struct linked_file *file, const struct sys_stat *now) {
  return (now->mode & S_IFMT) == S_IFREG && now->ino == file->inode && now->dev == file->device &&
         (u64)now->size == file->size && now->mtime.sec == file->mtime_sec && now->mtime.nsec == file->mtime_nsec;
}

/* Bytes of the path up to its last slash, that one included. */
static u64 folder_length(const char *path) {
  u64 length = 0;
  for (u64 i = 0; path[i] != 0; i++)
    if (path[i] == '/') length = i + 1;
  return length;
}

static int begins_with(const char *path, const char *with, u64 length) {
  for (u64 i = 0; i < length; i++)
    if (path[i] != with[i]) return 0;
  return 1;
}

static const char *path_of(const struct image *image, u32 index) {
  if (index >= image->header->file_count) return "";
  return text_at(image, image->files[index].path);
}

void folder_close(struct folder *folder) {
  if (folder->fd >= 0) sys_close(folder->fd);
  folder->fd = -1;
}

/* What to look the file up below, and by what name. */
static int folder_for(struct folder *folder, const struct image *image, u32 index, const char **name) {
  const char *path = path_of(image, index), *next = path_of(image, index + 1);
  u64 length = folder_length(path);
  *name = path;
  if (folder->fd >= 0 && folder->length == length && begins_with(path, folder->path, length)) {
    *name = path + length;
    return folder->fd;
  }
  folder_close(folder);
  char text[FOLDER_MOST];
  if (length == 0 || length >= sizeof text || folder_length(next) != length || !begins_with(next, path, length))
    return AT_FDCWD;
  for (u64 i = 0; i < length; i++) text[i] = path[i];
  text[length] = 0;
  folder->fd = (int)sys_open(text, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (folder->fd < 0) return AT_FDCWD;
  folder->path = path;
  folder->length = length;
  *name = path + length;
  return folder->fd;
}

int open_file(const struct image *image, struct folder *folder, u32 index) {
  if (index >= image->header->file_count) return -1;
  int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  const char *name;
  int below = folder_for(folder, image, index, &name);
  int fd = (int)sys_openat(below, name, flags);
  if (fd == -EMFILE && folder->fd >= 0) {
    folder_close(folder);
    fd = (int)sys_open(path_of(image, index), flags);
  }
  struct sys_stat stat;
  if (fd < 0) return -1;
  if (stat_of(image, fd, &stat) >= 0 && file_is_same(&image->files[index], &stat)) return fd;
  sys_close(fd);
  return -1;
}

struct verdict check_files(const struct image *image, int all) {
  struct verdict found = verdict(LINKED_GOOD, 0);
  struct folder folder = {.fd = -1};
  for (u32 i = 0; i < image->header->file_count && found.refused == LINKED_GOOD; i++) {
    const struct linked_file *file = &image->files[i];
    struct sys_stat stat;
    /* The others are looked at when they are opened. */
    if (!all && !(file->flags & LINKED_NOT_MAPPED)) continue;
    const char *name;
    int below = folder_for(&folder, image, i, &name);
    if (sys_fstatat(below, name, &stat, 0) < 0 || !file_is_same(file, &stat)) found = verdict(LINKED_BAD_FILE, i);
  }
  folder_close(&folder);
  return found;
}
