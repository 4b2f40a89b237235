/*
 * watcher: what a light recording sees of a program.
 *
 * usage: watcher LISTENER ORDERS DATA NUDGE ROOT [KEEP]     (descriptors)
 *   LISTENER  of a filter that traps execve, execveat and exit_group, and words of inside.so
 *   ORDERS    a pipe's end to read. One byte: end, the recorder answers from here on. End of file: the
 *             recorder died; then the first process is killed, and the others go on as if unrecorded
 *   DATA      a pipe's end to write: what was seen, in chunks
 *   NUDGE     a pipe that wakes the recorder: one byte when DATA is full
 *   ROOT      pidfd of the first process
 *   KEEP      a datagram socket that inside.so sends userfaultfds to
 *
 * Problem: a recorder in JavaScript that stands between the program and its system calls costs it
 * several times what the calls themselves cost, as most of its code runs for the first time.
 * Method: a memory is looked at where it is about to go, while its thread waits in the trapped call, by
 * code that is always ready: what /proc says goes into the pipe as it is, and the call goes on. The
 * recorder reads the pipe when the program has ended, or when it is full. This program thinks as little
 * as it can.
 * Example: gcc's five processes make nine notices, of about a tenth of a millisecond each.
 * A recording from inside has words with it (inside.h): it keeps userfaultfds, and seizes those processes so that they stop
 * before they end, however they do.
 * Limits: an end by a signal (but of those), or by the plain exit of the last thread, traps nothing.
 *
 * A chunk is 4 bytes of kind, 4 bytes of length, and so many bytes; src/record/sightings.ts reads them.
 * DATA ends when nobody is left behind the filter.
 */
#include "inside.h"
#include "messages.h"
#include "notices.h"
#include "pagemap.h"
#include "start.h"

#define SYS_execve 59
#define SYS_execveat 322
#define SYS_exit_group 231
#define SYS_userfaultfd 323
#define UFFDIO_REGISTER 0xc020aa00ul
#define UFFD_MODE_WP 2
/* Of processes with inside.so whose mappings are registered, at a time; those beyond are given up. */
#define KEPT_MAX 400
#define KCMP_VM 1
#define SIGKILL 9
#define SIGPIPE 13
#define X_OK 1
#define SYS_kill 62
#define PTRACE_CONT 7
#define PTRACE_DETACH 17
#define PTRACE_GETEVENTMSG 0x4201
#define PTRACE_SETOPTIONS 0x4200
#define PTRACE_SEIZE 0x4206
#define PTRACE_INTERRUPT 0x4207
#define PTRACE_LISTEN 0x4208
#define SEIZE_AFTER 50000000ull /* nanoseconds */
#define SEIZE_STEP_MS 25
#define PTRACE_O_TRACEEXIT 0x40
#define PTRACE_EVENT_EXIT 6
#define PTRACE_EVENT_STOP 128
#define SIGSTOP 19
#define SIGTSTP 20
#define SIGTTIN 21
#define SIGTTOU 22
#define WNOHANG 1
#define MSG_DONTWAIT 0x40
#define MSG_CMSG_CLOEXEC 0x40000000
#define SFD_CLOEXEC_NONBLOCK 02004000
/* Room for "/proc/PID/root". */
#define PREFIX 64

/* Kinds of chunks. */
#define SEEN 1    /* struct seen; begins a sighting */
#define PROGRAM 2 /* link of /proc/PID/exe */
#define WORDS 3   /* /proc/PID/cmdline, its beginning */
#define MAPS 4    /* a piece of /proc/PID/maps */
#define PAGES 5   /* struct page_region, some */
#define DONE 6    /* ends a sighting */
#define ENVIRONMENT 7 /* a piece of /proc/PID/environ */
#define GIVEN_UP 8 /* a process whose pages are rounded up from here on; by itself */

