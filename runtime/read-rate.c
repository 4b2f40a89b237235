/*
 * read-rate: whether a device answers many small reads a second, and if not, how many, and how many bytes in large ones.
 *
 * usage: read-rate ENOUGH FILE...
 *   ENOUGH  requests a second; from there on the device counts as fast, and nothing more is measured
 *   FILE    of the device, readable; at most 64
 *
 * Out: requests a second, bytes a second, and a line end. The latter is 0 where the device is fast.
 *
 * Problem: what a request costs is seen only where several are under way, as a prefetch has them; the page cache must
 * neither answer nor lose what it holds; and limits on control groups let a burst pass before they bite.
 *
 * Example: a limit of 500 requests a second lets 50 pass at once and then none until a slice of 0.1 s is over, which began
 * with somebody else's request: within 0.05 s it may let pass nothing, 50 or 100.
 *
 * Method: 16 processes read pages with O_DIRECT, far apart and none twice until all were read. A device is fast as soon as it
 * has done what ENOUGH allows for all slices that have begun and one more: after ENOUGH / 5 reads in the first slice, some ten
 * milliseconds. Else it is watched for nearly three slices. A window of whole slices holds as many bursts wherever it begins,
 * unless one begins just there: so the rate is the median of three windows that begin at different times, none at the start.
 * Then four processes read on, a MiB at a time, and are watched for nearly two slices likewise.
 *
 * Limits: caches of the device itself, and bursts that last longer. A file system may answer O_DIRECT from the page cache
 * (compressed or encrypted files). A reader that waits for the disk cannot be killed: it is left to process 1 after LONGEST_REAP.
 *
 * Exit status: 0; 1 where a file cannot be opened or read so; 2 where there is too little to read; 3 where there is no memory
 * or process to be had.
 */
#include "start.h"
#include "sys.h"

#define O_DIRECT 040000
#define SIGKILL 9
#define WNOHANG 1
#define PR_SET_PDEATHSIG 1

#define MS 1000000ull
#define SLICE (100 * MS)
#define WINDOWS 3
/* Where the first window begins, and how far apart windows are. */
#define FIRST_RANDOM (20 * MS)
/* Bytes that the small reads did not use up may pass in the first slice. */
#define FIRST_SEQUENTIAL (SLICE + 20 * MS)
#define NEXT_WINDOW (30 * MS)
#define LONGEST_REAP (1000 * MS)
#define TICK (MS / 4)

#define PAGE 4096ul
#define BLOCK (512ul << 10)
#define RANDOM_READERS 16
#define SEQUENTIAL_READERS 4
#define MOST_FILES 64

struct shared {
  u64 next;
  u64 done;
  u64 failed;
};

static struct {
  int fd;
  u64 size;
} files[MOST_FILES];
static unsigned file_count;
static volatile struct shared *shared;
static int readers[RANDOM_READERS];

static u64 now(void) {
  struct sys_timespec time;
  sys_clock_gettime(CLOCK_MONOTONIC, &time);
  return (u64)time.sec * 1000000000ull + (u64)time.nsec;
}

static void nap(void) {
  struct sys_timespec time = {0, TICK};
  sys_call3(35, (long)&time, 0, 0); /* nanosleep */
}

static u64 units_in(unsigned long unit) {
  u64 count = 0;
  for (unsigned i = 0; i < file_count; i++) count += files[i].size / unit;
  return count;
}

