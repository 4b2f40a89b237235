/*
 * restore-slide.c: other addresses at each start.
 *
 * Problem. What linking made holds addresses, so an image has one set of them: who has seen one process knows where modules
 * lie in all others. The kernel chooses anew at each start.
 *
 * Example. inkscape's image has 441,009 words that hold addresses, on 1,545 pages. This start adds 0x1c3_5a80_1000 to those that
 * point into libraries and the loader, and 0x9_e310_2000 to those that point into the program.
 *
 * Method. The builder knows which words hold addresses, as they differed between its runs by as much as what they point into
 * (snapshot/compare.ts), and lists them page by page, a bit for a word. Nothing is looked up and no symbol is read: the slides, by the kernel's
 * random numbers, are added to the addresses of the head, which is this process's own from then on, so that everything behind it maps and
 * writes where it should; when all is mapped, they are added to the listed words (those of read-only pages perhaps later: page-in.c). Pages that follow each other are asked for at once, as
 * a fault for each would cost more than the additions.
 *
 * The program and all else slide by amounts of their own, as the kernel has it. Libraries and the loader keep their distances.
 *
 * Limits. Pages with addresses are each process's own: what a fixed image shares. Where the kernel has no random numbers, the program
 * starts plainly; where it was told not to place programs at random (setarch -R), the slides are 0.
 */
#include "page-in.h"
#include "restore-map.h"

#define MADV_POPULATE_WRITE 23
#define GRND_NONBLOCK 1
#define WORDS_OF_BITS (sizeof((struct linked_slid_page *)0)->words / sizeof(u64))

/* A multiple of the unit; how many places there are was checked. */
static u64 slide_of(u64 unit, u64 places, u64 random) { return random % places * unit; }

static int is_range(u64 unit, u64 places) {
  return unit > 0 && !(unit & (PLAN_PAGE - 1)) && places > 0 && places <= ADDRESSES_END / unit;
}

static int has_random(u64 *words, u64 size) {
  return sys_call3(318, (long)words, (long)size, GRND_NONBLOCK) == (long)size; /* getrandom */
}

/* What the program has lies together, and nothing else does. */
static int is_of_program(const struct linked_header *header, u64 program_at, u64 at) {
  u64 first = program_at + header->program_first;
  return at >= first && at < first + header->program_size;
}

static void slide_to(u64 *at, u64 slide) {
  if (*at != 0) *at += slide;
}

struct verdict slide_head(struct image *image, const struct start *start) {
  const struct linked_slide *slide = image->slide;
  if (slide == NULL) return verdict(LINKED_GOOD, 0);
  if (!is_range(slide->program_unit, slide->program_places) || !is_range(slide->unit, slide->places))
    return verdict(LINKED_BAD_IMAGE, 0);
  if (!has_random_addresses(start)) return verdict(LINKED_GOOD, 0);
  /* Loaders ask for no random numbers. */
  if (start->is_filtered) return verdict(LINKED_BAD_FILTER, 0);
  u64 random[2];
  if (!has_random(random, sizeof random)) return verdict(LINKED_BAD_CALL, 0);
  if (image->mapped > 0 && failed(sys_mprotect((void *)image->header, image->mapped, PROT_READ | PROT_WRITE))) return verdict(LINKED_BAD_CALL, 0);
  u64 program = image->slides[LINKED_INTO_PROGRAM] = slide_of(slide->program_unit, slide->program_places, random[0]);
  u64 rest = image->slides[LINKED_INTO_REST] = slide_of(slide->unit, slide->places, random[1]);

  struct linked_header *header = (struct linked_header *)image->header;
  u64 before = header->program_at;
  struct linked_map *maps = (struct linked_map *)image->maps;
  for (u32 i = 0; i < header->map_count; i++) maps[i].at += is_of_program(header, before, maps[i].at) ? program : rest;
  struct linked_fixup *fixups = (struct linked_fixup *)image->fixups;
  for (u32 i = 0; i < header->fixup_count; i++) fixups[i].at += is_of_program(header, before, fixups[i].at) ? program : rest;
  header->program_at += program;
  header->entry += program;
  header->phdr += program;
  header->start += rest;
  header->base += rest;
  u64 *others[] = {&header->thread_pointer, &header->tid_at, &header->robust_at, &header->rseq_at};
  for (unsigned i = 0; i < sizeof others / sizeof *others; i++)
    slide_to(others[i], is_of_program(header, before, *others[i]) ? program : rest);
  return verdict(LINKED_GOOD, 0);
}

struct slider slider_of(const struct image *image) {
  const struct linked_header *header = image->header;
  u64 from = header->program_at - image->slides[LINKED_INTO_PROGRAM] + header->program_first;
  return (struct slider){image->slid_pages, image->slide->page_count, from, from + header->program_size, {image->slides[0], image->slides[1]}};
}

u64 slid_page_at(const struct slider *slider, u32 page) {
  u64 at = slider->pages[page].at;
  int is_program = at >= slider->program_from && at < slider->program_to;
  return at + slider->slides[is_program ? LINKED_INTO_PROGRAM : LINKED_INTO_REST];
}

int slid_pages_in(const struct restoring *r, const struct linked_map *map, u32 *next) {
  const struct image *image = r->image;
  if (image->slide == NULL) return 0;
  const struct slider slider = slider_of(image);
  int pages = 0;
  for (; *next < image->slide->page_count; ++*next, pages++) {
    const struct linked_slid_page *page = &image->slid_pages[*next];
    u64 at = slid_page_at(&slider, *next);
    if (at >= map->at + map->size) break;
    if (at < map->at || (at & (PLAN_PAGE - 1)) || map->from != LINKED_FROM_PAGES || page->into > LINKED_INTO_REST) return -1;
  }
  return pages;
}

int slid_pages_are_all(const struct restoring *r, u32 next) {
  return r->image->slide == NULL || next == r->image->slide->page_count;
}

static void slide_page(const struct linked_slid_page *page, u64 at, u64 slide) {
  for (unsigned i = 0; i < WORDS_OF_BITS; i++) {
    u64 *words = (u64 *)at + 64 * i;
    for (u64 bits = page->words[i]; bits != 0; bits &= bits - 1) words[__builtin_ctzll(bits)] += slide;
  }
}

void slide_pages(const struct slider *slider, u32 first, u32 end) {
  while (first < end) {
    u64 from = slid_page_at(slider, first), after = from + PLAN_PAGE;
    u32 last = first + 1;
    for (; last < end; last++) {
      u64 at = slid_page_at(slider, last);
      if (at > after) break;
      if (at == after) after += PLAN_PAGE;
    }
    /* A kernel without it (before 5.14) gives them one by one. */
    if (after - from > PLAN_PAGE) sys_call3(28, (long)from, (long)(after - from), MADV_POPULATE_WRITE); /* madvise */
    for (; first < last; first++) {
      const struct linked_slid_page *page = &slider->pages[first];
      slide_page(page, slid_page_at(slider, first), slider->slides[page->into]);
    }
  }
}

void slide_words(const struct restoring *r, const struct page_in *later) {
  const struct image *image = r->image;
  if (image->slide == NULL || (image->slides[0] | image->slides[1]) == 0) return;
  const struct slider slider = slider_of(image);
  u32 next = 0;
  for (u32 i = 0; later != NULL && i < later->region_count; i++) {
    slide_pages(&slider, next, later->regions[i].first);
    next = later->regions[i].end;
  }
  slide_pages(&slider, next, slider.count);
}
