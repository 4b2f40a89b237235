/*
 * A part of wake.so: the recorder's sleep, and the calls that end no sleep.
 *
 * Problem: most notices of a recording are look-ups (stat, access, open of what is not there), opens of small files and of
 * libraries, and jumps in files. The recorder wants to know of them and nothing else; each one that wakes JavaScript keeps
 * the program waiting for 20 microseconds and more. Method: while the recorder sleeps here, such a call is written down
 * with what will be gone later (a relative path's folder, a file's size, its offset) and let go on the spot, and the
 * sleep goes on. Everything else is the recorder's: what creates or writes, names of a process for itself, and opens of
 * large files, whose descriptor it borrows. Example: ld looks for libc.so in six folders, opens libc.a and jumps in it forty
 * times: one of these calls wakes the recorder.
 * It runs on the recorder's own thread, so nothing happens at the same time. No libc.
 */
#include "look-ups.h"

#define SYS_open 2
#define SYS_stat 4
#define SYS_lstat 6
#define SYS_lseek 8
#define SYS_access 21
#define SYS_openat 257
#define SYS_newfstatat 262
#define SYS_faccessat 269
#define SYS_statx 332
#define SYS_faccessat2 439
#define PATH_MAX 4096
#define ENDS_READING (O_WRONLY | O_RDWR | 0100 | 01000) /* O_CREAT, O_TRUNC */
#define SEEK_CUR 1
#define KCMP_FILE 0
/* Some milliseconds: then the recorder looks at the clock, also where the calls never end. */
#define CALLS_A_SLEEP 1024

static int begins(const char *path, const char *with) {
  while (*with)
    if (*path++ != *with++) return 0;
  return 1;
}

/* In decimal; returns the end. */
static char *print(u32 value, char *at) {
  char digits[12], *digit = digits + sizeof digits;
  do *--digit = (char)('0' + value % 10);
  while (value /= 10);
  while (digit < digits + sizeof digits) *at++ = *digit++;
  return at;
}

static char *append(char *at, const char *text) {
  while (*text) *at++ = *text++;
  return at;
}

/* The folder that a relative path begins in, ended by a slash, at `to`; its length, or 0 where it has no name. */
static long folder_of(u32 tid, int fd, char *to) {
  char link[64], *end = print(tid, append(link, "/proc/"));
  if (fd == AT_FDCWD) end = append(end, "/cwd");
  else end = print((u32)fd, append(end, "/fd/"));
  *end = 0;
  long n = sys_readlink(link, to, PATH_MAX);
  if (n <= 0 || n >= PATH_MAX || to[0] != '/') return 0;
  /* "… (deleted)", or a file whose name ends so: the recorder looks. */
  if (to[n - 1] == ')') return 0;
  if (to[n - 1] != '/') to[n++] = '/';
  return n;
}

static struct sleep_process *process_of(struct sleep *sleep, u32 tid) {
  struct sleep_process *process = &sleep->processes[tid % PROCESS_SLOTS];
  return process->pid == tid ? process : NULL;
}

/* What was read by the process itself of the path that it names, made absolute; its length, or 0. */
static long read_path(const struct seccomp_notif *notice, int argument, char *path, char *raw) {
  struct sys_iovec here = {raw, PATH_MAX}, there = {(void *)notice->args[argument], PATH_MAX};
  long n = sys_call6(310, notice->pid, (long)&here, 1, (long)&there, 1, 0); /* process_vm_readv */
  long length = 0;
  while (length < n && raw[length]) length++;
  if (length == 0 || length >= n) return 0;
  long start = 0;
  if (raw[0] != '/') {
    start = folder_of(notice->pid, argument == 0 ? AT_FDCWD : (int)notice->args[0], path);
    if (start == 0 || start + length >= PATH_MAX) return 0;
  }
  for (long i = 0; i <= length; i++) path[start + i] = raw[i];
  return start + length;
}

static struct sleep_entry *next_entry(struct sleep *sleep, char *log, u32 kind) {
  static const struct sleep_entry empty;
  struct sleep_entry *entry = (struct sleep_entry *)(log + sleep->used);
  *entry = empty;
  entry->kind = kind;
  entry->tid = sleep->notice.pid;
  return entry;
}

static void add(struct sleep *sleep, struct sleep_entry *entry) {
  entry->size = (u32)(sizeof *entry + entry->length + 7) & ~7u;
  sleep->used += entry->size;
}