static u64 common_divisor(u64 a, u64 b) {
  while (b) {
    u64 rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

/* Steps of so many lead to every unit once, and follow each other far apart: the golden section. */
static u64 far_step(u64 count) {
  u64 step = count * 618 / 1000 + 1;
  while (common_divisor(step, count) != 1) step++;
  return step;
}

/* Reads whole units until it is killed. */
static _Noreturn void read_on(unsigned long unit, u64 count, u64 step) {
  sys_prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  sys_close_range(0, 2, 0);
  long buffer = sys_mmap(NULL, unit, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  while (buffer > 0) {
    u64 at = __atomic_fetch_add(&shared->next, 1, __ATOMIC_RELAXED) % count * step % count;
    unsigned file = 0;
    while (at >= files[file].size / unit) at -= files[file++].size / unit;
    long got;
    do got = sys_pread(files[file].fd, (void *)buffer, unit, (long)(at * unit));
    while (got == -EINTR);
    if (got != (long)unit) break;
    __atomic_fetch_add(&shared->done, 1, __ATOMIC_RELAXED);
  }
  __atomic_store_n(&shared->failed, 1, __ATOMIC_RELAXED);
  sys_exit(1);
}

static int start(unsigned how_many, unsigned long unit, u64 count, u64 step) {
  shared->next = shared->done = 0;
  for (unsigned i = 0; i < how_many; i++) {
    long pid = sys_clone(SIGCHLD);
    if (pid == 0) read_on(unit, count, step);
    if (pid < 0) return 0;
    readers[i] = (int)pid;
  }
  return 1;
}

static void end_readers(void) {
  for (unsigned i = 0; i < RANDOM_READERS; i++) {
    if (readers[i] > 0) sys_call3(62, readers[i], SIGKILL, 0);
  }
}

static void reap(void) {
  u64 begin = now();
  for (unsigned i = 0; i < RANDOM_READERS; i++) {
    while (readers[i] > 0 && sys_wait4(readers[i], NULL, WNOHANG) == 0 && now() - begin < LONGEST_REAP) nap();
    readers[i] = 0;
  }
}

/* In decimal, in front of `end`. */
static char *print(u64 value, char *end) {
  do *--end = (char)('0' + value % 10);
  while (value /= 10);
  return end;
}

static void tell(u64 requests, u64 bytes) {
  char line[64];
  char *at = line + sizeof line;
  *--at = '\n';
  at = print(bytes, at);
  *--at = ' ';
  at = print(requests, at);
  sys_write(1, at, (unsigned long)(line + sizeof line - at));
}

/* A second; `ns` is never 0. */
static u64 rate(u64 count, u64 ns) { return count * 1000 * MS / ns; }

static u64 median(u64 a, u64 b, u64 c) {
  u64 least = a < b ? a : b, most = a < b ? b : a;
  return c < least ? least : c > most ? most : c;
}

/* What is done a second. With `a_slice`, as soon as more was done than so many in each slice allow. 0: a read failed. */
static u64 watch(u64 first, u64 a_slice) {
  struct {
    u64 done;
    u64 at;
  } marks[2 * WINDOWS];
  u64 begin = now();
  for (unsigned i = 0; i < 2 * WINDOWS; i++) {
    u64 due = first + i % WINDOWS * NEXT_WINDOW + (i < WINDOWS ? 0 : SLICE);
    do {
      nap();
      marks[i].done = shared->done;
      marks[i].at = now() - begin;
      if (shared->failed) return 0;
      if (a_slice && marks[i].done >= a_slice * (marks[i].at / SLICE + 2)) return rate(marks[i].done, marks[i].at);
    } while (marks[i].at < due);
  }
  u64 rates[WINDOWS];
  for (unsigned i = 0; i < WINDOWS; i++)
    rates[i] = rate(marks[i + WINDOWS].done - marks[i].done, marks[i + WINDOWS].at - marks[i].at);
  return median(rates[0], rates[1], rates[2]);
}

static int measure(u64 enough, u64 *requests, u64 *bytes) {
  u64 pages = units_in(PAGE), blocks = units_in(BLOCK);
  u64 a_slice = enough * SLICE / (1000 * MS);
  if (pages < a_slice || blocks == 0) return 2;
  if (!start(RANDOM_READERS, PAGE, pages, far_step(pages))) return 3;
  *requests = watch(FIRST_RANDOM, a_slice);
  if (*requests >= enough) return 0;
  end_readers();
  reap();
  if (shared->failed) return 1;
  if (!start(SEQUENTIAL_READERS, BLOCK, blocks, 1)) return 3;
  *bytes = watch(FIRST_SEQUENTIAL, 0) * BLOCK;
  return shared->failed ? 1 : 0;
}

int read_rate_main(long argc, char **argv) {
  u64 enough = 0, requests = 0, bytes = 0;
  if (argc < 2) return 3;
  for (const char *digit = argv[1]; *digit; digit++) enough = enough * 10 + (u64)(*digit - '0');
  for (long i = 2; i < argc && file_count < MOST_FILES; i++) {
    struct sys_stat stat;
    long fd = sys_open(argv[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_DIRECT);
    if (fd < 0 || sys_fstat((int)fd, &stat) != 0 || (stat.mode & S_IFMT) != S_IFREG) return 1;
    files[file_count].fd = (int)fd;
    files[file_count++].size = (u64)stat.size;
  }
  long memory = sys_mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory < 0) return 3;
  shared = (struct shared *)memory;
  int result = measure(enough, &requests, &bytes);
  end_readers();
  if (result == 0) tell(requests, bytes);
  reap();
  return result;
}

START_AT(read_rate_main);
