/*
 * modules.h: modules.bin, which winnow build writes, and which the launcher and audit.so read in place.
 *
 * It says which files (originals) a started program should find replaced by others (replacements), which
 * stand beside modules.bin. Little-endian, x86-64. The TypeScript side is src/image/modules-layout.ts; a test
 * compares both, field by field. Rules for a change: as for plan.bin (plan.h), with which it shares the
 * envelope; `head_size` is the whole file here, so the checksum is one of all of it.
 *
 *     modules_header, entries by ascending inode, strings
 *
 * No device number: it changes from boot to boot. Size, time and inode tell a file that has changed.
 */
#ifndef WINNOW_MODULES_H
#define WINNOW_MODULES_H

#include "plan.h"

#define MODULES_MAGIC 0x4f4d776f6e6e6977ull /* the bytes "winnowMO" */
/* 1 knew no MODULE_LINKED; it is what is written where no module has it. */
#define MODULES_VERSION 2u
#define MODULES_VERSION_PLAIN 1u
#define MODULES_MAX 4096u
#define MODULES_SIZE_MAX (1u << 22)

/* How the program is to be shown the replacements. */
#define MODULES_SHOW_AUTO 0u        /* mounts, else audit, else plain */
#define MODULES_SHOW_MOUNTS 1u      /* in a mount namespace of its own, else plain */
#define MODULES_SHOW_USER_MOUNTS 2u /* in a user and a mount namespace, else plain */
#define MODULES_SHOW_AUDIT 3u       /* by an audit object of the dynamic loader, else plain */
#define MODULES_SHOW_PLAIN 4u       /* not at all */
#define MODULES_SHOW_LAST MODULES_SHOW_PLAIN

/*
 * Whether the replacements' unused code can be executed. Where it cannot, a file (cold.h) stands beside each of them, and
 * audit.so is demand.so.
 */
#define MODULES_COLD_FILE 0u
#define MODULES_COLD_DENY 1u
#define MODULES_COLD_STORE 2u /* never mounted: who met one without audit.so could not run it */

#define MODULE_LIBRARY 0u
#define MODULE_PROGRAM 1u     /* is executed */
#define MODULE_INTERPRETER 2u /* is the dynamic loader */
#define MODULE_ROLE 3u        /* the bits of the role */
/* Asks for files by its own folder ($ORIGIN), which the loader may take for the replacement's (audit-names.c). */
#define MODULE_USES_ORIGIN 4u
/* A program that names a loader in the image's folder (share.h): who cannot reach that cannot start it. */
#define MODULE_LINKED 8u
/* Such a program that never asks for its own path: its replacement, in `direct`, may be executed itself. */
#define MODULE_BY_ANY_NAME 16u

struct modules_header {
  struct plan_envelope envelope;
  u32 show;         /* MODULES_SHOW_…, where the caller asks for none */
  u32 count;        /* of entries, at most MODULES_MAX */
  u32 strings_size; /* bytes, a multiple of 8, the last byte 0 */
  u32 cold;         /* MODULES_COLD_… */
};

struct modules_entry {
  u32 path;        /* of the original, absolute, links resolved; from the start of the strings */
  u32 replacement; /* its name in the folder of the image, without slashes */
  u64 size;        /* this and the next four: the original as it was when the replacement was made */
  i64 mtime_sec;
  u32 mtime_nsec;
  u32 flags; /* MODULE_… */
  u64 inode;
  u64 replacement_size;
};

struct modules_table {
  const struct modules_header *header;
  const struct modules_entry *entries;
  const char *strings;
};

/* Finds the parts of a table of `size` bytes, and that they fill it; what entries say is checked where it is used. */
static inline int modules_open(struct modules_table *table, const void *bytes, u64 size) {
  const struct modules_header *header = bytes;
  if (size < sizeof *header || size > MODULES_SIZE_MAX || size % 8) return 0;
  const struct plan_envelope *envelope = &header->envelope;
  if (envelope->magic != MODULES_MAGIC) return 0;
  if (envelope->version < MODULES_VERSION_PLAIN || envelope->version > MODULES_VERSION) return 0;
  if (envelope->head_size != size || envelope->total_size != size) return 0;
  if (header->count > MODULES_MAX || header->show > MODULES_SHOW_LAST) return 0;
  u64 strings = sizeof *header + (u64)header->count * sizeof *table->entries;
  if (strings + header->strings_size != size) return 0;
  if (header->strings_size > 0 && ((const char *)bytes)[size - 1] != 0) return 0;
  if (plan_checksum((const u8 *)bytes + sizeof *envelope, size - sizeof *envelope) != envelope->head_checksum) return 0;
  table->header = header;
  table->entries = (const struct modules_entry *)(header + 1);
  table->strings = (const char *)bytes + strings;
  return 1;
}

static inline const char *modules_text(const struct modules_table *table, u32 at) {
  return at < table->header->strings_size ? table->strings + at : "";
}

/* A file that only root and `user` can change. */
static inline int only_owner_writes(const struct sys_stat *stat, u32 user) {
  return (stat->mode & S_IFMT) == S_IFREG && (stat->uid == user || stat->uid == 0) && !(stat->mode & 022);
}

static inline int module_is_original(const struct modules_entry *entry, const struct sys_stat *now) {
  /* A set-uid program would lose its rights by being replaced. */
  return (now->mode & S_IFMT) == S_IFREG && !(now->mode & 06000) && now->ino == entry->inode &&
         (u64)now->size == entry->size && now->mtime.sec == entry->mtime_sec && now->mtime.nsec == entry->mtime_nsec;
}

static inline int module_is_replacement(const struct modules_entry *entry, const struct sys_stat *now, u32 user) {
  return only_owner_writes(now, user) && (u64)now->size == entry->replacement_size;
}

/*
 * The first entry whose original looks like `now`; NULL where there is none. Entries in another order than
 * that of inodes are not found, which is no harm.
 */
static inline const struct modules_entry *modules_find(const struct modules_table *table, const struct sys_stat *now) {
  u32 low = 0, high = table->header->count;
  while (low < high) {
    u32 middle = low + (high - low) / 2;
    if (table->entries[middle].inode < now->ino)
      low = middle + 1;
    else
      high = middle;
  }
  for (; low < table->header->count && table->entries[low].inode == now->ino; low++)
    if (module_is_original(&table->entries[low], now)) return &table->entries[low];
  return NULL;
}

#endif
