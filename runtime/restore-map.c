/*
 * restore-map.c: puts what linking made where it was made for.
 *
 * Problem. The image's pages hold addresses; every page must come to its place, and if one place is taken, or the kernel
 * refuses anything, the process must be as it was, for the plain loader.
 *
 * Example. The program was mapped by the kernel at 0x55d2…; in the image it is at 0x2a31…: its clean pages are moved
 * there, its relocated ones are mapped from NAME.linked, and what is left at the old place is unmapped.
 *
 * Method. First what can be undone: maps where nothing is (MAP_FIXED_NOREPLACE), then what the kernel keeps of a thread
 * (restore-state.c). Then the program's pages are moved, which is undone by moving them back. Then the
 * fix-ups, which cannot fail. Where many pages hold nothing to write but pointers into the vDSO, the vDSO is moved. Under a filter
 * nothing is moved, as loaders do not: the program's pages are mapped again from its file. A program that is at its place already (one of fixed addresses) is overlaid there as
 * the last thing that can fail; from that there is no way back but an exit.
 *
 * Limits. Before Linux 6.17 mremap moves one mapping at a time, so each map of the program must lie in one.
 */
#include "restore-map.h"

static int is_good(const struct linked_map *map, u64 after) {
  return !((map->at | map->size | map->offset) & (PLAN_PAGE - 1)) && map->at >= after && map->size > 0 &&
         map->size < ADDRESSES_END && map->at + map->size <= ADDRESSES_END &&
         !(map->protection & ~(u32)(PROT_READ | PROT_WRITE | PROT_EXEC));
}

/* Whether the map shows the pages of the area, at their place. */
static int is_of_area(const struct linked_map *map, const struct linked_map *area) {
  return map->from == LINKED_FROM_PAGES && map->offset - area->offset == map->at - area->at;
}

/* The area that a map lies over: maps come one after another, and `area` is the last one that lies over none. */
static const struct linked_map *area_under(const struct restoring *r, const struct linked_map *area, u32 i) {
  if (!(r->image->header->flags & LINKED_JOINED) || area == NULL) return NULL;
  return r->image->maps[i].at < area->at + area->size ? area : NULL;
}

/* Whether the tables make sense together; which maps a fix-up will be written to. */
static int look_through(struct restoring *r) {
  const struct linked_header *header = r->image->header;
  const struct linked_fixup *fixups = r->image->fixups;
  const struct linked_map *last = NULL;
  u64 after = PLAN_PAGE, end = PLAN_PAGE;
  u32 fixup = 0, slid = 0;
  for (u32 i = 0; i < (header->map_count + 63) / 64; i++) r->soft[i] = 0;
  for (u32 i = 0; i < header->map_count; i++) {
    const struct linked_map *map = &r->image->maps[i];
    const struct linked_map *area = area_under(r, last, i);
    if (!is_good(map, area == NULL ? end : after)) return 0;
    after = map->at + map->size;
    if (area == NULL) {
      end = after;
      last = map;
    } else if (after > end || area->from != LINKED_FROM_PAGES || (map->from != LINKED_FROM_NOTHING && !is_of_area(map, area)))
      return 0;
    /* Words of an area are in what lies over it. */
    if (area == NULL && i + 1 < header->map_count && area_under(r, map, i + 1) != NULL) {
      after = map->at;
      continue;
    }
    int pages = slid_pages_in(r, map, &slid);
    if (pages < 0) return 0;
    u32 words = (u32)pages;
    for (; fixup < header->fixup_count && fixups[fixup].at < after; fixup++) {
      const struct linked_fixup *word = &fixups[fixup];
      int is_long = word->kind == LINKED_IN_VDSO || word->kind == LINKED_SLID_PROGRAM || word->kind == LINKED_SLID_REST;
      if (word->at < map->at || (word->size != 8 && (word->size != 4 || is_long)) || word->at + word->size > after) return 0;
      words += !(r->moves_vdso && word->kind == LINKED_IN_VDSO);
    }
    if (words > 0 && !(map->protection & PROT_WRITE)) r->soft[i / 64] |= 1ull << i % 64;
  }
  r->end = end;
  return fixup == header->fixup_count && slid_pages_are_all(r, slid);
}

/* The loader's table of modules is one by address, and has the vDSO as the last. Kernels put it below in the legacy layout. */
static int vdso_is_above(const struct restoring *r) {
  u64 vdso = aux(r->start, AT_SYSINFO_EHDR);
  return vdso == 0 || vdso >= r->end;
}

int is_overlaid(const struct restoring *r, const struct linked_map *map) {
  const struct linked_header *header = r->image->header;
  u64 first = header->program_at + header->program_first;
  return r->stays && map->at >= first && map->at < first + header->program_size;
}

