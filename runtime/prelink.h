/*
 * prelink.h: prelink.bin, which names the prelinked copies of an image's programs. The image is only shown whole: a program
 * finds all its copies as they are in here, or none.
 *
 * Little-endian, x86-64; the TypeScript side is src/image/prelink-layout.ts. plan.h has the rules for changes, and the
 * envelope; `head_size` is the whole file here.
 *
 *     prelink_header, programs by ascending inode, modules, strings
 */
#ifndef WINNOW_PRELINK_H
#define WINNOW_PRELINK_H

#include "plan.h"

#define PRELINK_MAGIC 0x4b4c776f6e6e6977ull /* the bytes "winnowLK" */
#define PRELINK_VERSION 1u
#define PRELINK_PROGRAMS_MAX 4096u
#define PRELINK_MODULES_MAX 1024u /* of one program */
#define PRELINK_ALL_MODULES_MAX (1u << 17)
#define PRELINK_SIZE_MAX (1u << 24)

/* Starts without the copies, in prelink.misses (misses.h), and what the index counts: programs, or modules of all programs. */
#define PRELINK_MISSES "prelink.misses"
#define PRELINK_MISS_ENVIRONMENT 1u /* program: something speaks to the loader */
#define PRELINK_MISS_FILE 2u        /* module: the original is not as it was */
#define PRELINK_MISS_COPY 3u        /* module: its copy is not, or cannot be opened */
#define PRELINK_MISS_AREA 4u        /* program: addresses are taken */
#define PRELINK_MISS_MODULE 5u      /* module: another one came, or it came elsewhere */

struct prelink_header {
  struct plan_envelope envelope;
  u32 program_count;
  u32 module_count; /* of all programs */
  u32 strings_size; /* bytes, a multiple of 8, the last byte 0 */
  u32 reserved;     /* 0 */
};

/* A program as it was when its copies were made. */
struct prelink_program {
  u64 size;
  i64 mtime_sec;
  u32 mtime_nsec;
  u32 module_first;
  u64 inode;
  u64 area; /* where its copies will lie: nothing else may */
  u64 area_size;
  u32 module_count;
  u32 reserved; /* 0 */
};

/* What its loader maps, one after another, without the program and the loader itself. */
struct prelink_module {
  u32 path;      /* as the loader comes to it, absolute; from the start of the strings */
  u32 copy;      /* its name in the image's folder, without slashes; an empty one: the module stays as it is */
  u64 size;      /* this and the next three: the original as it was */
  i64 mtime_sec;
  u32 mtime_nsec;
  u32 reserved;  /* 0 */
  u64 inode;
  u64 copy_size;
  u64 dynamic;   /* the address of the copy's dynamic section; 0: the module stays as it is */
};

struct prelink_table {
  const struct prelink_header *header;
  const struct prelink_program *programs;
  const struct prelink_module *modules;
  const char *strings;
};

/* Finds the parts of a table of `size` bytes, and that they fill it. */
static inline int prelink_open(struct prelink_table *table, const void *bytes, u64 size) {
  const struct prelink_header *header = bytes;
  if (size < sizeof *header || size > PRELINK_SIZE_MAX || size % 8) return 0;
  const struct plan_envelope *envelope = &header->envelope;
  if (envelope->magic != PRELINK_MAGIC || envelope->version != PRELINK_VERSION) return 0;
  if (envelope->head_size != size || envelope->total_size != size) return 0;
  if (header->program_count > PRELINK_PROGRAMS_MAX || header->module_count > PRELINK_ALL_MODULES_MAX) return 0;
  table->header = header;
  table->programs = (const struct prelink_program *)(header + 1);
  table->modules = (const struct prelink_module *)(table->programs + header->program_count);
  table->strings = (const char *)(table->modules + header->module_count);
  if ((u64)(table->strings - (const char *)bytes) + header->strings_size != size) return 0;
  if (header->strings_size > 0 && ((const char *)bytes)[size - 1] != 0) return 0;
  return plan_checksum((const u8 *)bytes + sizeof *envelope, size - sizeof *envelope) == envelope->head_checksum;
}

static inline const char *prelink_text(const struct prelink_table *table, u32 at) {
  return at < table->header->strings_size ? table->strings + at : "";
}

static inline int prelink_begins(const char *text, const char *start) {
  while (*start && *text == *start) text++, start++;
  return *start == 0;
}

/* Whatever speaks to the loader may change what it finds, or when it binds. */
static inline int prelink_is_spoken_to(char *const *envp) {
  for (; envp != NULL && *envp; envp++)
    if (prelink_begins(*envp, "LD_") || prelink_begins(*envp, "GLIBC_TUNABLES=")) return 1;
  return 0;
}

static inline int prelink_is_file(u64 size, i64 sec, u32 nsec, u64 inode, const struct sys_stat *now) {
  return (now->mode & S_IFMT) == S_IFREG && now->ino == inode && (u64)now->size == size && now->mtime.sec == sec &&
         now->mtime.nsec == nsec;
}

/* The program that `now` is; NULL where it is none of the table's. */
static inline const struct prelink_program *prelink_find(const struct prelink_table *table, const struct sys_stat *now) {
  u32 low = 0, high = table->header->program_count;
  while (low < high) {
    u32 middle = low + (high - low) / 2;
    if (table->programs[middle].inode < now->ino)
      low = middle + 1;
    else
      high = middle;
  }
  for (; low < table->header->program_count && table->programs[low].inode == now->ino; low++) {
    const struct prelink_program *one = &table->programs[low];
    if (!prelink_is_file(one->size, one->mtime_sec, one->mtime_nsec, one->inode, now)) continue;
    int inside = one->module_count <= PRELINK_MODULES_MAX && one->module_first <= table->header->module_count &&
                 one->module_count <= table->header->module_count - one->module_first;
    return inside && one->module_count > 0 ? one : NULL;
  }
  return NULL;
}

#endif
