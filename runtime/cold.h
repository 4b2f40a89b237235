/*
 * cold.h: NN-NAME.cold, which stands beside a rewritten module whose unused code cannot be executed as it is, and
 * which demand.c reads in place.
 *
 * Little-endian, x86-64. The TypeScript side is src/select/cold-layout.ts; a test compares both, field by field.
 * It shares the envelope of plan.bin; `head_size` are header, ranges and chunks, which the checksum is of.
 *
 *     cold_header, ranges (ascending), hidden pages (ascending), chunks, compressed contents (branches of code by target,
 *     then Brotli)
 *
 * A chunk is COLD_CHUNK bytes of a range, the last one of a range may be shorter.
 */
#ifndef WINNOW_COLD_H
#define WINNOW_COLD_H

#include "plan.h"

#define COLD_MAGIC 0x4f43776f6e6e6977ull /* the bytes "winnowCO" */
#define COLD_VERSION 2u
#define COLD_CHUNK 65536u
#define COLD_REACH (1 << 26) /* of branches that are stored by their target (demand-load.c) */
#define COLD_RANGES_MAX 16u
#define COLD_HIDDEN_MAX 64u
#define COLD_SIZE_MAX (1ull << 30)

#define COLD_STORED 1u /* the code stands here; without it, in the module, where it is denied */
#define COLD_LOG 2u    /* denied code is let through and noted */

#define COLD_RANGE_CODE 1u /* is executed; without it, read alone */

struct cold_header {
  struct plan_envelope envelope;
  u64 module_size; /* of the module that it belongs to */
  u32 flags;       /* COLD_… */
  u32 range_count;
  u32 chunk_count;
  u32 hidden_count;
};

/* Whole pages of the module that cannot be executed, or are not there. */
struct cold_range {
  u32 start; /* RVA */
  u32 end;
  u32 first_chunk;
  u32 flags; /* COLD_RANGE_… */
};

/* Pages of a range that stand in the store alone: reading must fail, or it would find zeros. */
struct cold_hidden {
  u32 start; /* RVA */
  u32 end;
};

struct cold_chunk {
  u32 offset; /* from the start of the file */
  u32 size;
  u64 checksum; /* plan_checksum of the code */
};

static inline const struct cold_range *cold_ranges(const struct cold_header *header) {
  return (const struct cold_range *)(header + 1);
}

static inline const struct cold_hidden *cold_hidden(const struct cold_header *header) {
  return (const struct cold_hidden *)(cold_ranges(header) + header->range_count);
}

static inline const struct cold_chunk *cold_chunks(const struct cold_header *header) {
  return (const struct cold_chunk *)(cold_hidden(header) + header->hidden_count);
}

/*
 * NULL where `size` bytes are such a file for a module of `module_size` bytes, and all that it says lies inside; else
 * what is wrong with it.
 */
static inline const char *cold_wrong(const struct cold_header *header, u64 size, u64 module_size) {
  static const char damaged[] = "is damaged", cut_off[] = "is cut off";
  const struct plan_envelope *envelope = &header->envelope;
  if (size < sizeof *header) return cut_off;
  if (envelope->magic != COLD_MAGIC) return damaged;
  if (envelope->version != COLD_VERSION) return "was written by another version of winnow";
  if (envelope->total_size > size) return cut_off;
  if (envelope->total_size != size || size > COLD_SIZE_MAX) return damaged;
  if (header->range_count > COLD_RANGES_MAX || header->hidden_count > COLD_HIDDEN_MAX) return damaged;
  if (header->chunk_count > COLD_SIZE_MAX / COLD_CHUNK) return damaged;
  u64 head = sizeof *header + header->range_count * sizeof(struct cold_range) +
             header->hidden_count * sizeof(struct cold_hidden) + header->chunk_count * sizeof(struct cold_chunk);
  if (envelope->head_size != head || head > size) return damaged;
  if (plan_checksum((const u8 *)header + sizeof *envelope, head - sizeof *envelope) != envelope->head_checksum) return damaged;
  if (header->module_size != module_size) return "belongs to another module";
  for (u32 i = 0; i < header->range_count; i++) {
    const struct cold_range *range = &cold_ranges(header)[i];
    if (range->end <= range->start || range->start % PLAN_PAGE || range->end % PLAN_PAGE) return damaged;
    u64 chunks = (range->end - range->start + COLD_CHUNK - 1) / COLD_CHUNK;
    if (header->flags & COLD_STORED && range->first_chunk + chunks > header->chunk_count) return damaged;
  }
  for (u32 i = 0; i < header->hidden_count; i++) {
    const struct cold_hidden *hidden = &cold_hidden(header)[i];
    int inside = 0;
    for (u32 j = 0; j < header->range_count; j++)
      inside |= hidden->start >= cold_ranges(header)[j].start && hidden->end <= cold_ranges(header)[j].end;
    if (hidden->end <= hidden->start || hidden->start % PLAN_PAGE || hidden->end % PLAN_PAGE || !inside) return damaged;
  }
  for (u32 i = 0; i < header->chunk_count; i++) {
    const struct cold_chunk *chunk = &cold_chunks(header)[i];
    if (chunk->offset < head || (u64)chunk->offset + chunk->size > size) return damaged;
  }
  return NULL;
}

#endif
