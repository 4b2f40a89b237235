/*
 * start-cost: how long the dynamic loader takes, and what it leaves behind.
 *
 * usage: start-cost OFFSET PROGRAM ARGV0 [ARGV1 ...]
 *   OFFSET  hexadecimal, from the loader's base: where it goes on when all modules are mapped and relocated, before
 *           any constructor (_dl_start_user of glibc). With @ in front: an address, where perhaps nothing is mapped yet. With + in
 *           front: an offset, from which on the program runs to its end, its output thrown away
 *
 * Out: nanoseconds from execve to the loader's first instruction, and from there to OFFSET, and a third figure; a line end;
 * and /proc/PID/smaps of that moment. The program itself does not run: it is killed there. With +, smaps is that of its
 * end, in which Referenced counts the pages that were read or written from OFFSET on.
 *
 * Problem: a program's start is over before anybody can look at it.
 * Method: a child that is traced notes the time and execs; at exec's trap a breakpoint goes to OFFSET, and the time between
 * is not counted. It is one of the processor's, so that no page is written to. Both are bound to one processor, where a stop is a switch of tasks and no message between processors.
 * With +, the marks of pages (the processor's accessed bits) are taken away at OFFSET, and looked at when the process is about to exit.
 * Limits: two such switches are counted. Others on that processor are too: who measures repeats it.
 *
 * Where the processor has none to give (some virtual machines), an instruction is written over; the page that this costs is
 * told: the third figure is 1, else 0.
 *
 * Exit status: 0; 1 where PROGRAM cannot be executed or has no dynamic loader; 2 where it ended before OFFSET; 3 where it
 * cannot be traced.
 */
#include "start.h"
#include "sys.h"

#define SIGKILL 9
#define SIGTRAP 5
#define PTRACE_O_TRACEEXIT 0x40
#define STOP_AT_EXIT (SIGTRAP | 6 << 8) /* PTRACE_EVENT_EXIT */
#define AT_BASE 7
#define PTRACE_TRACEME 0
#define PTRACE_PEEKDATA 2
#define PTRACE_PEEKUSER 3
#define PTRACE_POKEDATA 5
#define PTRACE_POKEUSER 6
#define PTRACE_CONT 7
#define PTRACE_SETOPTIONS 0x4200
#define PTRACE_O_EXITKILL 0x100000
#define WORDS_OF_CPUS 16
/* struct user: u_debugreg. Register 7 enables: the first two, when their addresses are executed. */
#define DEBUG_REGISTER(n) (848 + 8 * (n))
#define ENABLE_TWO 5
#define RIP (16 * 8)

static char text[1 << 16];
static u64 auxv[256];

static long ptrace(long request, long pid, u64 at, u64 data) {
  return sys_call4(101, request, pid, (long)at, (long)data);
}

static u64 now(void) {
  struct sys_timespec time;
  sys_clock_gettime(CLOCK_MONOTONIC, &time);
  return (u64)time.sec * 1000000000ull + (u64)time.nsec;
}

static void stay_on_this_processor(void) {
  u64 mask[WORDS_OF_CPUS] = {0};
  unsigned cpu = 0;
  sys_call3(309, (long)&cpu, 0, 0); /* getcpu */
  if (cpu >= WORDS_OF_CPUS * 64) return;
  mask[cpu / 64] = 1ull << cpu % 64;
  sys_call3(203, 0, sizeof mask, (long)mask); /* sched_setaffinity */
}

static u64 parse(const char *hexadecimal) {
  u64 value = 0;
  for (; *hexadecimal; hexadecimal++) {
    unsigned digit = (unsigned)(*hexadecimal >= 'a' ? *hexadecimal - 'a' + 10 : *hexadecimal - '0');
    value = value * 16 + digit;
  }
  return value;
}

/* In decimal, in front of `end`. */
static char *print(u64 value, char *end) {
  do *--end = (char)('0' + value % 10);
  while (value /= 10);
  return end;
}

static int open_of(long pid, const char *name, int flags) {
  char path[64], number[24];
  char *digits = print((u64)pid, number + sizeof number);
  char *at = path;
  for (const char *from = "/proc/"; *from;) *at++ = *from++;
  while (digits < number + sizeof number) *at++ = *digits++;
  while ((*at++ = *name++)) continue;
  return (int)sys_open(path, flags | O_CLOEXEC);
}

static u64 auxiliary(long pid, u64 type) {
  int fd = open_of(pid, "/auxv", O_RDONLY);
  long size = fd < 0 ? 0 : sys_read(fd, auxv, sizeof auxv);
  if (fd >= 0) sys_close(fd);
  for (long i = 0; i + 1 < size / 8; i += 2) {
    if (auxv[i] == type) return auxv[i + 1];
  }
  return 0;
}

static void write_all(const char *from, unsigned long size) {
  while (size > 0) {
    long n = sys_write(1, from, size);
    if (n == -EINTR) continue;
    if (n <= 0) return;
    from += n;
    size -= (unsigned long)n;
  }
}

static void tell(u64 exec_time, u64 loader_time, int wrote, long pid) {
  char line[64];
  char *at = line + sizeof line;
  *--at = '\n';
  at = print((u64)wrote, at);
  *--at = ' ';
  at = print(loader_time, at);
  *--at = ' ';
  at = print(exec_time, at);
  write_all(at, (unsigned long)(line + sizeof line - at));
  int fd = open_of(pid, "/smaps", O_RDONLY);
  for (long n; fd >= 0 && (n = sys_read(fd, text, sizeof text)) > 0;) write_all(text, (unsigned long)n);
}

