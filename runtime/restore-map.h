/* restore-map.h: a restoring under way, for restore-map.c and restore-state.c. */
#ifndef WINNOW_RESTORE_MAP_H
#define WINNOW_RESTORE_MAP_H

#include "restore.h"

#define MOVES_MAX 64
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
  u32 mapped; /* maps of the table before this one are done */
  u32 soft[LINKED_FIXUPS_MAX]; /* maps that are writable until the fix-ups are done, ascending */
  u32 soft_count;
  struct move moves[MOVES_MAX]; /* of the program's pages */
  u32 move_count;
  u32 moved;
  u32 protected; /* of them, those whose protection is the wanted one */
  u64 reserved_from;
  u64 reserved; /* the end of the place that is kept for the last of them */
  int has_thread;
  int has_rseq;
};

/* What the kernel keeps of a thread and can refuse: its pointer, rseq. 0 if it did. */
int state_set(struct restoring *r);
void state_undo(struct restoring *r);
/* The rest: what cannot fail. */
void state_finish(struct restoring *r);

#endif
