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
 * (restore-state.c). Then the vDSO and the program's pages are moved, which is undone by moving them back. Then the
 * fix-ups, which cannot fail. A program that is at its place already (one of fixed addresses) is overlaid there as
 * the last thing that can fail; from that there is no way back but an exit.
 *
 * Limits. mremap moves one mapping at a time on most kernels: what is moved as one must be one mapping. Kernels that seal the
 * vDSO (CONFIG_MSEAL_SYSTEM_MAPPINGS) run every program plainly.
 */
#include "restore-map.h"

static int is_good(const struct linked_map *map, u64 after) {
  return !((map->at | map->size | map->offset) & (PLAN_PAGE - 1)) && map->at >= after && map->size > 0 &&
         map->size < ADDRESSES_END && map->at + map->size <= ADDRESSES_END &&
         !(map->protection & ~(u32)(PROT_READ | PROT_WRITE | PROT_EXEC));
}

/* Whether the tables make sense together; which maps a fix-up will be written to. */
static int look_through(struct restoring *r) {
  const struct linked_header *header = r->image->header;
  const struct linked_fixup *fixups = r->image->fixups;
  u64 after = PLAN_PAGE;
  u32 fixup = 0;
  for (u32 i = 0; i < header->map_count; i++) {
    const struct linked_map *map = &r->image->maps[i];
    if (!is_good(map, after)) return 0;
    after = map->at + map->size;
    u32 first = fixup;
    for (; fixup < header->fixup_count && fixups[fixup].at < after; fixup++) {
      const struct linked_fixup *word = &fixups[fixup];
      if (word->at < map->at || (word->size != 4 && word->size != 8) || word->at + word->size > after) return 0;
    }
    if (fixup > first && !(map->protection & PROT_WRITE)) r->soft[r->soft_count++] = i;
  }
  return fixup == header->fixup_count;
}

static int is_overlaid(const struct restoring *r, const struct linked_map *map) {
  const struct linked_header *header = r->image->header;
  u64 first = header->program_at + header->program_first;
  return r->stays && map->at >= first && map->at < first + header->program_size;
}

static long map_at(const struct linked_map *map, int protection, int flags, int fd) {
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

/* Keeps the place for pages of the program; they come when all else is there. */
static int reserve_move(struct restoring *r, const struct linked_map *map) {
  int protection;
  u64 from = find_in_program(r, map, &protection);
  if (from == 0 || r->move_count == MOVES_MAX) return 0;
  r->moves[r->move_count++] =
      (struct move){from, map->at, map->size, protection, (int)map->protection};
  if (from == map->at) return 1;
  return !r->stays && !failed(map_at(map, PROT_NONE, MAP_FIXED_NOREPLACE, -1));
}

/*
 * Maps of the table, those that overlay a program at its place or the others. Each file is opened when the first
 * of its maps comes, and they follow each other.
 */
static struct verdict map_table(struct restoring *r, int overlays) {
  const struct image *image = r->image;
  int flags = overlays ? MAP_FIXED : MAP_FIXED_NOREPLACE;
  struct verdict found = verdict(LINKED_GOOD, 0);
  u32 file = LINKED_FROM_NOTHING, soft = 0;
  int fd = -1;
  for (u32 i = 0; i < image->header->map_count && found.refused == LINKED_GOOD; i++) {
    const struct linked_map *map = &image->maps[i];
    int is_soft = soft < r->soft_count && r->soft[soft] == i;
    soft += (u32)is_soft;
    if (!overlays) r->mapped = i;
    if (map->from == LINKED_FROM_PROGRAM) {
      if (!overlays && !reserve_move(r, map)) found = verdict(LINKED_BAD_ADDRESS, i);
      continue;
    }
    if (is_overlaid(r, map) != overlays) continue;
    int source = map->from == LINKED_FROM_PAGES ? image->fd : map->from == LINKED_FROM_NOTHING ? -1 : fd;
    if (map->from < LINKED_FROM_PROGRAM && map->from != file) {
      if (fd >= 0) sys_close(fd);
      file = map->from;
      source = fd = open_file(image, file);
      if (fd < 0) {
        found = verdict(LINKED_BAD_FILE, file);
        break;
      }
    }
    int protection = is_soft ? PROT_READ | PROT_WRITE : (int)map->protection;
    if (failed(map_at(map, protection, flags, source))) found = verdict(LINKED_BAD_ADDRESS, i);
  }
  if (fd >= 0) sys_close(fd);
  if (!overlays && found.refused == LINKED_GOOD) r->mapped = image->header->map_count;
  return found;
}

static long move(const struct move *move) {
  if (move->from == move->to) return 0;
  return sys_mremap((void *)move->from, move->size, move->size, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)move->to);
}

/*
 * The vDSO's data lies before it in one mapping or more, whose bounds only /proc would tell, and of which none can
 * be moved in part: the largest piece that can be moved is one.
 */
