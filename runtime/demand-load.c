/*
 * demand-load.c: a chunk of code, or of unwind tables, from a store into memory, by Brotli's decoder (libbrotlidec, linked in).
 *
 * The decoder allocates as it goes, from a fixed piece of memory that is used anew for each chunk. What it
 * makes is compared with the checksum before it can be executed.
 */
#include <brotli/decode.h>

#include "demand.h"

#define ARENA_SIZE (1u << 20)
#define MREMAP_MAYMOVE 1
#define MREMAP_FIXED 2
#define MADV_POPULATE_READ 22
#define PAGE 4096ul

static u8 arena[ARENA_SIZE] __attribute__((aligned(64)));
static unsigned long used;

static void *take(void *ignored, unsigned long size) {
  (void)ignored;
  unsigned long at = (used + 63) & ~63ul;
  if (at > ARENA_SIZE || size > ARENA_SIZE - at) return NULL;
  used = at + size;
  return arena + at;
}

static void give_back(void *ignored, void *memory) {
  (void)ignored;
  (void)memory;
}

/* What the library refers to. The decoder is given its own allocator. */
void *malloc(unsigned long size);
void free(void *memory);
void *malloc(unsigned long size) { return take(NULL, size); }
void free(void *memory) { (void)memory; }
_Noreturn void __stack_chk_fail(void);
_Noreturn void __stack_chk_fail(void) { __builtin_trap(); }

void *memcpy(void *restrict to, const void *restrict from, unsigned long size);
void *memmove(void *to, const void *from, unsigned long size);
void *memset(void *to, int value, unsigned long size);
void *memcpy(void *restrict to, const void *restrict from, unsigned long size) {
  void *result = to;
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size)::"memory");
  return result;
}
void *memmove(void *to, const void *from, unsigned long size) {
  if ((unsigned long)to - (unsigned long)from >= size) return memcpy(to, from, size);
  for (u8 *end = (u8 *)to; size-- > 0;) end[size] = ((const u8 *)from)[size];
  return to;
}
void *memset(void *to, int value, unsigned long size) {
  void *result = to;
  __asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(value) : "memory");
  return result;
}

static int decode(const u8 *from, unsigned long size, u8 *to, unsigned long wanted) {
  used = 0;
  BrotliDecoderState *state = BrotliDecoderCreateInstance(take, give_back, NULL);
  if (state == NULL) return 0;
  unsigned long room = wanted;
  return BrotliDecoderDecompressStream(state, &size, &from, &room, &to, NULL) == BROTLI_DECODER_RESULT_SUCCESS &&
         room == 0 && size == 0;
}

/* Bytes in front of what may be a distance: call, jmp; near jcc; REX prefix, opcode, rip-relative operand. */
static unsigned long opcode_size(const u8 *code) {
  if (code[0] == 0xe8 || code[0] == 0xe9) return 1;
  if (code[0] == 0x0f && (code[1] & 0xf0) == 0x80) return 2;
  /* A branch in second place would make the third byte one that may be changed. */
  return (code[0] & 0xf0) == 0x40 && code[1] != 0xe8 && code[1] != 0xe9 && (code[2] & 0xc7) == 5 ? 3 : 0;
}

/*
 * Calls of one function differ in their distance to it, so before they were compressed, distances became addresses.
 * Whether four bytes were changed can be told from either: both intervals are the same.
 */
static void restore_targets(u8 *code, unsigned long size, unsigned long rva) {
  for (unsigned long i = 0; i + 7 <= size;) {
    unsigned long opcode = opcode_size(code + i);
    if (opcode == 0) {
      i++;
      continue;
    }
    u8 *at = code + i + opcode;
    i += opcode + 4; /* changed or not: what is looked at must not depend on what was changed behind it */
    unsigned long end = rva + i;
    int value = (int)((u32)at[0] | (u32)at[1] << 8 | (u32)at[2] << 16 | (u32)at[3] << 24);
    if (end >= COLD_REACH || value < -(int)end || value >= COLD_REACH) continue;
    value = value >= 0 ? value - (int)end : value + COLD_REACH;
    for (unsigned j = 0; j < 4; j++) at[j] = (u8)((u32)value >> (8 * j));
  }
}

int demand_is_there(const void *from, unsigned long size) {
  unsigned long first = (unsigned long)from & ~(PAGE - 1), end = (unsigned long)from + size;
  /* Before Linux 5.14 nobody can tell. */
  return sys_call3(28, (long)first, (long)(end - first), MADV_POPULATE_READ) != -EFAULT; /* madvise */
}

const char *demand_load(const struct cold_header *cold, const struct cold_range *range, unsigned long base, u32 index) {
  const struct cold_chunk *chunk = &cold_chunks(cold)[range->first_chunk + index];
  unsigned long start = range->start + (unsigned long)index * COLD_CHUNK;
  unsigned long size = range->end - start < COLD_CHUNK ? range->end - start : COLD_CHUNK;
  long at = (long)sys_mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at < 0 && at > -4096) return "there is no memory for what the program came to of it";
  if (!demand_is_there((const u8 *)cold + chunk->offset, chunk->size)) return "was cut off while the program ran";
  int decoded = decode((const u8 *)cold + chunk->offset, chunk->size, (u8 *)at, size);
  if (decoded && range->flags & COLD_RANGE_CODE) restore_targets((u8 *)at, size, start);
  if (!decoded || plan_checksum((const void *)at, size) != chunk->checksum)
    return "is damaged: what the program came to cannot be had";
  if (sys_mprotect((void *)at, size, range->flags & COLD_RANGE_CODE ? PROT_READ | PROT_EXEC : PROT_READ) < 0)
    return "is of no use: the kernel refuses to make what the program came to executable";
  long moved = sys_call6(25, at, (long)size, (long)size, MREMAP_MAYMOVE | MREMAP_FIXED, (long)(base + start), 0);
  return moved < 0 && moved > -4096 ? "is of no use: the kernel refuses to put what the program came to in its place" : NULL;
}
