/*
 * restore-move.c: moves what the kernel has mapped to where the image has it: the program, and the vDSO where that is cheaper
 * than to write the words that point into it. Under a filter nothing is moved, as loaders do not: the program is mapped once more.
 */
#include "restore-map.h"

/*
 * Newer kernels (6.17) move several mappings at once. One that fails when some are moved leaves nothing that a
 * program could be started from.
 */
static int move(u64 from, u64 to, u64 size) {
  u8 page;
  if (!failed(sys_mremap((void *)from, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)to))) return 1;
  if (sys_mincore((void *)from, PLAN_PAGE, &page) == -ENOMEM) sys_exit(127);
  return 0;
}

/* How many moves from the first on can be made as one. */
static u32 moves_in_run(const struct restoring *r, u32 first, u64 *size) {
  const struct move *moves = r->moves;
  u32 end = first + 1;
  for (; end < r->move_count; end++)
    if (moves[end].to != moves[end - 1].to + moves[end - 1].size || moves[end].from != moves[end - 1].from + moves[end - 1].size)
      break;
  *size = moves[end - 1].to + moves[end - 1].size - moves[first].to;
  return end - first;
}

/* Where in its file the kernel found what it mapped there; the file ends with the page. */
static long place_in_file(const struct restoring *r, const struct move *move) {
  u64 rva = move->from - r->bias;
  for (u64 i = 0; i < r->segment_count; i++) {
    const struct elf_segment *segment = &r->segments[i];
    u64 first = segment->vaddr & ~(u64)(PLAN_PAGE - 1), end = segment->vaddr + segment->filesz;
    if (segment->type != PT_LOAD || rva < first || rva + move->size > ((end + PLAN_PAGE - 1) & ~(u64)(PLAN_PAGE - 1))) continue;
    return (long)(segment->offset - (segment->vaddr - first) + (rva - first));
  }
  return -1;
}

/* Under a filter: the same pages from the same file. What was kept free for them is unmapped when it is undone. */
static int map_program_again(struct restoring *r) {
  if (r->stays || r->move_count == 0) return 1;
  int fd = (int)sys_open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  int good = 1;
  for (u32 i = 0; i < r->move_count && good; i++) {
    const struct move *move = &r->moves[i];
    long offset = place_in_file(r, move);
    struct linked_map again = {.at = move->to, .size = move->size, .offset = (u64)offset};
    good = offset >= 0 && !failed(map_at(&again, move->wanted, MAP_FIXED, fd));
  }
  sys_close(fd);
  return good;
}

int move_program(struct restoring *r) {
  if (r->is_filtered && !r->stays) return map_program_again(r);
  while (!r->stays && r->moved < r->move_count) {
    u64 size;
    u32 count = moves_in_run(r, r->moved, &size);
    const struct move *first = &r->moves[r->moved];
    if (count > 1 && move(first->from, first->to, size)) {
      r->moved += count;
      continue;
    }
    /* One after another. */
    for (; count > 0; count--, r->moved++) {
      const struct move *next = &r->moves[r->moved];
      if (!move(next->from, next->to, next->size)) return 0;
    }
  }
  for (; r->protected < r->move_count; r->protected++) {
    const struct move *next = &r->moves[r->protected];
    if (next->protection != next->wanted && failed(sys_mprotect((void *)next->to, next->size, next->wanted))) return 0;
  }
  return 1;
}

void move_program_back(struct restoring *r) {
  while (r->protected > 0) {
    const struct move *last = &r->moves[--r->protected];
    if (last->protection != last->wanted) sys_mprotect((void *)last->to, last->size, last->protection);
  }
  while (r->moved > 0) {
    const struct move *last = &r->moves[--r->moved];
    move(last->to, last->from, last->size);
  }
}

/* Pages on which nothing but pointers into the vDSO is to be written. */
static u32 vdso_pages(const struct image *image) {
  u32 pages = 0;
  u64 last = 0;
  for (u32 i = 0; i < image->header->fixup_count; i++) {
    u64 page = image->fixups[i].at / PLAN_PAGE;
    pages += image->fixups[i].kind == LINKED_IN_VDSO && page != last;
    last = page;
  }
  return pages;
}

/*
 * To write to a page costs a fault, and two calls where it is read-only afterwards: 5 us each; to move the vDSO about 25.
 * Kernels that seal it, and those before 6.17, which do not move it as one with its data, refuse.
 */
int move_vdso(const struct restoring *r) {
  const struct linked_header *header = r->image->header;
  u64 now = aux(r->start, AT_SYSINFO_EHDR);
  /* Its place is random, and a page of a slid image that points into it has addresses to be written as a rule. */
  if (r->image->slide != NULL) return 0;
  if (r->is_filtered || header->vdso_at == 0 || now == header->vdso_at || vdso_pages(r->image) < VDSO_PAGES_MOST) return 0;
  struct linked_map room = {.at = header->vdso_at - header->vdso_lead, .size = header->vdso_lead + header->vdso_size};
  u64 end = room.at + room.size;
  if ((room.at | room.size) & (PLAN_PAGE - 1) || end > ADDRESSES_END || end < room.at) return 0;
  if (failed(map_at(&room, PROT_NONE, MAP_FIXED_NOREPLACE, -1))) return 0;
  if (move(now - header->vdso_lead, room.at, room.size)) return 1;
  sys_munmap((void *)room.at, room.size);
  return 0;
}

void move_vdso_back(struct restoring *r) {
  const struct linked_header *header = r->image->header;
  u64 size = header->vdso_lead + header->vdso_size;
  if (r->moves_vdso) move(header->vdso_at - header->vdso_lead, aux(r->start, AT_SYSINFO_EHDR) - header->vdso_lead, size);
  r->moves_vdso = 0;
}
