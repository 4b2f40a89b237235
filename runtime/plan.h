/*
 * plan.h: plan.bin, which winnow build writes and the launcher reads in place.
 *
 * Little-endian, x86-64. The TypeScript side is src/image/plan-layout.ts; a test compares both, field by
 * field. Rules for a change: a new meaning or a new field needs a new PLAN_VERSION; the first 32 bytes
 * (struct plan_envelope) never change, so that any launcher can tell that a plan is too new for it.
 *
 *     head   plan_header, probes, paths of the probes      all that a warm start reads
 *     body   files, extents, look-ups, tasks, strings      read by the background workers
 *
 * Each part has a checksum, so a warm start does not read the body. The tables lie one after another in
 * this order without gaps, each 8-byte aligned. Offsets of strings are counted from the start of their part;
 * a part with strings ends with a zero byte, so any offset inside it begins a string that ends in it.
 */
#ifndef WINNOW_PLAN_H
#define WINNOW_PLAN_H

#include "sys.h"

#define PLAN_MAGIC 0x4c50776f6e6e6977ull /* the bytes "winnowPL" */
#define PLAN_VERSION 1u
#define PLAN_PAGE 4096u

#define PLAN_HEAD_MAX 8192u
#define PLAN_PROBES_MAX 120u
#define PLAN_PROBES_TRIED 24u /* of them at one start */
#define PLAN_WORKERS_MAX 16u
#define PLAN_CHUNK_MAX 4096u
#define PLAN_SIZE_MAX (1ull << 30)

/* What every version has. */
struct plan_envelope {
  u64 magic;
  u32 version;
  u32 head_size;     /* bytes of the head, strings of the probes included; a multiple of 8 */
  u64 total_size;    /* bytes of the file; a multiple of 8 */
  u64 head_checksum; /* plan_checksum of the head from byte 32 on */
};

struct plan_header {
  struct plan_envelope envelope;
  u64 body_checksum; /* plan_checksum of everything after the head */
  u32 probe_count;   /* probes follow the header */
  u32 workers;       /* processes that fetch, 1 to PLAN_WORKERS_MAX */
  u32 file_count;
  u32 extent_count;
  u32 lookup_count;
  u32 task_count;
  u32 strings_size; /* bytes, a multiple of 8, the last byte 0 */
  u32 reserved;     /* 0 */
};

/* A page that says whether the program is in memory. The first one belongs to the program itself. */
struct plan_probe {
  u32 path; /* from the start of the file, inside the head */
  u32 page;
};

struct plan_file {
  u32 path; /* from the start of the strings */
  u32 chunk_pages; /* pages that one readahead call may ask for; the kernel drops the rest silently */
  u64 size;
  i64 mtime_sec;
  u32 mtime_nsec;
  u32 reserved; /* 0 */
  u64 inode;
  u32 extent_first;
  u32 extent_count;
};

struct plan_extent {
  u32 page;
  u32 count;
};

struct plan_lookup {
  u32 path; /* from the start of the strings */
  u32 found; /* 1 if the path existed when it was recorded */
};

/* A piece of work for one worker. Tasks are taken in this order. */
#define PLAN_TASK_FILE 0u    /* extents `first` to `first + count` of `file` */
#define PLAN_TASK_LOOKUPS 1u /* look-ups `first` to `first + count`; `file` is 0 */
struct plan_task {
  u32 kind;
  u32 file;
  u32 first; /* index in the table of extents or look-ups */
  u32 count;
};

/* plan.misses (misses.h): files that workers left out; `index` is the file's. */
#define PLAN_MISS_GONE 1u    /* not there, or not to be seen by this user */
#define PLAN_MISS_CHANGED 2u /* another size, inode or time */

/* FNV-1a over 64-bit words: it finds damage; it is no protection against a forger, whom owner and mode keep out. */
static inline u64 plan_checksum(const void *from, u64 size) {
  const u64 *word = from;
  u64 sum = 0xcbf29ce484222325ull;
  for (u64 i = 0; i < size / 8; i++) sum = (sum ^ word[i]) * 0x100000001b3ull;
  return sum;
}

#endif
