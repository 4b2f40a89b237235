/*
 * restore-page-in.c: what a start leaves to be slid when it is touched (page-in.c), and how that begins.
 *
 * Left are read-only pages that hold addresses and no fix-up, where enough of them follow each other: each stretch costs calls of its own. Nothing is left
 * where a signal of ours is not as exec leaves it for most programs, to a tracer, and where the kernel cannot
 * show us system calls: these are ordinary starts with a slide.
 */
#include "page-in.h"
#include "restore-map.h"

#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PR_SYS_DISPATCH_ON 1
#define SS_DISABLE 2
/* One page that is left saves what two calls for its stretch cost; a signal costs that of three. */
#define REGION_LEAST 4u
#define PAGES_LEAST 32u
/* What they cost is at most half of what could be saved. */
#define PAGES_OF_CALL 12u
#define CLUSTERS_OF_TOUCH 6u
#define TIMER_US 100000u
#define FRAME_MOST (16ul << 10)

extern const u8 restore_text_end[] __attribute__((visibility("hidden")));
void _start(void);

struct stack {
  u64 at;
  int flags;
  u64 size;
};

static long set_stack(const struct stack *next, struct stack *previous) {
  return sys_call3(131, (long)next, (long)previous, 0); /* sigaltstack */
}

/* Slid pages of a map; `next` is the first one that is not in maps before. */
static u32 pages_in(const struct slider *slider, const struct linked_map *map, u32 *next) {
  while (*next < slider->count && slid_page_at(slider, *next) < map->at) ++*next;
  u32 first = *next;
  while (*next < slider->count && slid_page_at(slider, *next) < map->at + map->size) ++*next;
  return first;
}

/* `next` is the first fix-up that is not before the page: they ascend, as pages do that are asked for. */
static int has_fixup(const struct image *image, u64 page, u32 *next) {
  const struct linked_fixup *fixups = image->fixups;
  while (*next < image->header->fixup_count && fixups[*next].at + fixups[*next].size <= page) ++*next;
  return *next < image->header->fixup_count && fixups[*next].at < page + PLAN_PAGE;
}

static u64 cluster_room(u64 pages, u64 regions) { return 2 * (pages + regions); }

static void add_region(struct page_in *later, const struct slider *slider, u32 first, u32 end, u32 protection) {
  if (end - first < REGION_LEAST || later->region_count == later->region_room) return;
  struct page_in_region *region = &later->regions[later->region_count];
  u64 at = slid_page_at(slider, first);
  *region = (struct page_in_region){at, slid_page_at(slider, end - 1) + PLAN_PAGE - at, first, end, later->cluster_count, protection};
  /* Only a damaged table has pages so far from each other. */
  if (region->size > cluster_room(slider->count, 0) * CLUSTER) return;
  if (later->cluster_count + clusters_of(region) > cluster_room(slider->count, later->region_room)) return;
  later->cluster_count += clusters_of(region);
  later->region_count++;
}

/* The stretches of a map between pages with fix-ups. */
static void add_regions(const struct image *image, struct page_in *later, const struct linked_map *map, u32 first, u32 end, u32 *fixup) {
  const struct slider *slider = &later->slider;
  u32 from = first;
  for (u32 i = first; i < end; i++) {
    if (!has_fixup(image, slid_page_at(slider, i), fixup)) continue;
    add_region(later, slider, from, i, map->protection);
    while (i + 1 < end && slid_page_at(slider, i + 1) == slid_page_at(slider, i)) i++;
    from = i + 1;
  }
  add_region(later, slider, from, end, map->protection);
}

/* A word of a region may be none of a page that is listed: a fix-up between two listed pages. */
static int is_free_of_fixups(const struct image *image, const struct page_in_region *region) {
  for (u32 i = 0; i < image->header->fixup_count; i++)
    if (image->fixups[i].at + image->fixups[i].size > region->at && image->fixups[i].at < region->at + region->size) return 0;
  return 1;
}

static void drop_regions_with_fixups(const struct image *image, struct page_in *later) {
  u32 kept = 0;
  for (u32 i = 0; i < later->region_count; i++)
    if (is_free_of_fixups(image, &later->regions[i])) later->regions[kept++] = later->regions[i];
  later->region_count = kept;
}

static u32 pages_left(const struct page_in *later) {
  u32 pages = 0;
  for (u32 i = 0; i < later->region_count; i++) pages += later->regions[i].end - later->regions[i].first;
  return pages;
}

static void find_regions(const struct restoring *r, struct page_in *later) {
  const struct image *image = r->image;
  u32 next = 0, fixup = 0;
  for (u32 i = 0; i < image->header->map_count; i++) {
    const struct linked_map *map = &image->maps[i];
    if (!is_soft(r, i) || map->from != LINKED_FROM_PAGES || map->protection != PROT_READ) continue;
    u32 first = pages_in(&later->slider, map, &next);
    add_regions(image, later, map, first, next, &fixup);
  }
  drop_regions_with_fixups(image, later);
}

static int is_ordinary_mask(void) {
  u64 mask = 0;
  return sys_sigprocmask(0, NULL, &mask) >= 0 && !(mask & OUR_SIGNALS);
}

