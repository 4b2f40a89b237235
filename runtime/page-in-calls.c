/*
 * page-in-calls.c: system calls that may be made while pages are left to be slid.
 *
 * Problem. The kernel reads and writes for a call what its arguments point to, and on a page that is left it finds no rights: EFAULT.
 * Method. A call is known here if all that it reads or writes begins at one of its arguments, holds no further addresses, and is no longer
 * than WINDOW, or than another argument says. That much from each argument on is slid first, whatever the argument means. Calls about mappings may not touch
 * what is left; calls about signals may not touch ours. All others end page-in: so do those that make threads or processes, and those in which
 * programs wait. More calls could be known; one that is not costs the slides of what is left, once.
 */
#include "page-in.h"

/* PATH_MAX; no structure of a known call is larger. */
#define WINDOW 4096ull
#define X86_64 0xc000003eu
#define SIGNAL_FLAGS_OFFSET 8
#define SIGNAL_MASK_OFFSET 24

/* What is to be said of a call beside that it is known. */
enum rule {
  UNKNOWN,
  PLAIN,
  SIZED_BY_2ND, /* the argument is a length in bytes */
  SIZED_BY_3RD,
  SIZED_BY_4TH,
  MAPPING, /* the first two are a range */
  MAP,
  PATH_1ST,
  PATH_2ND,
  READ,
  ACTION,
  MASK,
  CONTROL, /* the rest have a command */
  TERMINAL,
  PROCESS,
  FUTEX,
};

static enum rule rule_of(u32 number) {
  switch (number) {
    case 0: /* read */
      return READ;
    case 1: /* write */
    case 17: /* pread64 */
    case 18: /* pwrite64 */
    case 89: /* readlink */
    case 217: /* getdents64 */
      return SIZED_BY_3RD;
    case 79: /* getcwd */
    case 204: /* sched_getaffinity */
    case 318: /* getrandom */
      return SIZED_BY_2ND;
    case 267: /* readlinkat */
      return SIZED_BY_4TH;
    case 9: return MAP;
    case 10: /* mprotect */
    case 11: /* munmap */
    case 28: /* madvise */
      return MAPPING;
    case 2: /* open */
    case 80: /* chdir */
      return PATH_1ST;
    case 257: return PATH_2ND; /* openat */
    case 13: return ACTION;
    case 14: return MASK;
    case 16: return TERMINAL;
    case 72: return CONTROL; /* fcntl */
    case 157: return PROCESS; /* prctl */
    case 202: return FUTEX;
    case 3: /* close */
    case 4: /* stat */
    case 5: /* fstat */
    case 6: /* lstat */
    case 8: /* lseek */
    case 12: /* brk */
    case 21: /* access */
    case 22: /* pipe */
    case 32: /* dup */
    case 33: /* dup2 */
    case 39: /* getpid */
    case 41: /* socket */
    case 42: /* connect */
    case 60: /* exit */
    case 63: /* uname */
    case 83: /* mkdir */
    case 87: /* unlink */
    case 95: /* umask */
    case 96: /* gettimeofday */
    case 97: /* getrlimit */
    case 98: /* getrusage */
    case 99: /* sysinfo */
    case 100: /* times */
    case 102: /* getuid */
    case 104: /* getgid */
    case 107: /* geteuid */
    case 108: /* getegid */
    case 110: /* getppid */
    case 111: /* getpgrp */
    case 118: /* getresuid */
    case 120: /* getresgid */
    case 121: /* getpgid */
    case 137: /* statfs */
    case 138: /* fstatfs */
    case 140: /* getpriority */
    case 141: /* setpriority */
    case 186: /* gettid */
    case 201: /* time */
    case 228: /* clock_gettime */
    case 229: /* clock_getres */
    case 231: /* exit_group */
    case 258: /* mkdirat */
    case 262: /* newfstatat */
    case 269: /* faccessat */
    case 290: /* eventfd2 */
    case 292: /* dup3 */
    case 293: /* pipe2 */
    case 309: /* getcpu */
    case 332: /* statx */
    case 439: /* faccessat2 */
      return PLAIN;
    default: return UNKNOWN;
  }
}

static u64 most(u64 a, u64 b) { return a > b ? a : b; }

/* Bytes that may be read or written from an argument on. */
static u64 window_of(enum rule rule, const u64 *arguments) {
  switch (rule) {
    case SIZED_BY_2ND: return most(WINDOW, arguments[1]);
    case SIZED_BY_3RD:
    case READ: return most(WINDOW, arguments[2]);
    case SIZED_BY_4TH: return most(WINDOW, arguments[3]);
    default: return WINDOW;
  }
}

static u64 end_of(u64 from, u64 size) { return from + size < from ? ~0ull : from + size; }

static int is_left(const struct page_in *later, u64 from, u64 size) {
  u64 end = end_of(from, size);
  for (u32 i = 0; i < later->region_count; i++)
    if (later->regions[i].at < end && from < later->regions[i].at + later->regions[i].size) return 1;
  return 0;
}

/* A name that ends with a slash stands for all that is below it. */
static int is_path(u64 at, const char *name) {
  u64 text = 0;
  for (unsigned i = 0;; i++) {
    if (i > 0 && name[i] == 0 && name[i - 1] == '/') return 1;
    if (i % 8 == 0 && !page_in_peek(at + i, &text)) return 0;
    if ((char)(text >> 8 * (i % 8)) != name[i]) return 0;
    if (name[i] == 0) return 1;
  }
}

