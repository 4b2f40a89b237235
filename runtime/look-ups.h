/*
 * look-ups.h: what the recorder and its sleep (look-ups.c) tell each other: struct sleep, filled by src/sys/wake.ts, and
 * the log of calls that were let go. src/sys/wake-layout.ts is compared with it field by field by a test. Both sides
 * are of one build, so there is no version.
 */
#ifndef WINNOW_LOOK_UPS_H
#define WINNOW_LOOK_UPS_H
#include "notices.h"

/* What woke the recorder. */
#define WOKEN_NOTICE 1
#define WOKEN_GONE 2   /* nobody is left behind the filter */
#define WOKEN_SIGNAL 4 /* one is in the pipe */

/* A look-up, and no more. */
#define LOGGED_LOOK_UP 0
/* An open for reading of a file that counts whole, or of which the loader looks at the first page. */
#define LOGGED_OPEN 1
/* A jump in a file whose reading is followed. */
#define LOGGED_SEEK 2

/* Files up to this size count whole (src/record/file-use.ts). */
#define LOGGED_SMALL_FILE 65536

#define PROCESS_SLOTS 64
#define READINGS_MAX 256

/* A process whose first thread is known, at its id modulo PROCESS_SLOTS; and where the dynamic loader's code lies in it. */
struct sleep_process {
  u32 pid; /* 0: none */
  u32 padding;
  u64 loader_start, loader_end;
};

/* A descriptor of a process, and our duplicate of it. */
struct sleep_reading {
  u32 pid;
  int fd;
  int borrowed;
};

struct sleep {
  int listener; /* -1: none */
  int pipe;
  int timeout;
  int hold; /* all calls are the recorder's */
  int woken;
  u32 used; /* bytes of the log */
  u32 size;
  u32 readings_count;
  struct seccomp_notif notice;
  struct sleep_process processes[PROCESS_SLOTS];
  struct sleep_reading readings[READINGS_MAX];
};

struct sleep_entry {
  u32 size; /* of all of it, a multiple of 8 */
  u32 kind;
  u32 tid;
  int fd;       /* of a jump */
  u64 ip;       /* of an open */
  u64 bytes;    /* of the file that was opened */
  i64 at;       /* of a jump: where the file's offset was */
  i64 offset;   /* of a jump: the call's arguments */
  u32 whence;
  u32 length;   /* of the path that follows; 0 of a jump */
};

#endif
