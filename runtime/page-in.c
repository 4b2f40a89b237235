/*
 * page-in.c: words of read-only pages are slid when an instruction touches them.
 *
 * Problem. A start that slides writes every page with addresses, most of which a short run never looks at; but a page that is not as it
 * will be must not be seen by anybody.
 *
 * Example. Of 3,068 read-only pages that chromium's start leaves `chromium --version` touches 65. They begin inaccessible; the first
 * touch of a virtual table raises SIGSEGV, whose handler slides the 16 KiB around it, and the instruction is made again.
 *
 * Method. Who reads a page is not always the program's own instruction, so nothing else may come to pass as long as pages are left. Each system call of the
 * process, wherever its instruction stands, comes to us first (Syscall User Dispatch, Linux 5.11). Those that are known to read and write nothing but what
 * their registers point to are made, once what they point to is slid (page-in-calls.c). At any other one all that is left is slid,
 * our handlers are taken away, and the process is one of an ordinary sliding start from then on: so before it has a second thread or a child,
 * executes another program, sets or blocks one of our signals, asks for its own mappings, waits for events. The same at the
 * first fault that is none of ours, and after a tenth of a second of its own computing. A signal costs three times what a page does that is slid at the
 * start: after so many calls and touches that much of the saving is gone, page-in ends too.
 *
 *     kernel: SIGSYS  ->  page_in_on_call  ->  back to `page_in_call: syscall; ret $128`, which goes on behind the program's instruction
 *
 * A call is not made by the handler, but after it, on the program's stack, with its mask of signals: it waits, is interrupted
 * and restarted as it would be.
 *
 * Limits. A debugger that attaches meanwhile, or somebody who reads the process's memory, sees words that are not slid, and our signals; a core file that
 * somebody causes from outside lacks pages that were left. Of a call made by us a debugger sees no caller. /proc/self/maps by a path that does not begin
 * with /proc shows pages without rights, and /proc/self/stat has our signals among the caught ones. The kernel must not read constants at a time of its own (rseq): the builder looks for it.
 */
#include "page-in.h"

#include "restore.h"

#define PR_SET_SYSCALL_USER_DISPATCH 59
#define SI_KERNEL 0x80
#define SYS_USER_DISPATCH 2
#define SS_DISABLE 2
#define RED_ZONE 128
#define SYSCALL_SIZE 2 /* bytes of syscall, sysenter and int $0x80 */

extern const u8 page_in_call[] __attribute__((visibility("hidden")));
extern const u8 page_in_peek_load[] __attribute__((visibility("hidden")));
extern const u8 page_in_peek_failed[] __attribute__((visibility("hidden")));

__asm__(
    ".pushsection .text\n"
    /* Unwinders and debuggers know a signal's frame by these two instructions. */
    ".globl page_in_return\n"
    ".hidden page_in_return\n"
    "page_in_return:\n"
    "  mov $15, %rax\n"
    "  syscall\n"
    /* Nothing is written between the program's stack pointer and the red zone's end. */
    ".globl page_in_call\n"
    ".hidden page_in_call\n"
    "page_in_call:\n"
    "  syscall\n"
    "  ret $128\n"
    /* (stack_t, stack pointer): sigaltstack from another stack, as it takes none away on which it is called. */
    "page_in_set_stack:\n"
    "  mov %rsp, %rdx\n"
    "  mov %rsi, %rsp\n"
    "  xor %esi, %esi\n"
    "  mov $131, %eax\n"
    "  syscall\n"
    "  mov %rdx, %rsp\n"
    "  ret\n"
    ".globl page_in_peek\n"
    ".hidden page_in_peek\n"
    "page_in_peek:\n"
    ".globl page_in_peek_load\n"
    ".hidden page_in_peek_load\n"
    "page_in_peek_load:\n"
    "  mov (%rdi), %rax\n"
    "  mov %rax, (%rsi)\n"
    "  mov $1, %eax\n"
    "  ret\n"
    ".globl page_in_peek_failed\n"
    ".hidden page_in_peek_failed\n"
    "page_in_peek_failed:\n"
    "  xor %eax, %eax\n"
    "  ret\n"
    ".popsection\n");

long page_in_set_stack(const unsigned long *stack, unsigned long from) __attribute__((visibility("hidden")));

static int is_done(const struct page_in *later, u32 bit) { return later->done[bit / 64] >> bit % 64 & 1; }