struct seen {
  u32 nr;
  u32 thread;
  u32 process;
  u32 parent;
  u32 status; /* of exit_group; of a kill the signal */
  u32 borrowed; /* the memory is the parent's: vfork */
  u64 time;     /* of the monotonic clock, in nanoseconds */
};

static int listener, orders, data, nudge, root;
static int children; /* signalfd of SIGCHLD */
static int keeping;  /* socket, or -1 */
static int mute; /* nobody reads DATA any more */

struct kept {
  u32 process; /* 0: none */
  int uffd;
  int pidfd;
  u64 since; /* on the monotonic clock; 0: it is seized */
};

static struct kept kept[KEPT_MAX];

static char out[256 * 1024];
static unsigned filled;
static char text[64 * 1024];
static struct page_region regions[2048];

static void fall_silent(void) {
  mute = 1;
  filled = 0;
}

/* The program waits while the recorder, woken by the nudge, empties the pipe. */
static void wait_for_room(void) {
  sys_write(nudge, "\x11", 1); /* SIGCHLD, as the recorder's own handler writes it */
  struct pollfd room = {data, POLLOUT, 0};
  sys_poll(&room, 1, -1);
}

static void flush(void) {
  unsigned at = 0;
  while (at < filled && !mute) {
    long n = sys_write(data, out + at, filled - at);
    if (n >= 0) at += (unsigned)n;
    else if (n == -EAGAIN) wait_for_room();
    else if (n != -EINTR) fall_silent();
  }
  filled = 0;
}

static void copy(const void *from, unsigned length) {
  const char *bytes = from;
  for (unsigned i = 0; i < length; i++) out[filled + i] = bytes[i];
  filled += length;
}

static void put(u32 kind, const void *bytes, u32 length) {
  if (filled + 8 + length > sizeof out) flush();
  copy(&kind, 4);
  copy(&length, 4);
  copy(bytes, length);
}

/* /proc/PROCESS/NAME in a buffer of its own. */
static const char *proc_path(u32 process, const char *name) {
  static char path[64];
  char digits[12];
  int count = 0;
  do digits[count++] = (char)('0' + process % 10);
  while ((process /= 10) > 0);
  char *at = path;
  for (const char *from = "/proc/"; *from; from++) *at++ = *from;
  while (count > 0) *at++ = digits[--count];
  *at++ = '/';
  while (*name) *at++ = *name++;
  *at = 0;
  return path;
}

static u32 field(const char *status, const char *name) {
  for (const char *line = status; *line; line++) {
    const char *at = line, *wanted = name;
    while (*wanted && *at == *wanted) at++, wanted++;
    if (*wanted == 0) {
      while (*at == '\t' || *at == ' ') at++;
      return (u32)parse_fd(at);
    }
    while (*line && *line != '\n') line++;
    if (!*line) break;
  }
  return 0;
}

/* Process and parent of a thread; 0 where it is gone. */
static int read_family(struct seen *seen) {
  int fd = (int)sys_open(proc_path(seen->thread, "status"), O_RDONLY);
  if (fd < 0) return 0;
  long n = sys_read(fd, text, 1023);
  sys_close(fd);
  if (n <= 0) return 0;
  text[n] = 0;
  seen->process = field(text, "Tgid:");
  seen->parent = field(text, "PPid:");
  return seen->process != 0;
}

static void put_link(u32 thread) {
  long n = sys_readlink(proc_path(thread, "exe"), text, 4096);
  if (n > 0) put(PROGRAM, text, (u32)n);
}

static void put_file(u32 kind, u32 thread, const char *name, int pieces) {
  int fd = (int)sys_open(proc_path(thread, name), O_RDONLY);
  if (fd < 0) return;
  while (pieces-- != 0) {
    long n = sys_read(fd, text, 32768);
    if (n <= 0) break;
    put(kind, text, (u32)n);
  }
  sys_close(fd);
}

