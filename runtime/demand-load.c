/*
 * demand-load.c: a chunk of code from a store into memory, by Brotli's decoder (libbrotlidec, linked in).
 *
 * The decoder allocates as it goes, from a fixed piece of memory that is used anew for each chunk. What it
 * makes is compared with the checksum before it can be executed.
 */
#include <brotli/decode.h>

#include "demand.h"

#define ARENA_SIZE (1u << 20)
#define MREMAP_MAYMOVE 1
#define MREMAP_FIXED 2

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

/*
 * Calls of one function differ in their distance to it, so before they were compressed, distances became addresses.
 * Whether four bytes were changed can be told from either: both intervals are the same.
 */
static void restore_branches(u8 *code, unsigned long size, unsigned long rva) {
  for (unsigned long i = 0; i + 6 <= size;) {
    unsigned long opcode = code[i] == 0xe8 || code[i] == 0xe9 ? 1 : code[i] == 0x0f && (code[i + 1] & 0xf0) == 0x80 ? 2 : 0;
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

const char *demand_load(const struct cold_header *cold, const struct cold_range *range, unsigned long base, u32 index) {
  const struct cold_chunk *chunk = &cold_chunks(cold)[range->first_chunk + index];
  unsigned long start = range->start + (unsigned long)index * COLD_CHUNK;
  unsigned long size = range->end - start < COLD_CHUNK ? range->end - start : COLD_CHUNK;
  long at = (long)sys_mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at < 0 && at > -4096) return "there is no memory for the code that the program came to";
  int decoded = decode((const u8 *)cold + chunk->offset, chunk->size, (u8 *)at, size);
  if (decoded) restore_branches((u8 *)at, size, start);
  if (!decoded || plan_checksum((const void *)at, size) != chunk->checksum)
    return "the store of unused code is damaged: the code that the program came to cannot be had";
  if (sys_mprotect((void *)at, size, PROT_READ | PROT_EXEC) < 0)
    return "the kernel refuses to make the code that the program came to executable";
  long moved = sys_call6(25, at, (long)size, (long)size, MREMAP_MAYMOVE | MREMAP_FIXED, (long)(base + start), 0);
  return moved < 0 && moved > -4096 ? "the kernel refuses to put the code that the program came to in its place" : NULL;
}