/* Waits for the child's next SIGTRAP; other signals are passed on. */
static int wait_for_trap(long pid) {
  for (;;) {
    int status;
    long got = sys_wait4((int)pid, &status, __WALL);
    if (got == -EINTR) continue;
    if (got != pid || (status & 0x7f) != 0x7f) return 0;
    int signal = status >> 8 & 0xff;
    if (signal == SIGTRAP) return 1;
    ptrace(PTRACE_CONT, pid, 0, (u64)signal);
  }
}

/* Should it not come there, as an image that does not fit starts plainly, the program's own entry ends it. */
static int stop_by_processor(long pid, u64 at) {
  return ptrace(PTRACE_POKEUSER, pid, DEBUG_REGISTER(0), at) == 0 &&
         ptrace(PTRACE_POKEUSER, pid, DEBUG_REGISTER(1), auxiliary(pid, AT_ENTRY)) == 0 &&
         ptrace(PTRACE_POKEUSER, pid, DEBUG_REGISTER(7), ENABLE_TWO) == 0;
}

static int is_at(long pid, u64 at) {
  u64 rip = 0;
  ptrace(PTRACE_PEEKUSER, pid, RIP, (u64)&rip);
  return rip == at || rip == at + 1; /* behind an instruction that was written */
}

static u64 written_over;

static int stop_by_instruction(long pid, u64 at) {
  return ptrace(PTRACE_PEEKDATA, pid, at, (u64)&written_over) == 0 &&
         ptrace(PTRACE_POKEDATA, pid, at, (written_over & ~0xffull) | 0xcc) == 0;
}

static int take_back(long pid, u64 at, int wrote) {
  if (!wrote) return ptrace(PTRACE_POKEUSER, pid, DEBUG_REGISTER(7), 0) == 0;
  return ptrace(PTRACE_POKEDATA, pid, at, written_over) == 0 && ptrace(PTRACE_POKEUSER, pid, RIP, at) == 0;
}

/*
 * Takes the marks away. That alone leaves the processor with translations by which it would not set them again; the kernel
 * throws these away for another purpose, marks of written pages.
 */
static int clear_marks(long pid) {
  int fd = open_of(pid, "/clear_refs", O_WRONLY);
  int done = fd >= 0 && sys_write(fd, "1", 1) == 1 && sys_write(fd, "4", 1) == 1;
  if (fd >= 0) sys_close(fd);
  return done;
}

/* Of the first process: what it forks is not looked at. 0 if its end was not seen. */
static int run_to_end(long pid, u64 at, int wrote) {
  if (!clear_marks(pid) || !take_back(pid, at, wrote)) return 0;
  ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_EXITKILL | PTRACE_O_TRACEEXIT);
  for (int status, signal = 0;;) {
    ptrace(PTRACE_CONT, pid, 0, (u64)signal);
    long got;
    while ((got = sys_wait4((int)pid, &status, __WALL)) == -EINTR) continue;
    if (got != pid || (status & 0x7f) != 0x7f) return 0;
    if (status >> 8 == STOP_AT_EXIT) return 1;
    signal = status >> 8 & 0xff;
    if (signal == SIGTRAP) signal = 0; /* an exec of its own */
  }
}

int start_cost_main(long argc, char **argv, char **envp) {
  if (argc < 4) return 3;
  long shared = sys_mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared < 0) return 3;
  volatile u64 *begin = (u64 *)shared;
  stay_on_this_processor();
  int is_address = argv[1][0] == '@', to_end = argv[1][0] == '+';
  long pid = sys_clone(SIGCHLD);
  if (pid < 0) return 3;
  if (pid == 0) {
    if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0) sys_exit(3);
    if (to_end) sys_call3(33, sys_open("/dev/null", O_WRONLY | O_CLOEXEC), 1, 0); /* dup2 */
    *begin = now();
    sys_execve(argv[2], argv + 3, envp);
    sys_exit(1);
  }
  if (!wait_for_trap(pid)) return 1;
  u64 executed = now();
  int result = 1;
  u64 base = auxiliary(pid, AT_BASE);
  if (base != 0) {
    u64 at = is_address ? parse(argv[1] + 1) : base + parse(argv[1] + to_end);
    ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_EXITKILL);
    int wrote = 0;
    int is_set = stop_by_processor(pid, at) || (!is_address && (wrote = stop_by_instruction(pid, at)));
    result = 3;
    if (is_set) {
      u64 resumed = now();
      ptrace(PTRACE_CONT, pid, 0, 0);
      int stopped = wait_for_trap(pid);
      u64 linked = now();
      result = stopped && is_at(pid, at) && (!to_end || run_to_end(pid, at, wrote)) ? 0 : 2;
      if (result == 0) tell(executed - *begin, linked - resumed, wrote, pid);
    }
  }
  sys_call3(62, pid, SIGKILL, 0);
  /* Who is stopped at its exit goes on by this alone. */
  if (to_end) ptrace(PTRACE_CONT, pid, 0, 0);
  sys_wait4((int)pid, NULL, __WALL);
  return result;
}

START_AT(start_cost_main);