static void put_pages(u32 thread) {
  int fd = (int)sys_open(proc_path(thread, "pagemap"), O_RDONLY);
  if (fd < 0) return;
  struct scan_argument scan = {.size = sizeof scan,
                               .end = USER_END,
                               .vec = (u64)regions,
                               .vec_length = sizeof regions / sizeof regions[0],
                               .any_of = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
                               .wanted = PAGE_IS_PRESENT | PAGE_IS_SWAPPED};
  while (scan.start < scan.end) {
    long n = sys_ioctl(fd, PAGEMAP_SCAN, &scan);
    if (n < 0) break;
    put(PAGES, regions, (u32)n * sizeof regions[0]);
    if (n == 0) break;
    scan.start = scan.walk_end;
  }
  sys_close(fd);
}

/*
 * Whether an execve is sure to fail for want of the file, as most of those of a search along PATH do. A
 * path that cannot be read (another user's, yama) is not sure.
 */
static int has_no_file(const struct seccomp_notif *notice) {
  static char path[PREFIX + 4096];
  if (notice->nr != SYS_execve) return 0;
  struct sys_iovec here = {path + PREFIX, 4096}, there = {(void *)notice->args[0], 4096};
  long n = sys_call6(310, notice->pid, (long)&here, 1, (long)&there, 1, 0); /* process_vm_readv */
  long length = 0;
  while (length < n && path[PREFIX + length]) length++;
  if (n <= 0 || length == n || length == 0) return 0;
  /* As the process sees it: below its own root, or its working folder. */
  const char *above = proc_path(notice->pid, path[PREFIX] == '/' ? "root" : "cwd/");
  unsigned size = 0;
  while (above[size]) size++;
  char *whole = path + PREFIX - size;
  for (unsigned i = 0; i < size; i++) whole[i] = above[i];
  long found = sys_call3(269, AT_FDCWD, (long)whole, X_OK); /* faccessat */
  return found == -ENOENT || found == -ENOTDIR;
}

static struct kept *kept_of(u32 process) {
  for (unsigned i = 0; i < KEPT_MAX; i++)
    if (kept[i].process == process) return &kept[i];
  return 0;
}

static u64 now(void) {
  struct sys_timespec time;
  sys_clock_gettime(CLOCK_MONOTONIC, &time);
  return (u64)time.sec * 1000000000u + (u64)time.nsec;
}

static void give_up(struct kept *one) {
  if (one == 0 || one->process == 0) return;
  sys_close(one->uffd);
  sys_close(one->pidfd);
  one->process = 0;
}

static int has_ended(const struct kept *one) {
  struct pollfd process = {one->pidfd, POLLIN, 0};
  return sys_poll(&process, 1, 0) > 0;
}

static struct kept *free_place(void) {
  struct kept *one = kept_of(0);
  for (unsigned i = 0; one == 0 && i < KEPT_MAX; i++) {
    if (!has_ended(&kept[i])) continue;
    one = &kept[i];
    give_up(one);
  }
  return one;
}

static void keep(u32 process, int uffd) {
  struct kept *one = kept_of(process);
  u64 since = one != 0 && one->since == 0 ? 0 : now();
  if (one == 0) one = free_place();
  if (one == 0) {
    sys_close(uffd);
    if (!mute) put(GIVEN_UP, &process, sizeof process);
    return;
  }
  give_up(one);
  one->pidfd = (int)sys_call3(434, process, 0, 0); /* pidfd_open */
  if (one->pidfd < 0) {
    sys_close(uffd);
    return;
  }
  one->process = process;
  one->uffd = uffd;
  one->since = since;
}

/*
 * Seizes the processes that have lived for a while: their end by a signal traps nothing. Not at once, for the parent of one that
 * is seized learns of its end by way of this process. Refused where somebody else traces it: then such an end is not seen.
 * Returns whether there are younger ones.
 */