/* Whether the call is a look-up or an open and no more; then it is in the log. */
static int log_path(struct sleep *sleep, char *log) {
  static char raw[PATH_MAX];
  const struct seccomp_notif *notice = &sleep->notice;
  int at, opens = 0;
  switch (notice->nr) {
    case SYS_open:
      opens = 1; /* fall through */
    case SYS_stat:
    case SYS_lstat:
    case SYS_access:
      at = 0;
      break;
    case SYS_openat:
      opens = 1; /* fall through */
    case SYS_newfstatat:
    case SYS_faccessat:
    case SYS_faccessat2:
    case SYS_statx:
      at = 1;
      break;
    default:
      return 0;
  }
  u64 flags = opens ? notice->args[at + 1] : 0;
  if (flags & ENDS_READING) return 0;
  struct sleep_entry *entry = next_entry(sleep, log, LOGGED_LOOK_UP);
  char *path = (char *)(entry + 1);
  entry->length = (u32)read_path(notice, at, path, raw);
  if (entry->length == 0) return 0;
  /* Names of a process for itself mean something only while it waits. */
  if (begins(path, "/proc/") || begins(path, "/dev/")) return 0;
  struct sys_stat stat;
  if (opens && !(flags & (O_DIRECTORY | O_PATH)) && sys_stat(path, &stat) == 0 && (stat.mode & S_IFMT) == S_IFREG &&
      stat.size > 0) {
    struct sleep_process *process = process_of(sleep, notice->pid);
    if (process == NULL) return 0;
    int by_loader = notice->ip >= process->loader_start && notice->ip < process->loader_end;
    if (stat.size > LOGGED_SMALL_FILE && !by_loader) return 0;
    entry->kind = LOGGED_OPEN;
    entry->ip = notice->ip;
    entry->bytes = (u64)stat.size;
  }
  add(sleep, entry);
  return 1;
}

/* Whether the recorder need not wake for a jump; if it is one in a file that is followed, it is in the log. */
static int log_seek(struct sleep *sleep, char *log) {
  const struct seccomp_notif *notice = &sleep->notice;
  if (notice->nr != SYS_lseek || process_of(sleep, notice->pid) == NULL) return 0;
  const struct sleep_reading *reading = sleep->readings;
  const struct sleep_reading *end = reading + sleep->readings_count;
  while (reading < end && (reading->pid != notice->pid || reading->fd != (int)notice->args[0])) reading++;
  if (reading == end) return 1;
  /* The number may have gone to another file since. */
  long order =
      sys_call6(312, sys_getpid(), notice->pid, KCMP_FILE, reading->borrowed, reading->fd, 0); /* kcmp */
  if (order < 0) return 0;
  if (order > 0) return 1;
  struct sleep_entry *entry = next_entry(sleep, log, LOGGED_SEEK);
  entry->fd = reading->fd;
  entry->at = sys_call3(SYS_lseek, reading->borrowed, 0, SEEK_CUR);
  entry->offset = (i64)notice->args[1];
  entry->whence = (u32)notice->args[2];
  add(sleep, entry);
  return 1;
}

static int is_logged(struct sleep *sleep, char *log) {
  if (sleep->hold || sleep->used + sizeof(struct sleep_entry) + PATH_MAX + 8 > sleep->size) return 0;
  return log_path(sleep, log) || log_seek(sleep, log);
}

__attribute__((visibility("default"))) void winnow_sleep(struct sleep *sleep, char *log) {
  struct pollfd fds[] = {{sleep->pipe, POLLIN, 0}, {sleep->listener, POLLIN, 0}};
  sleep->woken = 0;
  for (int calls = 0;; calls++) {
    long ready = sys_poll(fds, 2, sleep->timeout);
    /* A signal's byte is in the pipe then. */
    if (ready < 0 || fds[0].revents) sleep->woken |= WOKEN_SIGNAL;
    if (ready > 0 && (fds[1].revents & POLLHUP)) sleep->woken |= WOKEN_GONE;
    if (ready > 0 && (fds[1].revents & POLLIN)) {
      struct seccomp_notif empty = {0};
      sleep->notice = empty;
      if (sys_ioctl(sleep->listener, SECCOMP_IOCTL_NOTIF_RECV, &sleep->notice) == 0) {
        if (is_logged(sleep, log)) let_go(sleep->listener, sleep->notice.id);
        else sleep->woken |= WOKEN_NOTICE;
      }
      /* Gone where its thread was killed meanwhile. */
      if (sleep->woken == 0 && calls < CALLS_A_SLEEP) continue;
    }
    return;
  }
}