long map_at(const struct linked_map *map, int protection, int flags, int fd) {
  flags |= MAP_PRIVATE | (fd < 0 ? MAP_ANONYMOUS : 0);
  long at = sys_mmap((void *)map->at, map->size, protection, flags, fd, fd < 0 ? 0 : (long)map->offset);
  if (failed(at) || (u64)at == map->at) return at;
  sys_munmap((void *)at, map->size);
  return -EEXIST;
}

/* Where the kernel has what the map wants moved; its protection there. 0: the program has no such pages. */
static u64 find_in_program(const struct restoring *r, const struct linked_map *map, int *protection) {
  for (u64 i = 0; i < r->segment_count; i++) {
    const struct elf_segment *segment = &r->segments[i];
    if (segment->type != PT_LOAD) continue;
    u64 first = segment->vaddr & ~(u64)(PLAN_PAGE - 1);
    u64 end = (segment->vaddr + segment->memsz + PLAN_PAGE - 1) & ~(u64)(PLAN_PAGE - 1);
    if (map->offset < first || map->offset + map->size > end) continue;
    *protection = elf_protection(segment->flags);
    return r->bias + map->offset;
  }
  return 0;
}

/* How far maps of the program follow each other from the map `i` on, there and here: they are moved as one where that works. */
static u64 run_size(const struct restoring *r, u32 i) {
  const struct linked_map *map = &r->image->maps[i];
  u64 size = map->size;
  for (u32 next = i + 1; next < r->image->header->map_count; next++) {
    const struct linked_map *more = &r->image->maps[next];
    int follows = more->from == LINKED_FROM_PROGRAM && more->at == map->at + size && more->offset == map->offset + size;
    if (!follows) break;
    size += more->size;
  }
  return size;
}

/* Keeps the place for pages of the program; they come when all else is there. */
static int reserve_move(struct restoring *r, u32 i) {
  const struct linked_map *map = &r->image->maps[i];
  int protection;
  u64 from = find_in_program(r, map, &protection);
  if (from == 0 || r->move_count == MOVES_MAX || (r->stays && from != map->at)) return 0;
  r->moves[r->move_count++] = (struct move){from, map->at, map->size, protection, (int)map->protection};
  if (r->stays || map->at < r->reserved) return 1;
  struct linked_map room = {.at = map->at, .size = run_size(r, i)};
  if (failed(map_at(&room, PROT_NONE, MAP_FIXED_NOREPLACE, -1))) return 0;
  r->reserved_from = room.at;
  r->reserved = room.at + room.size;
  return 1;
}

/* To change what an area shows costs two thirds of another mapping. */
static int lay_over(const struct linked_map *map, int protection) {
  if (map->from == LINKED_FROM_NOTHING) return !failed(map_at(map, protection, MAP_FIXED, -1));
  return !(protection & PROT_WRITE) || !failed(sys_mprotect((void *)map->at, map->size, protection));
}

/* The zeros behind the data of a program that is at its place: the kernel has made them. */
static int is_bss(const struct restoring *r, const struct linked_map *map) {
  if (map->from != LINKED_FROM_NOTHING) return 0;
  for (u64 i = 0; i < r->segment_count; i++) {
    const struct elf_segment *segment = &r->segments[i];
    if (segment->type != PT_LOAD || segment->filesz == 0 || elf_protection(segment->flags) != (int)map->protection) continue;
    u64 from = (r->bias + segment->vaddr + segment->filesz + PLAN_PAGE - 1) & ~(u64)(PLAN_PAGE - 1);
    if (map->at >= from && map->at + map->size < r->bias + segment->vaddr + segment->memsz + PLAN_PAGE) return 1;
  }
  return 0;
}

/*
 * Maps of the table, those that overlay a program at its place or the others. Each file is opened when the first
 * of its maps comes, and they follow each other.
 */
static struct verdict map_table(struct restoring *r, int overlays) {
  const struct image *image = r->image;
  int flags = overlays ? MAP_FIXED : MAP_FIXED_NOREPLACE;
  struct verdict found = verdict(LINKED_GOOD, 0);
  const struct linked_map *area = NULL;
  u32 file = LINKED_FROM_NOTHING, end;
  struct folder folder = {.fd = -1};
  int fd = -1;
  for (u32 i = 0; i < image->header->map_count && found.refused == LINKED_GOOD; i = end) {
    const struct linked_map *map = &image->maps[i];
    end = i + 1;
    if (!overlays) r->mapped = i;
    const struct linked_map *under = area_under(r, area, i);
    if (under != NULL) {
      if (!overlays && !lay_over(map, first_protection(r, i))) found = verdict(LINKED_BAD_ADDRESS, i);
      continue;
    }
    area = map;
    if (map->from == LINKED_FROM_PROGRAM) {
      if (!overlays && !reserve_move(r, i)) found = verdict(LINKED_BAD_ADDRESS, i);
      continue;
    }
    if (is_overlaid(r, map) != overlays || (overlays && is_bss(r, map))) continue;
    int source = map->from == LINKED_FROM_PAGES ? image->fd : map->from == LINKED_FROM_NOTHING ? -1 : fd;
    if (map->from < LINKED_FROM_PROGRAM && map->from != file) {
      if (fd >= 0) sys_close(fd);
      file = map->from;
      source = fd = open_file(image, &folder, file);
      if (fd < 0) {
        found = verdict(LINKED_BAD_FILE, file);
        break;
      }
    }
    end = group_end(r, i, overlays);
    area = &image->maps[end - 1];
    if (!map_group(r, i, end, flags, source)) found = verdict(LINKED_BAD_ADDRESS, i);
  }
  if (fd >= 0) sys_close(fd);
  folder_close(&folder);
  if (!overlays && found.refused == LINKED_GOOD) r->mapped = image->header->map_count;
  return found;
}

