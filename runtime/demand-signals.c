/*
 * demand-signals.c: a program may do with SIGSEGV what it always did, while the kernel has our handler.
 *
 * Problem: a program's own handler would take ours away, and a fault in a thread that blocks SIGSEGV kills.
 *
 * Example: PetscInitialize sets a handler for SIGSEGV; a later call of unused code must come here, and a later
 * access to address 0 must go there. A signal handler with sigfillset in its sa_mask calls unused code.
 *
 * Method: in libc, the system call instructions of sigaction, sigprocmask and the waits with a mask are replaced by
 * jumps to here (the seven bytes `mov $N, %eax; syscall`), so that arguments, results and errno stay libc's business.
 * What is set for SIGSEGV is kept here and given back when it is asked for; SIGSEGV never gets into a mask. Which
 * threads would have it blocked is kept by thread pointer, for what happens at a real fault.
 *
 * vfork's children share this memory and not their parent's actions: they are told apart by their number, and what
 * they set counts at exec only.
 *
 * Limits: a SIGSEGV that is sent to a thread that has it blocked arrives at once. A new thread counts as not
 * having it blocked, whatever its maker had. libc's own blocking of everything, around the making and ending of threads and
 * processes, is left alone: only libc runs there, and libc is never stored. sigtimedwait and signalfd are left alone.
 *
 * Over 300 lines: the hooks share one table of actions and one of blocked threads, which nobody else may touch.
 */
#include "demand.h"

#define SIG_BLOCK 0
#define SIG_UNBLOCK 1
#define BLOCKED_MAX 1024u
#define SITES_MAX 32
#define ACTIONS_KEPT 64u
#define TID_IN_THREAD 0x2d0 /* struct pthread of glibc on x86-64; elsewhere some other word, which is as good */

#define SYS_rt_sigaction 13
#define SYS_rt_sigprocmask 14
#define SYS_rt_sigsuspend 130
#define SYS_pselect6 270
#define SYS_ppoll 271
#define SYS_epoll_pwait 281
#define SYS_epoll_pwait2 441

static demand_handler *our_handler;

/* The program's action. A reader in another thread has time to copy it before its place is used again. */
static struct sys_sigaction actions[ACTIONS_KEPT];
static u32 action_count;
static const struct sys_sigaction *program_action = &actions[0];

static u64 masks_with_segv; /* a bit for each signal whose sa_mask has SIGSEGV */

struct blocked {
  unsigned long thread; /* 0: free */
  u32 tid;
};
static struct blocked blocked[BLOCKED_MAX];
static u32 blocked_count; /* places that were ever used */
static int blocked_at_start;

/* Wiped by fork: whose actions are in the kernel. */
static int *owner;
static int vfork_child, vfork_ignores;

void signals_return(void);
__asm__(
    ".pushsection .text\n"
    ".globl signals_return\n"
    ".hidden signals_return\n"
    /* Unwinders and debuggers know a signal's frame by these two instructions. */
    "signals_return:\n"
    "  mov $15, %rax\n"
    "  syscall\n"
    ".popsection\n");

static unsigned long this_thread(void) {
  unsigned long thread;
  __asm__("mov %%fs:0, %0" : "=r"(thread));
  return thread;
}

static u32 tid_of_thread(unsigned long thread) { return *(volatile u32 *)(thread + TID_IN_THREAD); }

static struct blocked *find_blocked(unsigned long thread) {
  u32 count = __atomic_load_n(&blocked_count, __ATOMIC_ACQUIRE);
  for (u32 i = 0; i < count; i++)
    if (__atomic_load_n(&blocked[i].thread, __ATOMIC_RELAXED) == thread) return &blocked[i];
  return NULL;
}