static int seize_grown(void) {
  u64 time = now();
  int young = 0;
  for (unsigned i = 0; i < KEPT_MAX; i++) {
    struct kept *one = &kept[i];
    if (one->process == 0 || one->since == 0) continue;
    if (has_ended(one)) give_up(one);
    else if (time - one->since < SEIZE_AFTER) young = 1;
    else {
      one->since = 0;
      long seized = sys_call4(101, PTRACE_SEIZE, one->process, 0, 0); /* ptrace */
      /* The number may have gone to another process in between. */
      if (seized == 0 && has_ended(one)) {
        sys_call4(101, PTRACE_INTERRUPT, one->process, 0, 0);
        give_up(one);
      }
    }
  }
  return young;
}

/* Userfaultfds that processes have sent since. */
static void keep_all(void) {
  struct {
    u64 length;
    int level, type;
    union {
      int fd;
      struct credentials {
        u32 process, user, group;
      } credentials;
    } of;
    u32 padding;
  } control[2];
  for (;;) {
    char byte;
    struct sys_iovec part = {&byte, 1};
    struct socket_message message = {
        .parts = &part, .parts_count = 1, .control = control, .control_length = sizeof control};
    if (sys_call3(47, keeping, (long)&message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0) return; /* recvmsg */
    u32 process = 0;
    int uffd = -1;
    const char *at = (const char *)control, *end = at + message.control_length;
    while (at + 16 < end) {
      u64 length = *(const u64 *)at;
      int type = *(const int *)(at + 12);
      if (type == SCM_RIGHTS) uffd = *(const int *)(at + 16);
      if (type == SCM_CREDENTIALS) process = *(const u32 *)(at + 16);
      at += (length + 7) & ~7ul;
    }
    if (process != 0 && uffd >= 0) keep(process, uffd);
    else if (uffd >= 0) sys_close(uffd);
  }
}

static long register_later(u32 thread, u64 start, u64 end) {
  struct seen seen = {.thread = thread};
  struct kept *one = kept_of(thread);
  if (one == 0 && read_family(&seen)) one = kept_of(seen.process);
  u64 argument[4] = {start, end - start, UFFD_MODE_WP, 0};
  return one == 0 ? -ENOENT : sys_ioctl(one->uffd, UFFDIO_REGISTER, argument);
}

static void look(const struct seccomp_notif *notice) {
  int ending = notice->nr == SYS_exit_group || notice->nr == SYS_kill;
  struct seen seen = {.nr = (u32)notice->nr, .thread = notice->pid};
  if (notice->pid == 0) return;
  if ((notice->nr == SYS_execve || notice->nr == SYS_execveat) && has_no_file(notice)) return;
  if (!read_family(&seen)) return;
  seen.time = now();
  seen.status = ending ? (u32)notice->args[0] & 0xff : 0;
  seen.borrowed = sys_call6(312, seen.process, seen.parent, KCMP_VM, 0, 0, 0) == 0; /* kcmp */
  put(SEEN, &seen, sizeof seen);
  put_link(seen.thread);
  put_file(WORDS, seen.thread, "cmdline", 1);
  put_file(ENVIRONMENT, seen.thread, "environ", -1);
  if (!seen.borrowed) {
    put_file(MAPS, seen.thread, "maps", -1);
    put_pages(seen.thread);
  }
  put(DONE, 0, 0);
  if (ending) give_up(kept_of(seen.process));
}

/* A process that keep() has seized stops: for each signal, and from then on before its end. */
static void attend(u32 process, u32 status) {
  u32 signal = status >> 8 & 0xff, event = status >> 16;
  if (kept_of(process) == 0) {
    /* Not one of them: seized by its number, which was another's. */
    sys_call4(101, PTRACE_DETACH, process, 0, event == 0 ? signal : 0);
    return;
  }
  if (event == PTRACE_EVENT_EXIT) {
    u64 end = 0;
    sys_call4(101, PTRACE_GETEVENTMSG, process, 0, (long)&end);
    /* One that exits by itself has been looked at: by itself, or where it called exit_group. */
    struct seccomp_notif notice = {.pid = process, .nr = SYS_kill, .args = {end & 0x7f}};
    if ((end & 0x7f) != 0 && !mute) look(&notice);
    else give_up(kept_of(process));
    sys_call4(101, PTRACE_DETACH, process, 0, 0);
  } else if (event == PTRACE_EVENT_STOP) {
    int is_group_stop = signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
    sys_call4(101, is_group_stop ? PTRACE_LISTEN : PTRACE_CONT, process, 0, 0);
  } else {
    /* It may be its last one: only then is its end of interest. */
    if (event == 0 && signal != SIGCHLD) sys_call4(101, PTRACE_SETOPTIONS, process, 0, PTRACE_O_TRACEEXIT);
    sys_call4(101, PTRACE_CONT, process, 0, event == 0 ? signal : 0);
  }
}

static void attend_all(void) {
  char told[128];
  while (sys_read(children, told, sizeof told) > 0) continue;
  int status = 0;
  long process;
  while ((process = sys_wait4(-1, &status, WNOHANG | __WALL)) > 0) {
    if ((status & 0xff) == 0x7f) attend((u32)process, (u32)status);
    else give_up(kept_of((u32)process));
  }
  flush();
}

/* What inside.so asks for; the call is none, and is not made. */
static void heed(const struct seccomp_notif *notice) {
  keep_all();
  long result = 0;
  if (mute) result = -ENOENT;
  else if (notice->args[1] == INSIDE_REGISTER) result = register_later(notice->pid, notice->args[2], notice->args[3]);
  else result = -EINVAL;
  struct seccomp_notif_resp said = {notice->id, 0, result < 0 ? (int)result : 0, 0};
  while (sys_ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &said) == -EINTR) continue;
}