static int move_vdso(struct restoring *r) {
  const struct linked_header *header = r->image->header;
  u64 from = r->vdso - header->vdso_lead, to = header->vdso_at - header->vdso_lead;
  u64 left = header->vdso_lead;
  if (header->vdso_at == 0 || from == to) return 1;
  const struct linked_map whole = {.at = to, .size = left + header->vdso_size};
  if (((to | whole.size) & (PLAN_PAGE - 1)) || failed(map_at(&whole, PROT_NONE, MAP_FIXED_NOREPLACE, -1))) return 0;
  r->has_vdso_place = 1;
  for (u64 size = left; left > 0; size -= PLAN_PAGE) {
    if (size == 0) return 0;
    struct move piece = {from, to, size, 0, 0};
    if (failed(move(&piece))) continue;
    if (r->vdso_moved == VDSO_PIECES - 1) return 0;
    r->vdso_moves[r->vdso_moved++] = piece;
    from += size, to += size, left -= size;
    size = left + PLAN_PAGE;
  }
  struct move code = {r->vdso, header->vdso_at, header->vdso_size, 0, 0};
  if (failed(move(&code))) return 0;
  r->vdso_moves[r->vdso_moved++] = code;
  return 1;
}

static int move_program(struct restoring *r) {
  for (; r->moved < r->move_count; r->moved++) {
    const struct move *next = &r->moves[r->moved];
    if (failed(move(next))) return 0;
    if (next->protection != next->wanted && failed(sys_mprotect((void *)next->to, next->size, next->wanted))) {
      r->moved++;
      return 0;
    }
  }
  return 1;
}

/* In the reverse order of `restore_image`. What was kept free for a move is unmapped with the maps. */
static void undo(struct restoring *r) {
  const struct linked_header *header = r->image->header;
  while (r->moved > 0) {
    struct move *last = &r->moves[--r->moved];
    struct move back = {last->to, last->from, last->size, 0, 0};
    if (last->protection != last->wanted) sys_mprotect((void *)last->to, last->size, last->protection);
    move(&back);
  }
  while (r->vdso_moved > 0) {
    struct move *last = &r->vdso_moves[--r->vdso_moved];
    struct move back = {last->to, last->from, last->size, 0, 0};
    move(&back);
  }
  if (r->has_vdso_place)
    sys_munmap((void *)(header->vdso_at - header->vdso_lead), header->vdso_lead + header->vdso_size);
  state_undo(r);
  for (u32 i = 0; i < r->mapped; i++) {
    const struct linked_map *map = &r->image->maps[i];
    int is_in_place = is_overlaid(r, map) || (map->from == LINKED_FROM_PROGRAM && r->stays);
    if (!is_in_place) sys_munmap((void *)map->at, map->size);
  }
}

/* The program's headers are where AT_PHDR says, and say of the right program. */
static int find_program(struct restoring *r) {
  const struct linked_header *header = r->image->header;
  const struct start *start = r->start;
  r->bias = aux(start, AT_PHDR) - header->program_phdr;
  r->segments = (const struct elf_segment *)aux(start, AT_PHDR);
  r->segment_count = aux(start, AT_PHNUM);
  r->stays = r->bias == header->program_at;
  r->vdso = aux(start, AT_SYSINFO_EHDR);
  u64 low = ADDRESSES_END, high = 0;
  for (u64 i = 0; i < r->segment_count; i++) {
    const struct elf_segment *segment = &r->segments[i];
    if (segment->type != PT_LOAD) continue;
    if (segment->vaddr < low) low = segment->vaddr;
    if (segment->vaddr + segment->memsz > high) high = segment->vaddr + segment->memsz;
  }
  u64 first = low & ~(u64)(PLAN_PAGE - 1), end = (high + PLAN_PAGE - 1) & ~(u64)(PLAN_PAGE - 1);
  return !(r->bias & (PLAN_PAGE - 1)) && aux(start, AT_RANDOM) != 0 &&
         aux(start, AT_ENTRY) - r->bias == header->entry - header->program_at && first == header->program_first &&
         end - first == header->program_size;
}

struct verdict restore_image(struct image *image, struct start *start, struct jump *jump) {
  struct restoring r;
  r.image = image;
  r.start = start;
  r.mapped = r.move_count = r.moved = r.soft_count = r.vdso_moved = 0;
  r.has_vdso_place = r.has_rseq = r.has_thread = 0;
  if (!find_program(&r)) return verdict(LINKED_BAD_PROGRAM, 0);
  if (!look_through(&r)) return verdict(LINKED_BAD_IMAGE, 0);
  struct verdict found = map_table(&r, 0);
  if (found.refused == LINKED_GOOD && !state_set(&r)) found = verdict(LINKED_BAD_CALL, 0);
  if (found.refused == LINKED_GOOD && (!move_vdso(&r) || !move_program(&r))) found = verdict(LINKED_BAD_ADDRESS, 0);
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