static void set_blocked(int is_blocked) {
  unsigned long thread = this_thread();
  struct blocked *entry = find_blocked(thread);
  if (!is_blocked) {
    if (entry != NULL) __atomic_store_n(&entry->thread, 0, __ATOMIC_RELEASE);
    return;
  }
  u32 tid = tid_of_thread(thread);
  if (entry != NULL) {
    entry->tid = tid;
    return;
  }
  for (u32 i = 0; i < BLOCKED_MAX; i++) {
    unsigned long none = 0;
    if (!__atomic_compare_exchange_n(&blocked[i].thread, &none, thread, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) continue;
    blocked[i].tid = tid;
    u32 count = __atomic_load_n(&blocked_count, __ATOMIC_RELAXED);
    while (count <= i &&
           !__atomic_compare_exchange_n(&blocked_count, &count, i + 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
    }
    return;
  }
}

/* A thread that is gone may have left its entry to one that has its place in memory. */
static int is_blocked(void) {
  if (blocked_at_start) {
    blocked_at_start = 0;
    set_blocked(1);
  }
  struct blocked *entry = find_blocked(this_thread());
  return entry != NULL && entry->tid == tid_of_thread(this_thread());
}

static int in_vfork_child(void) {
  int process = (int)sys_getpid();
  if (*owner == 0) *owner = process;
  return *owner != process;
}

static void set_action(const struct sys_sigaction *action) {
  u32 next = __atomic_add_fetch(&action_count, 1, __ATOMIC_RELAXED) % ACTIONS_KEPT;
  actions[next] = *action;
  __atomic_store_n(&program_action, &actions[next], __ATOMIC_RELEASE);
}

/* Ours, with the one flag that others see: whether calls go on after it. */
static long set_our_handler(void) {
  const struct sys_sigaction *now = __atomic_load_n(&program_action, __ATOMIC_ACQUIRE);
  unsigned long restart = now->handler == SIG_IGN ? SA_RESTART : now->flags & SA_RESTART;
  struct sys_sigaction ours = {(unsigned long)our_handler, SA_SIGINFO | SA_ONSTACK | SA_RESTORER | restart,
                               (unsigned long)signals_return, ~0ull};
  return sys_sigaction(SIGSEGV, &ours, NULL);
}

static long call_sigaction(int signal, const struct sys_sigaction *next, struct sys_sigaction *previous, long size) {
  u64 bit = signal > 0 && signal <= 64 ? 1ull << (signal - 1) : 0;
  if (signal != SIGSEGV || size != 8) {
    struct sys_sigaction stripped;
    int had = (__atomic_load_n(&masks_with_segv, __ATOMIC_RELAXED) & bit) != 0;
    int has = next != NULL && (next->mask & SEGV_BIT) != 0;
    if (next != NULL) stripped = *next, stripped.mask &= ~SEGV_BIT;
    long result = sys_call4(SYS_rt_sigaction, signal, (long)(next == NULL ? NULL : &stripped), (long)previous, size);
    if (result < 0) return result;
    if (next != NULL && has) __atomic_or_fetch(&masks_with_segv, bit, __ATOMIC_RELAXED);
    if (next != NULL && !has && had) __atomic_and_fetch(&masks_with_segv, ~bit, __ATOMIC_RELAXED);
    if (previous != NULL && had) previous->mask |= SEGV_BIT;
    return result;
  }
  struct sys_sigaction before = *__atomic_load_n(&program_action, __ATOMIC_ACQUIRE);
  if (next != NULL) {
    struct sys_sigaction wanted = *next;
    if (in_vfork_child()) {
      vfork_child = (int)sys_getpid();
      vfork_ignores = wanted.handler == SIG_IGN;
    } else {
      set_action(&wanted);
      set_our_handler();
    }
  }
  if (previous != NULL) *previous = before;
  return 0;
}

static long call_sigprocmask(int how, const u64 *next, u64 *previous, long size) {
  if (size != 8) return sys_call4(SYS_rt_sigprocmask, how, (long)next, (long)previous, size);
  int before = is_blocked();
  u64 stripped = 0;
  int named = 0;
  if (next != NULL) {
    named = (*next & SEGV_BIT) != 0;
    stripped = *next & ~SEGV_BIT;
  }
  long result = sys_call4(SYS_rt_sigprocmask, how, (long)(next == NULL ? NULL : &stripped), (long)previous, size);
  if (result < 0) return result;
  if (previous != NULL && before) *previous |= SEGV_BIT;
  if (next != NULL) {
    int after = how == SIG_BLOCK ? before || named : how == SIG_UNBLOCK ? before && !named : named;
    /* A child of vfork has its parent's thread pointer. */
    if (after != before && !in_vfork_child()) set_blocked(after);
  }
  return result;
}

/* The registers as a site of libc left them. */
struct site_call {
  unsigned long r9, r8, r10, rdx, rsi, rdi;
  unsigned long site; /* in: the site's number. Out: where to go on */
};

static struct {
  unsigned long back;
  u32 number;
} sites[SITES_MAX];
static u32 site_count;

/* A mask that is in force while the call waits: its copy is without SIGSEGV. */
static const u64 *without_segv(const u64 *mask, u64 *room, unsigned long size) {
  if (mask == NULL || size != 8) return mask;
  *room = *mask & ~SEGV_BIT;
  return room;
}

long signals_call(struct site_call *call);
__attribute__((used, visibility("hidden"))) long signals_call(struct site_call *call) {
  u32 number = sites[call->site].number;
  call->site = sites[call->site].back;
  u64 mask;
  switch (number) {
    case SYS_rt_sigaction:
      return call_sigaction((int)call->rdi, (const struct sys_sigaction *)call->rsi, (struct sys_sigaction *)call->rdx,
                            (long)call->r10);
    case SYS_rt_sigprocmask:
      return call_sigprocmask((int)call->rdi, (const u64 *)call->rsi, (u64 *)call->rdx, (long)call->r10);
    case SYS_rt_sigsuspend:
      return sys_call3(number, (long)without_segv((const u64 *)call->rdi, &mask, call->rsi), (long)call->rsi, 0);
    case SYS_ppoll:
      return sys_call6(number, (long)call->rdi, (long)call->rsi, (long)call->rdx,
                       (long)without_segv((const u64 *)call->r10, &mask, call->r8), (long)call->r8, 0);
    case SYS_epoll_pwait:
    case SYS_epoll_pwait2:
      return sys_call6(number, (long)call->rdi, (long)call->rsi, (long)call->rdx, (long)call->r10,
                       (long)without_segv((const u64 *)call->r8, &mask, call->r9), (long)call->r9);
    case SYS_pselect6: {
      struct {
        const u64 *mask;
        unsigned long size;
      } given = {NULL, 0};
      if (call->r9 != 0) {
        given.mask = *(const u64 *const *)call->r9;
        given.size = ((const unsigned long *)call->r9)[1];
        given.mask = without_segv(given.mask, &mask, given.size);
      }
      return sys_call6(number, (long)call->rdi, (long)call->rsi, (long)call->rdx, (long)call->r10, (long)call->r8,
                       call->r9 != 0 ? (long)&given : 0);
    }
    default:
      __builtin_trap();
  }
}

/*
 * One entry for each site. A site may use the red zone, so it jumps here and nothing is pushed before that is left
 * alone; it expects all registers back but rax, rcx and r11, which a system call changes.
 */
__asm__(
    ".pushsection .text\n"
    ".type signals_entries, @function\n"
    ".balign 16\n"
    "signals_entries:\n"
    ".set i, 0\n"
    ".rept 32\n"
    "  .balign 16\n"
    "  lea -128(%rsp), %rsp\n"
    "  pushq $i\n"
    "  jmp signals_common\n"
    "  .set i, i + 1\n"
    ".endr\n"
    "signals_common:\n"
    "  push %rdi\n"
    "  push %rsi\n"
    "  push %rdx\n"
    "  push %r10\n"
    "  push %r8\n"
    "  push %r9\n"
    "  push %rbp\n"
    "  mov %rsp, %rbp\n"
    "  lea 8(%rsp), %rdi\n"
    "  and $-16, %rsp\n"
    "  cld\n"
    "  call signals_call\n"
    "  mov %rbp, %rsp\n"
    "  pop %rbp\n"
    "  pop %r9\n"
    "  pop %r8\n"
    "  pop %r10\n"
    "  pop %rdx\n"
    "  pop %rsi\n"
    "  pop %rdi\n"
    "  pop %rcx\n"
    "  lea 128(%rsp), %rsp\n"
    "  jmp *%rcx\n"
    ".popsection\n");
extern u8 signals_entries[] __attribute__((visibility("hidden")));
#define ENTRY_SIZE 16

/* Replaces every `mov $number, %eax; syscall` of a function; returns how many there were. */
static int hook(const struct link_map *libc, const char *name, u32 number) {
  struct audit_symbol symbol;
  int found = 0;
  if (!audit_find_symbol(libc, name, &symbol)) return 0;
  const u8 wanted[] = {0xb8, (u8)number, (u8)(number >> 8), 0, 0, 0x0f, 0x05};
  for (u8 *at = (u8 *)symbol.start; at + sizeof wanted <= (u8 *)symbol.start + symbol.size; at++) {
    unsigned same = 0;
    while (same < sizeof wanted && at[same] == wanted[same]) same++;
    if (same < sizeof wanted || site_count == SITES_MAX) continue;
    long distance = (long)(signals_entries + site_count * ENTRY_SIZE) - (long)(at + 5);
    if (distance != (int)distance) continue;
    u8 jump[] = {0xe9, (u8)distance, (u8)(distance >> 8), (u8)(distance >> 16), (u8)(distance >> 24), 0x66, 0x90};
    sites[site_count].back = (unsigned long)at + sizeof wanted;
    sites[site_count].number = number;
    if (!audit_patch(at, jump, sizeof jump)) continue;
    site_count++;
    found++;
  }
  return found;
}

int signals_meet(const struct link_map *libc) {
  int all = hook(libc, "__libc_sigaction", SYS_rt_sigaction) > 0 || hook(libc, "sigaction", SYS_rt_sigaction) > 0;
  all &= hook(libc, "pthread_sigmask", SYS_rt_sigprocmask) > 0;
  hook(libc, "sigsuspend", SYS_rt_sigsuspend);
  hook(libc, "ppoll", SYS_ppoll);
  hook(libc, "pselect", SYS_pselect6);
  hook(libc, "epoll_pwait", SYS_epoll_pwait);
  hook(libc, "epoll_pwait2", SYS_epoll_pwait2);
  return all;
}

void signals_start(demand_handler *handler) {
  static int without_wiping;
  our_handler = handler;
  owner = demand_wiped() != NULL ? demand_wiped() : &without_wiping;
  *owner = (int)sys_getpid();
  sys_sigaction(SIGSEGV, NULL, &actions[0]);
  set_our_handler();
  u64 segv = SEGV_BIT, before = 0;
  sys_sigprocmask(SIG_UNBLOCK, &segv, &before);
  blocked_at_start = (before & SEGV_BIT) != 0;
}

/* As if there were no handler: the kernel kills, and makes the core file that it would have made. */
static void take_default(const struct sys_siginfo *info) {
  struct sys_sigaction action = {SIG_DFL, 0, 0, 0};
  sys_sigaction(SIGSEGV, &action, NULL);
  /* A fault comes again when the handler returns; what was sent must be sent again. */
  if (info->code <= 0) sys_call4(297, sys_getpid(), sys_call3(186, 0, 0, 0), SIGSEGV, (long)info); /* rt_tgsigqueueinfo */
}

void signals_pass_on(int signal, struct sys_siginfo *info, struct sys_ucontext *context) {
  struct sys_sigaction action = *__atomic_load_n(&program_action, __ATOMIC_ACQUIRE);
  int is_fault = info->code > 0, before = is_blocked();
  if (action.handler == SIG_IGN && !is_fault) return;
  if (action.handler == SIG_DFL || action.handler == SIG_IGN || (before && is_fault)) {
    take_default(info);
    return;
  }
  if (action.flags & SA_RESETHAND) {
    struct sys_sigaction none = {SIG_DFL, 0, 0, 0};
    set_action(&none);
  }
  if (!(action.flags & SA_NODEFER) || action.mask & SEGV_BIT) set_blocked(1);
  u64 mask = (context->mask | action.mask) & ~SEGV_BIT;
  sys_sigprocmask(SIG_SETMASK, &mask, NULL);
  ((demand_handler *)action.handler)(signal, info, context);
  context->mask &= ~SEGV_BIT;
  if (!before) set_blocked(0);
}

void signals_before_exec(void) {
  int ignores = vfork_child == (int)sys_getpid()
                    ? vfork_ignores
                    : __atomic_load_n(&program_action, __ATOMIC_ACQUIRE)->handler == SIG_IGN;
  if (ignores) {
    struct sys_sigaction action = {SIG_IGN, 0, 0, 0};
    sys_sigaction(SIGSEGV, &action, NULL);
  }
  u64 segv = SEGV_BIT;
  if (is_blocked()) sys_sigprocmask(SIG_BLOCK, &segv, NULL);
}

void signals_after_exec(void) {
  u64 segv = SEGV_BIT;
  if (is_blocked()) sys_sigprocmask(SIG_UNBLOCK, &segv, NULL);
  set_our_handler();
}
