/*
 * restore-group.c: maps that follow each other in one file are made together.
 *
 * Problem. inkscape's image has 640 maps; to make one takes 2.2 us of the kernel, whatever it shows.
 *
 * Example. Headers, code and constants of libz follow each other in its file as in memory: three maps. So do its relocated
 * pages and its data in the image: two.
 *
 * Method. One mmap shows them all with the protection of most of them, and mprotect gives the others theirs, which
 * splits what is there: of five calls four are left, and cheaper ones. What is executable is never the common
 * protection. Between readable and writable pages, one of each, all begin as writable ones: to take a right away
 * costs less than to give one.
 *
 * Limits. Filters that let nobody make memory executable by mprotect (systemd's MemoryDenyWriteExecute) let code be mapped: where
 * mprotect is refused, the map is laid over. A filter may as well kill for it, so under a filter code is mapped by itself.
 */
#include "restore-map.h"

int first_protection(const struct restoring *r, u32 i) {
  return is_soft(r, i) ? PROT_READ | PROT_WRITE : (int)r->image->maps[i].protection;
}

static int follows(const struct linked_map *map, const struct linked_map *next) {
  return next->from == map->from && next->at == map->at + map->size && next->offset == map->offset + map->size;
}

/* Whether another one lies over it. */
static int is_area(const struct restoring *r, u32 i) {
  const struct linked_map *map = &r->image->maps[i];
  return i + 1 < r->image->header->map_count && map[1].at < map->at + map->size;
}

u32 group_end(const struct restoring *r, u32 first, int overlays) {
  const struct linked_map *maps = r->image->maps;
  u32 end = first + 1;
  if (maps[first].from == LINKED_FROM_NOTHING || maps[first].from == LINKED_FROM_PROGRAM) return end;
  for (; end < r->image->header->map_count && follows(&maps[end - 1], &maps[end]); end++) {
    if (is_area(r, end) || is_overlaid(r, &maps[end]) != overlays) break;
    if (r->is_filtered && ((maps[end - 1].protection | maps[end].protection) & PROT_EXEC)) break;
  }
  return end;
}

static int common_protection(const struct restoring *r, u32 first, u32 end) {
  u32 readable = 0, writable = 0;
  int last = -1;
  for (u32 i = first; i < end; i++) {
    int protection = first_protection(r, i);
    readable += protection == PROT_READ && protection != last;
    writable += protection == (PROT_READ | PROT_WRITE) && protection != last;
    last = protection;
  }
  if (readable > writable) return PROT_READ;
  return writable > 0 ? PROT_READ | PROT_WRITE : last;
}

int map_group(struct restoring *r, u32 first, u32 end, int flags, int fd) {
  const struct linked_map *maps = r->image->maps;
  struct linked_map all = maps[first];
  all.size = maps[end - 1].at + maps[end - 1].size - all.at;
  int common = common_protection(r, first, end);
  if (failed(map_at(&all, common, flags, fd))) return 0;
  /* What is there from now on is unmapped when it is undone. */
  if (flags & MAP_FIXED_NOREPLACE) r->mapped = end;
  for (u32 i = first; i < end;) {
    struct linked_map run = maps[i];
    int protection = first_protection(r, i);
    for (i++; i < end && first_protection(r, i) == protection; i++) run.size += maps[i].size;
    if (protection == common || !failed(sys_mprotect((void *)run.at, run.size, protection))) continue;
    if (failed(map_at(&run, protection, MAP_FIXED, fd))) return 0;
  }
  return 1;
}