/* The rest of /proc says how memory is mapped and signals are handled, or gives memory. */
static int tells_of_us(u64 path) {
  static const char others[][24] = {"/proc/filesystems", "/proc/mounts",  "/proc/stat", "/proc/cpuinfo",
                                    "/proc/meminfo",     "/proc/sys/",    "/proc/self/cmdline",
                                    "/proc/self/fd",     "/proc/self/stat"};
  if (!is_path(path, "/proc/")) return 0;
  for (unsigned i = 0; i < sizeof others / sizeof *others; i++)
    if (is_path(path, others[i])) return 0;
  return 1;
}

static int is_ours(u64 signal) { return signal >= 1 && signal <= SIGSYS && (OUR_SIGNALS & BIT_OF(signal)); }

/* The stack of our handlers must not become one of the program's. */
static int may_set_action(u64 signal, u64 action) {
  u64 flags, mask;
  if (is_ours(signal)) return 0;
  if (action == 0) return 1;
  return page_in_peek(action + SIGNAL_FLAGS_OFFSET, &flags) && page_in_peek(action + SIGNAL_MASK_OFFSET, &mask) &&
         !(flags & SA_ONSTACK) && !(mask & OUR_SIGNALS);
}

static int may_set_mask(u64 how, u64 next) {
  u64 mask;
  if (next == 0 || how == 1) return 1; /* SIG_UNBLOCK */
  return page_in_peek(next, &mask) && !(mask & OUR_SIGNALS);
}

static int may_control(u64 command) {
  return command <= 4 || command == 1030; /* F_DUPFD to F_SETFL, F_DUPFD_CLOEXEC */
}

static int may_ask_terminal(u64 command) { return command == 0x5401 || command == 0x5413; /* TCGETS, TIOCGWINSZ */ }

static int may_ask_process(u64 option) {
  return option == 3 || option == 15 || option == 16 || option == 23; /* GET_DUMPABLE, SET_NAME, GET_NAME, CAPBSET_READ */
}

/* PR_SET_VMA: a name for anonymous memory. */
static int may_name(const u64 *arguments) { return arguments[0] == 0x53564d41 && arguments[1] == 0; }

static int allows(const struct page_in *later, enum rule rule, const u64 *arguments) {
  switch (rule) {
    case UNKNOWN: return 0;
    case MAPPING: return !is_left(later, arguments[0], arguments[1]);
    case MAP: return !(arguments[3] & MAP_FIXED) || !is_left(later, arguments[0], arguments[1]);
    case PATH_1ST: return !tells_of_us(arguments[0]);
    case PATH_2ND: return !tells_of_us(arguments[1]);
    case READ: return (u32)arguments[0] != 0; /* there programs wait for people */
    case ACTION: return may_set_action((u32)arguments[0], arguments[1]);
    case MASK: return may_set_mask((u32)arguments[0], arguments[1]);
    case CONTROL: return may_control((u32)arguments[1]);
    case TERMINAL: return may_ask_terminal((u32)arguments[1]);
    case PROCESS: return may_ask_process((u32)arguments[0]) || may_name(arguments);
    case FUTEX: return (arguments[1] & 0x7f) == 1; /* FUTEX_WAKE */
    default: return 1;
  }
}

/* What the program asks for is what it has, and what it gets in the end: one of our signals with no handler. */
static int keeps_action(struct page_in *later, const u64 *arguments) {
  u64 *kept = later->actions[arguments[0]];
  u64 handler, next[4];
  if (arguments[2] != 0 || arguments[3] != 8 || !page_in_peek(arguments[1], &handler) || handler != SIG_DFL) return 0;
  for (unsigned i = 0; i < 4; i++)
    if (!page_in_peek(arguments[1] + 8 * i, &next[i])) return 0;
  for (unsigned i = 0; i < 4; i++) kept[i] = next[i];
  return 1;
}

enum page_in_answer page_in_may_call(struct page_in *later, const struct sys_siginfo *info, const struct sys_ucontext *context) {
  /* Behind the address: number and architecture. int $0x80 has other numbers. */
  const u32 *call = (const u32 *)(info + 1);
  if (call[1] != X86_64) return PAGE_IN_ENDS;
  const unsigned long *registers = context->registers;
  const u64 arguments[] = {registers[REG_RDI], registers[REG_RSI], registers[REG_RDX],
                           registers[REG_R10], registers[REG_R8],  registers[REG_R9]};
  enum rule rule = rule_of(call[0]);
  if (rule == UNKNOWN) return PAGE_IN_ENDS;
  u64 window = window_of(rule, arguments);
  for (unsigned i = 0; i < sizeof arguments / sizeof *arguments; i++)
    page_in_range(later, arguments[i], end_of(arguments[i], window));
  if (rule == ACTION && is_ours((u32)arguments[0])) return keeps_action(later, arguments) ? PAGE_IN_IS_DONE : PAGE_IN_ENDS;
  return allows(later, rule, arguments) ? PAGE_IN_MAY_CALL : PAGE_IN_ENDS;
}
