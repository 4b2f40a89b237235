/*
 * cold.h: NN-NAME.cold, which stands beside a rewritten module whose unused code cannot be executed as it is, and
 * which demand.c reads in place.
 *
 * Little-endian, x86-64. The TypeScript side is src/select/cold-layout.ts; a test compares both, field by field.
 * It shares the envelope of plan.bin; `head_size` are header, ranges and chunks, which the checksum is of.
 *
 *     cold_header, ranges (ascending), chunks, compressed code (branches by target, then Brotli)
 *
 * A chunk is COLD_CHUNK bytes of a range, the last one of a range may be shorter.
 */
#ifndef WINNOW_COLD_H
#define WINNOW_COLD_H

#include "plan.h"

#define COLD_MAGIC 0x4f43776f6e6e6977ull /* the bytes "winnowCO" */
#define COLD_VERSION 1u
#define COLD_CHUNK 32768u
#define COLD_REACH (1 << 26) /* of branches that are stored by their target (demand-load.c) */
#define COLD_RANGES_MAX 16u
#define COLD_SIZE_MAX (1ull << 30)

#define COLD_STORED 1u /* the code stands here; without it, in the module, where it is denied */
#define COLD_LOG 2u    /* denied code is let through and noted */

struct cold_header {
  struct plan_envelope envelope;
  u64 module_size; /* of the module that it belongs to */
  u32 flags;       /* COLD_… */
  u32 range_count;
  u32 chunk_count;
  u32 reserved; /* 0 */
};

/* Whole pages of the module that cannot be executed. */
struct cold_range {
  u32 start; /* RVA */
  u32 end;
  u32 first_chunk;
  u32 reserved; /* 0 */
};

struct cold_chunk {
  u32 offset; /* from the start of the file */
  u32 size;
  u64 checksum; /* plan_checksum of the code */
};

static inline const struct cold_range *cold_ranges(const struct cold_header *header) {
  return (const struct cold_range *)(header + 1);
}

static inline const struct cold_chunk *cold_chunks(const struct cold_header *header) {
  return (const struct cold_chunk *)(cold_ranges(header) + header->range_count);
}

/* Whether `size` bytes are such a file for a module of `module_size` bytes, and all that it says lies inside. */
static inline int cold_is_good(const struct cold_header *header, u64 size, u64 module_size) {
  if (size < sizeof *header || size > COLD_SIZE_MAX) return 0;
  const struct plan_envelope *envelope = &header->envelope;
  if (envelope->magic != COLD_MAGIC || envelope->version != COLD_VERSION) return 0;
  if (envelope->total_size != size || header->module_size != module_size) return 0;
  if (header->range_count > COLD_RANGES_MAX || header->chunk_count > COLD_SIZE_MAX / COLD_CHUNK) return 0;
  u64 head = sizeof *header + header->range_count * sizeof(struct cold_range) +
             header->chunk_count * sizeof(struct cold_chunk);
  if (envelope->head_size != head || head > size) return 0;
  if (plan_checksum((const u8 *)header + sizeof *envelope, head - sizeof *envelope) != envelope->head_checksum) return 0;
  for (u32 i = 0; i < header->range_count; i++) {
    const struct cold_range *range = &cold_ranges(header)[i];
    if (range->end <= range->start || range->start % PLAN_PAGE || range->end % PLAN_PAGE) return 0;
    u64 chunks = (range->end - range->start + COLD_CHUNK - 1) / COLD_CHUNK;
    if (header->flags & COLD_STORED && range->first_chunk + chunks > header->chunk_count) return 0;
  }
  for (u32 i = 0; i < header->chunk_count; i++) {
    const struct cold_chunk *chunk = &cold_chunks(header)[i];
    if (chunk->offset < head || (u64)chunk->offset + chunk->size > size) return 0;
  }
  return 1;
}

#endif
