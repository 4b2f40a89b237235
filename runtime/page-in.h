/* page-in.h: pages whose words are slid when they are touched; for page-in.c, page-in-calls.c and restore-page-in.c. */
#ifndef WINNOW_PAGE_IN_H
#define WINNOW_PAGE_IN_H

#include "share.h"
#include "signals.h"

#define CLUSTER (16ull << 10)
#define SIGNAL_STACK (64ul << 10)

#define BIT_OF(signal) (1ull << ((signal) - 1))
/* Signals whose actions are ours for a while: where a program has to do with one of them, that while is over. */
#define OUR_SIGNALS \
  (BIT_OF(SIGSEGV) | BIT_OF(SIGSYS) | BIT_OF(SIGVTALRM) | BIT_OF(SIGILL) | BIT_OF(SIGBUS) | BIT_OF(SIGFPE))

/* Where words are, and what is added to them. */
struct slider {
  const struct linked_slid_page *pages;
  u32 count;
  u64 program_from, program_to; /* the program's part of the addresses in `pages` */
  u64 slides[2];                /* by LINKED_INTO_… */
};

/* The address of a page here. */
u64 slid_page_at(const struct slider *slider, u32 page);
/* Adds to the words of pages that can be written. */
void slide_pages(const struct slider *slider, u32 first, u32 end);

/* Pages that follow each other, have one protection and hold no fix-up. */
struct page_in_region {
  u64 at;
  u64 size;
  u32 first, end; /* slid pages */
  u32 bit;        /* of its first cluster */
  u32 protection;
};

/* Lies behind the stack of our handlers, whose address the kernel gives back to each of them. */
struct page_in {
  struct slider slider;
  void *head; /* of the image, as long as its table is needed; NULL: the table has been copied */
  u64 head_size;
  u64 actions[SIGSYS + 1][4]; /* struct sys_sigaction of our signals, as the program has them; none has a handler */
  u32 calls, touches; /* that may still come */
  u32 region_count;
  u32 region_room;
  u32 cluster_count;
  u64 size; /* bytes of this and of what follows it */
  u64 *done;  /* a bit for each cluster */
  struct page_in_region *regions; /* ascending by address */
};

static inline struct page_in *page_in_of(const struct sys_ucontext *context) {
  return (struct page_in *)(context->stack[0] + SIGNAL_STACK);
}

/* Clusters are blocks of addresses, cut by the region. */
static inline u32 clusters_of(const struct page_in_region *region) {
  return (u32)((region->at + region->size - 1) / CLUSTER - region->at / CLUSTER + 1);
}

/* restore-page-in.c */
struct restoring;
/* What may be left for later, our handlers set; NULL: nothing. */
struct page_in *page_in_plan(struct restoring *r);
/* All else is done: from here on touches and system calls come to us. */
void page_in_begin(struct page_in *later);

/* page-in.c */
typedef void page_in_handler(int signal, struct sys_siginfo *info, struct sys_ucontext *context);
page_in_handler page_in_on_fault, page_in_on_call, page_in_on_other;
void page_in_return(void); /* the end of our handlers */
/* The slides of all pages that are left. */
void page_in_all(struct page_in *later);
/* Slides what lies between; whether anything did. */
int page_in_range(struct page_in *later, u64 from, u64 to);
/* 8 bytes of the program's memory; 0 where they cannot be read. */
int page_in_peek(u64 at, u64 *value);

/* page-in-calls.c */
enum page_in_answer {
  PAGE_IN_ENDS,
  PAGE_IN_MAY_CALL,
  PAGE_IN_IS_DONE, /* its result is 0 */
};
/* Whether a system call may be made while pages are left; slides those that it may read or write. */
enum page_in_answer page_in_may_call(struct page_in *later, const struct sys_siginfo *info, const struct sys_ucontext *context);

#endif