/* In the reverse order of `restore_image`. What was kept free for a move is unmapped with the maps. */
static void undo(struct restoring *r) {
  move_program_back(r);
  state_undo(r);
  for (u32 i = 0; i < r->mapped; i++) {
    const struct linked_map *map = &r->image->maps[i];
    int is_in_place = is_overlaid(r, map) || (map->from == LINKED_FROM_PROGRAM && r->stays);
    if (!is_in_place) sys_munmap((void *)map->at, map->size);
  }
  move_vdso_back(r);
  /* The last may be longer than the maps that were come to. */
  if (r->reserved > 0) sys_munmap((void *)r->reserved_from, r->reserved - r->reserved_from);
}

/* The program's headers are where AT_PHDR says, and say of the right program. */
static int find_program(struct restoring *r) {
  const struct linked_header *header = r->image->header;
  const struct start *start = r->start;
  r->bias = aux(start, AT_PHDR) - header->program_phdr;
  r->segments = (const struct elf_segment *)aux(start, AT_PHDR);
  r->segment_count = aux(start, AT_PHNUM);
  r->stays = r->bias == header->program_at;
  u64 low = ADDRESSES_END, high = 0, begins = 0;
  for (u64 i = 0; i < r->segment_count; i++) {
    const struct elf_segment *segment = &r->segments[i];
    if (segment->type != PT_LOAD) continue;
    if (segment->vaddr < low) {
      low = segment->vaddr;
      begins = segment->filesz;
    }
    if (segment->vaddr + segment->memsz > high) high = segment->vaddr + segment->memsz;
  }
  u64 first = low & ~(u64)(PLAN_PAGE - 1), end = (high + PLAN_PAGE - 1) & ~(u64)(PLAN_PAGE - 1);
  u64 rest = PLAN_PAGE - (low & (PLAN_PAGE - 1));
  if (begins > rest) begins = rest;
  return !(r->bias & (PLAN_PAGE - 1)) && aux(start, AT_RANDOM) != 0 &&
         aux(start, AT_ENTRY) - r->bias == header->entry - header->program_at && first == header->program_first &&
         end - first == header->program_size && plan_checksum((const void *)(r->bias + low), begins) == header->program_sum;
}

struct verdict restore_image(struct image *image, struct start *start, struct jump *jump) {
  struct restoring r;
  r.image = image;
  r.start = start;
  r.mapped = r.move_count = r.moved = r.protected = 0;
  r.reserved = r.reserved_from = 0;
  r.has_rseq = r.has_thread = r.moves_vdso = 0;
  r.is_filtered = start->is_filtered;
  if (!find_program(&r)) return verdict(LINKED_BAD_PROGRAM, 0);
  if (!look_through(&r)) return verdict(LINKED_BAD_IMAGE, 0);
  if (!vdso_is_above(&r)) return verdict(LINKED_BAD_ADDRESS, image->header->map_count);
  r.moves_vdso = move_vdso(&r);
  /* Fewer maps are then written to. */
  if (r.moves_vdso) look_through(&r);
  struct verdict found = map_table(&r, 0);
  if (found.refused == LINKED_GOOD && !state_set(&r)) found = verdict(LINKED_BAD_CALL, 0);
  if (found.refused == LINKED_GOOD && !move_program(&r)) found = verdict(r.is_filtered ? LINKED_BAD_FILTER : LINKED_BAD_ADDRESS, 0);
  if (found.refused != LINKED_GOOD) {
    undo(&r);
    return found;
  }
  /* From here on there is no way back. */
  if (r.stays && map_table(&r, 1).refused != LINKED_GOOD) sys_exit(127);
  state_finish(&r);
  const struct linked_header *header = image->header;
  if (!r.stays) sys_munmap((void *)(r.bias + header->program_first), header->program_size);
  *jump = (struct jump){header->entry, header->start};
  image_close(image);
  return found;
}