/* It outlives exec. */
static int has_timer(void) {
  u64 timer[4] = {0};
  return sys_call3(36, ITIMER_VIRTUAL, (long)timer, 0) < 0 || (timer[2] | timer[3]) != 0; /* getitimer */
}

static page_in_handler *handler_of(int signal) {
  return signal == SIGSEGV ? page_in_on_fault : signal == SIGSYS ? page_in_on_call : page_in_on_other;
}

/* 0: one had another action than most programs begin with; those before it are as they were. */
static int set_handlers(void) {
  for (int signal = 1; signal <= SIGSYS; signal++) {
    if (!(OUR_SIGNALS & BIT_OF(signal))) continue;
    /* Nothing but the loads of what a program points to faults in a handler. */
    struct sys_sigaction previous, ours = {(unsigned long)handler_of(signal), SA_SIGINFO | SA_ONSTACK | SA_RESTORER | SA_RESTART,
                                           (unsigned long)page_in_return, ~BIT_OF(SIGSEGV)};
    long done = sys_sigaction(signal, &ours, &previous);
    if (done >= 0 && previous.handler == SIG_DFL) continue;
    if (done >= 0) sys_sigaction(signal, &previous, NULL);
    return signal;
  }
  return 0;
}

static void take_handlers_back(int end) {
  const struct sys_sigaction none = {SIG_DFL, 0, 0, 0};
  for (int signal = 1; signal < end; signal++)
    if (OUR_SIGNALS & BIT_OF(signal)) sys_sigaction(signal, &none, NULL);
}

static int dispatch(void) {
  u64 from = (u64)_start, to = (u64)restore_text_end;
  return sys_prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, from, to - from, 0) >= 0;
}

/* Handlers, their stack, and the calls; none of them if one is not to be had. Our own calls are not dispatched. */
static int set_up(u64 memory) {
  struct stack stack = {memory, 0, SIGNAL_STACK}, before;
  if (!is_ordinary_mask() || has_timer() || set_stack(&stack, &before) < 0) return 0;
  int at = before.flags == SS_DISABLE ? set_handlers() : 1;
  if (at == 0 && dispatch()) return 1;
  take_handlers_back(at == 0 ? SIGSYS + 1 : at);
  set_stack(&before, NULL);
  return 0;
}

static u64 memory_size(const struct image *image) {
  u64 rooms = image->header->map_count + image->header->fixup_count;
  u64 clusters = cluster_room(image->slide->page_count, rooms);
  u64 table = image->mapped > 0 ? 0 : image->slide->page_count * sizeof *image->slid_pages;
  u64 size = SIGNAL_STACK + sizeof(struct page_in) + rooms * sizeof(struct page_in_region) + (clusters / 64 + 1) * 8 + table;
  return (size + PLAN_PAGE - 1) & ~(u64)(PLAN_PAGE - 1);
}

static struct page_in *lay_out(struct restoring *r, u64 memory) {
  struct image *image = r->image;
  struct page_in *later = (struct page_in *)(memory + SIGNAL_STACK);
  later->slider = slider_of(image);
  later->region_room = image->header->map_count + image->header->fixup_count;
  later->regions = (struct page_in_region *)(later + 1);
  later->done = (u64 *)(later->regions + later->region_room);
  find_regions(r, later);
  later->calls = pages_left(later) / PAGES_OF_CALL;
  later->touches = later->cluster_count / CLUSTERS_OF_TOUCH;
  return later;
}

/* The table outlives the image's head. */
static void keep_table(struct image *image, struct page_in *later) {
  if (image->mapped > 0) {
    later->head = (void *)image->header;
    later->head_size = image->mapped;
    image->is_kept = 1;
    return;
  }
  u64 *to = later->done + cluster_room(later->slider.count, later->region_room) / 64 + 1;
  const u64 *from = (const u64 *)later->slider.pages;
  for (u64 i = 0; i < later->slider.count * sizeof *later->slider.pages / sizeof *to; i++) to[i] = from[i];
  later->slider.pages = (const struct linked_slid_page *)to;
}

struct page_in *page_in_plan(struct restoring *r) {
  struct image *image = r->image;
  if (!(image->header->flags & LINKED_PAGE_IN) || (image->slides[0] | image->slides[1]) == 0) return NULL;
  if (r->is_filtered || r->start->is_traced || aux(r->start, AT_MINSIGSTKSZ) > FRAME_MOST) return NULL;
  u64 size = memory_size(image);
  long memory = sys_mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (failed(memory)) return NULL;
  struct page_in *later = lay_out(r, (u64)memory);
  if (pages_left(later) < PAGES_LEAST || !set_up((u64)memory)) {
    sys_munmap((void *)memory, size);
    return NULL;
  }
  keep_table(image, later);
  later->size = size - SIGNAL_STACK;
  return later;
}

void page_in_begin(struct page_in *later) {
  int all = 1;
  for (u32 i = 0; i < later->region_count; i++)
    all &= !failed(sys_mprotect((void *)later->regions[i].at, later->regions[i].size, PROT_NONE));
  u64 timer[4] = {0, 0, 0, TIMER_US};
  sys_call3(38, ITIMER_VIRTUAL, (long)timer, 0); /* setitimer */
  /* Protections that are not to be had: nothing is left. */
  if (!all) page_in_all(later);
}