static void answer(void) {
  struct seccomp_notif notice = {0};
  if (sys_ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &notice) < 0) return;
  if (notice.nr == SYS_userfaultfd) {
    heed(&notice);
    return flush();
  }
  if (!mute) look(&notice);
  let_go(listener, notice.id);
  flush();
}

int watcher_main(long argc, char **argv) {
  if (argc < 6) return EINVAL;
  int *const named[] = {&listener, &orders, &data, &nudge, &root, &keeping};
  int count = argc > 6 ? 6 : 5;
  int kept[6];
  keeping = -1;
  for (int i = 0; i < count; i++) {
    int fd = *named[i] = parse_fd(argv[i + 1]);
    int at = i;
    for (; at > 0 && kept[at - 1] > fd; at--) kept[at] = kept[at - 1];
    kept[at] = fd;
  }
  keep_only(kept, count);
  struct sys_sigaction ignored = {.handler = SIG_IGN};
  sys_sigaction(SIGPIPE, &ignored, 0);
  u64 sigchld = 1ull << (SIGCHLD - 1);
  sys_sigprocmask(SIG_SETMASK, &sigchld, 0);
  children = (int)sys_call4(289, -1, (long)&sigchld, sizeof sigchld, SFD_CLOEXEC_NONBLOCK); /* signalfd4 */
  for (;;) {
    struct pollfd waiting[] = {{listener, POLLIN, 0}, {orders, POLLIN, 0}, {children, POLLIN, 0}, {keeping, POLLIN, 0}};
    int young = seize_grown();
    if (sys_poll(waiting, 4, young ? SEIZE_STEP_MS : -1) < 0) continue;
    if (waiting[3].revents & POLLIN) keep_all();
    if (waiting[2].revents & POLLIN) attend_all();
    if (waiting[0].revents & POLLIN) {
      answer();
      continue;
    }
    if (waiting[0].revents & (POLLHUP | POLLERR)) return 0;
    if (waiting[1].revents & POLLIN) return 0;
    if (waiting[1].revents & POLLHUP) {
      /* Who kills winnow means the program too. */
      sys_call4(424, root, SIGKILL, 0, 0); /* pidfd_send_signal */
      fall_silent();
      sys_close(orders);
      orders = -1;
    }
  }
}

START_AT(watcher_main);