/* The first slid page of a region at an address or behind it. */
static u32 page_from(const struct page_in *later, const struct page_in_region *region, u64 at) {
  u32 low = region->first, high = region->end;
  while (low < high) {
    u32 middle = low + (high - low) / 2;
    if (slid_page_at(&later->slider, middle) < at)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/* What goes on without these pages would go on with wrong ones. */
static void protect(u64 at, u64 size, int protection) {
  if (failed(sys_mprotect((void *)at, size, protection))) sys_exit(127);
}

/* A cluster whose pages can be written. */
static void slide_cluster(struct page_in *later, const struct page_in_region *region, u32 index) {
  u32 bit = region->bit + index;
  u64 from = (region->at / CLUSTER + index) * CLUSTER;
  slide_pages(&later->slider, page_from(later, region, from), page_from(later, region, from + CLUSTER));
  later->done[bit / 64] |= 1ull << bit % 64;
}

/* Opens and closes a whole region at once; where only one cluster is asked for, that. */
static int slide_clusters(struct page_in *later, const struct page_in_region *region, u32 first, u32 end) {
  while (first < end && is_done(later, region->bit + first)) first++;
  while (first < end && is_done(later, region->bit + end - 1)) end--;
  if (first == end) return 0;
  u64 from = (region->at / CLUSTER + first) * CLUSTER, to = (region->at / CLUSTER + end) * CLUSTER;
  if (from < region->at) from = region->at;
  if (to > region->at + region->size) to = region->at + region->size;
  protect(from, to - from, PROT_READ | PROT_WRITE);
  for (u32 i = first; i < end; i++)
    if (!is_done(later, region->bit + i)) slide_cluster(later, region, i);
  protect(from, to - from, (int)region->protection);
  return 1;
}

int page_in_range(struct page_in *later, u64 from, u64 to) {
  u32 low = 0, high = later->region_count;
  int found = 0;
  while (low < high) {
    u32 middle = low + (high - low) / 2;
    if (later->regions[middle].at + later->regions[middle].size <= from)
      low = middle + 1;
    else
      high = middle;
  }
  for (; low < later->region_count && later->regions[low].at < to; low++) {
    const struct page_in_region *region = &later->regions[low];
    u64 first = from > region->at ? from : region->at;
    u64 last = to < region->at + region->size ? to - 1 : region->at + region->size - 1;
    found |= slide_clusters(later, region, (u32)(first / CLUSTER - region->at / CLUSTER),
                            (u32)(last / CLUSTER - region->at / CLUSTER) + 1);
  }
  return found;
}

void page_in_all(struct page_in *later) {
  for (u32 i = 0; i < later->region_count; i++) slide_clusters(later, &later->regions[i], 0, clusters_of(&later->regions[i]));
}

/* As it was sent, for whom it was meant. */
static void send_again(const struct sys_siginfo *info) {
  sys_call4(297, sys_getpid(), sys_call3(186, 0, 0, 0), info->signal, (long)info); /* rt_tgsigqueueinfo, gettid */
}

/* The timer's signal may wait; somebody else's must not be lost with it. All signals are blocked here. */
static void drop_timer(void) {
  u64 none[4] = {0};
  sys_call3(38, ITIMER_VIRTUAL, (long)none, 0); /* setitimer */
  u64 wanted = BIT_OF(SIGVTALRM);
  u64 room[16];
  struct sys_siginfo *info = (struct sys_siginfo *)room;
  u64 now[2] = {0};
  long got = sys_call4(128, (long)&wanted, (long)info, (long)now, 8); /* rt_sigtimedwait */
  if (got == SIGVTALRM && info->code != SI_KERNEL) send_again(info);
}

static void let_go(const struct page_in *later) {
  sys_prctl(PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0);
  for (int signal = 1; signal <= SIGSYS; signal++)
    if (signal != SIGVTALRM && (OUR_SIGNALS & BIT_OF(signal))) sys_sigaction(signal, (const struct sys_sigaction *)later->actions[signal], NULL);
  drop_timer();
  sys_sigaction(SIGVTALRM, (const struct sys_sigaction *)later->actions[SIGVTALRM], NULL);
}

/* In a handler: it is the last one. The stack that it stands on stays mapped. */
static void finish(struct page_in *later, struct sys_ucontext *context) {
  page_in_all(later);
  let_go(later);
  /* Kernels look at these when the handler returns, newer ones too early: while it is still on that stack. */
  context->stack[0] = context->stack[2] = 0;
  context->stack[1] = SS_DISABLE;
  page_in_set_stack(context->stack, context->registers[REG_RSP]);
  if (later->head != NULL) sys_munmap(later->head, later->head_size);
  sys_munmap(later, later->size);
}

void page_in_on_fault(int signal, struct sys_siginfo *info, struct sys_ucontext *context) {
  (void)signal;
  struct page_in *later = page_in_of(context);
  if (info->code > 0 && info->code != SI_KERNEL && page_in_range(later, info->address, info->address + 1)) {
    if (later->touches > 0)
      later->touches--;
    else
      finish(later, context);
    return;
  }
  if (info->code > 0 && context->registers[REG_RIP] == (unsigned long)page_in_peek_load) {
    context->registers[REG_RIP] = (unsigned long)page_in_peek_failed;
    return;
  }
  /* A fault comes again, to nobody. */
  finish(later, context);
  if (info->code <= 0) send_again(info);
}

void page_in_on_other(int signal, struct sys_siginfo *info, struct sys_ucontext *context) {
  (void)signal;
  finish(page_in_of(context), context);
  if (info->code <= 0) send_again(info);
}

void page_in_on_call(int signal, struct sys_siginfo *info, struct sys_ucontext *context) {
  (void)signal;
  struct page_in *later = page_in_of(context);
  enum page_in_answer answer = PAGE_IN_ENDS;
  if (info->code == SYS_USER_DISPATCH && later->calls > 0) answer = page_in_may_call(later, info, context);
  if (answer != PAGE_IN_ENDS) later->calls--;
  if (answer == PAGE_IN_IS_DONE) {
    context->registers[REG_RAX] = 0;
    return;
  }
  if (answer == PAGE_IN_MAY_CALL) {
    u64 *stack = (u64 *)(context->registers[REG_RSP] - RED_ZONE - sizeof(u64));
    *stack = context->registers[REG_RIP];
    context->registers[REG_RSP] = (unsigned long)stack;
    context->registers[REG_RIP] = (unsigned long)page_in_call;
    return;
  }
  finish(later, context);
  if (info->code <= 0)
    send_again(info);
  else
    context->registers[REG_RIP] -= SYSCALL_SIZE; /* rax has its number again */
}
