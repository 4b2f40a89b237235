/*
 * inside-reads.c: how far files are read.
 *
 * Problem: read() leaves no trace in the page tables. Method: a descriptor that was opened for reading is followed by
 * what the calls return: reads move it, jumps begin a new piece. The table lies in the log, so that it is there when the
 * process has been killed. Example: ld opens libgcc.a, reads 60 KiB, jumps to 2 MiB, reads 8 KiB: [0, 60K), and in the table
 * [2M, 2M + 8K).
 * Duplicates share what they share. Limits: descriptors from INSIDE_DESCRIPTORS on; what splice, io_uring and preadv read;
 * of an offset that is shared with another process, what that does to it.
 */
#include "inside-log.h"

#define O_ACCMODE 3
#define O_CREAT 0100
#define O_TRUNC 01000

/* In the log. A number of it is what descriptors with one offset share. */
static struct inside_reading *table;
/* By descriptor: 1 + its number in the table, or 0. */
static u16 numbers[INSIDE_DESCRIPTORS];
static u16 holders[INSIDE_DESCRIPTORS]; /* descriptors of each number */

static struct inside_reading *reading_of(u64 fd) {
  return table != NULL && fd < INSIDE_DESCRIPTORS && numbers[fd] != 0 ? &table[numbers[fd] - 1] : NULL;
}

static void put_piece(const struct inside_reading *reading, u64 from, u64 to) {
  struct inside_entry piece = {.kind = ENTRY_PIECE, .result = (i64)reading->opened, .first = from, .second = to};
  if (to > from) inside_log_add(piece, NULL);
}

static void let_go(u64 fd) {
  struct inside_reading *reading = reading_of(fd);
  if (reading == NULL) return;
  u16 number = (u16)(numbers[fd] - 1);
  numbers[fd] = 0;
  if (holders[number] > 1) {
    holders[number]--;
    return;
  }
  holders[number] = 0;
  put_piece(reading, reading->from, reading->at);
  reading->opened = 0;
}

static void follow(u64 fd, u64 opened, u64 at) {
  if (opened == 0 || fd >= INSIDE_DESCRIPTORS) return;
  if (table == NULL) table = inside_log_table();
  if (table == NULL) return;
  let_go(fd);
  /* There are as many numbers as descriptors, so one is free; its own, most often. */
  u64 number = fd;
  while (holders[number] != 0) number = (number + 1) % INSIDE_DESCRIPTORS;
  struct inside_reading *reading = &table[number];
  reading->from = reading->at = at;
  reading->opened = opened;
  holders[number] = 1;
  numbers[fd] = (u16)(number + 1);
}

void inside_reads_open(int fd, u64 opened, u64 flags) {
  int is_read = (flags & O_ACCMODE) == O_RDONLY && !(flags & (O_DIRECTORY | O_PATH | O_CREAT | O_TRUNC));
  if (is_read) follow((u64)fd, opened, 0);
  else let_go((u64)fd);
}

void inside_reads_share(u64 from, i64 to) {
  if ((u64)to >= INSIDE_DESCRIPTORS || (u64)to == from) return;
  let_go((u64)to);
  if (reading_of(from) == NULL) return;
  numbers[to] = numbers[from];
  holders[numbers[from] - 1]++;
}

/* With an offset of its own, the file's stays. */
static void note_read(struct inside_reading *reading, const u64 *own_offset, u64 bytes) {
  if (own_offset == NULL) reading->at += bytes;
  else put_piece(reading, *own_offset - bytes, *own_offset);
}

static void jump(struct inside_reading *reading, u64 to) {
  if (to == reading->at) return;
  put_piece(reading, reading->from, reading->at);
  reading->from = reading->at = to;
}

void inside_reads_call(u32 call, const u64 *arguments, i64 result) {
  u64 fd = arguments[call == 40 ? 1 : 0];
  if (call == 3) return let_go(fd); /* close */
  struct inside_reading *reading = reading_of(fd);
  if (reading == NULL || result < 0) return;
  switch (call) {
    case 0:  /* read */
    case 19: /* readv */
      return note_read(reading, NULL, (u64)result);
    case 40: /* sendfile */
      return note_read(reading, (const u64 *)arguments[2], (u64)result);
    case 326: /* copy_file_range */
      return note_read(reading, (const u64 *)arguments[1], (u64)result);
    case 17: /* pread64 */
      return put_piece(reading, arguments[3], arguments[3] + (u64)result);
    case 8: /* lseek */
      return jump(reading, (u64)result);
  }
}

/* The parent's table is the parent's. */
void inside_reads_fork(void) {
  struct inside_reading *old = table;
  if (old == NULL) return;
  table = inside_log_table();
  for (unsigned i = 0; i < INSIDE_DESCRIPTORS; i++) {
    if (table == NULL) numbers[i] = holders[i] = 0;
    else if (holders[i] != 0) table[i] = (struct inside_reading){old[i].opened, old[i].at, old[i].at};
  }
}

/* Standard input that is a file: a shell opened it, in another process or before an exec. */
void inside_reads_start(void) {
  static char path[AUDIT_PATH_SIZE];
  struct sys_stat stat;
  if (sys_fstat(0, &stat) < 0 || (stat.mode & S_IFMT) != S_IFREG) return;
  long length = sys_readlink("/proc/self/fd/0", path, sizeof path - 1);
  if (length <= 0) return;
  path[length] = 0;
  struct inside_entry entry = {.kind = ENTRY_HELD};
  long at = sys_call3(8, 0, 0, 1); /* lseek to where it is */
  follow(0, inside_log_add(entry, path), at > 0 ? (u64)at : 0);
}
