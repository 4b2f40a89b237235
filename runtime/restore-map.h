/* restore-map.h: a restoring under way, for restore-map.c, restore-move.c and restore-state.c. */
#ifndef WINNOW_RESTORE_MAP_H
#define WINNOW_RESTORE_MAP_H

#include "page-in.h"
#include "restore.h"

#define MOVES_MAX 64
#define VDSO_PAGES_MOST 10
#define ADDRESSES_END (1ull << 47)

struct move {
  u64 from;
  u64 to;
  u64 size;
  int protection; /* as it was */
  int wanted;
};

struct restoring {
  struct image *image;
  struct start *start;
  u64 bias; /* where the kernel put the program */
  const struct elf_segment *segments;
  u64 segment_count;
  int stays;  /* the program is at its place already */
  int is_filtered; /* system calls are */
  int moves_vdso; /* to where the image has it; else the words that point into it are written */
  u64 end;    /* of the highest map */
  u32 mapped; /* maps of the table before this one are done */
  u64 soft[LINKED_MAPS_MAX / 64]; /* a bit for each map: it is writable until all is written */
  struct move moves[MOVES_MAX]; /* of the program's pages */
  u32 move_count;
  u32 moved;
  u32 protected; /* of them, those whose protection is the wanted one */
  u64 reserved_from;
  u64 reserved; /* the end of the place that is kept for the last of them */
  int has_thread;
  int has_rseq;
};

static inline int is_soft(const struct restoring *r, u32 map) { return r->soft[map / 64] >> map % 64 & 1; }

/*
 * How many pages with words that slide are in the map; `next` is the first one that is behind the maps before. -1: not all of
 * them lie where they may.
 */
int slid_pages_in(const struct restoring *r, const struct linked_map *map, u32 *next);
int slid_pages_are_all(const struct restoring *r, u32 next);
/* All is mapped, and they can be written. Those that are left for later are not. */
void slide_words(const struct restoring *r, const struct page_in *later);

struct slider slider_of(const struct image *image);

/* Maps where nothing is, if the flags say so; an address or an error. `fd` -1: anonymous memory. */
long map_at(const struct linked_map *map, int protection, int flags, int fd);

/* Whether a map is laid over a program that is at its place. */
int is_overlaid(const struct restoring *r, const struct linked_map *map);

/* How map `i` is protected until all is written. */
int first_protection(const struct restoring *r, u32 i);
/* The end of the maps from `first` on that can be made together. */
u32 group_end(const struct restoring *r, u32 first, int overlays);
/* Makes them. 0 if not all could be: r->mapped says what is there. */
int map_group(struct restoring *r, u32 first, u32 end, int flags, int fd);

/* 0 if not all could be moved: then it is to be moved back. */
int move_program(struct restoring *r);
void move_program_back(struct restoring *r);
/* Whether the vDSO has been moved. */
int move_vdso(const struct restoring *r);
void move_vdso_back(struct restoring *r);

/* What the kernel keeps of a thread and can refuse: its pointer, rseq. 0 if it did. */
int state_set(struct restoring *r);
void state_undo(struct restoring *r);
/* The rest: what cannot fail. */
void state_finish(struct restoring *r);

#endif
