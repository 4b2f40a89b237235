/* prefetch.h: what the launcher asks of prefetch.c. */
#ifndef WINNOW_PREFETCH_H
#define WINNOW_PREFETCH_H

#include "plan.h"

/* The head of a plan is whole and of this version; `have` bytes of it are at `head`, of a file of `size`. */
int plan_head_is_good(const struct plan_header *head, u64 have, u64 size);

/* Whether the pages of the probes are in memory; `random` chooses where to begin, `user` is who asks. */
int plan_is_warm(const struct plan_header *head, u64 random, u32 user);

/* Starts to fetch what the plan says and returns soon; never fails loudly. */
struct prefetch {
  int fd; /* the plan's file */
  const struct plan_header *head;
  const char *misses; /* path of plan.misses, for the user */
  u32 user;
};
void prefetch_start(const struct prefetch *prefetch);

#endif
