/*
 * restore-state.c: what the dynamic loader leaves beside memory: registrations with the kernel, and the words that
 * are different at each start (share.h: fix-ups).
 */
#include "page-in.h"
#include "restore-map.h"

/* struct rseq, as far as it is reset */
struct rseq_area {
  u32 cpu_id_start;
  u32 cpu_id;
  u64 rseq_cs;
  u32 flags;
  u32 node_id;
  u32 mm_cid;
  u32 pad;
};
#define UNLIMITED (~0ull)
#define UNLIMITED_THREAD_STACK (2ull << 20)
#define RSEQ_CPU_ID_UNINITIALIZED 0xffffffffu

int state_set(struct restoring *r) {
  const struct linked_header *header = r->image->header;
  if (sys_arch_prctl(ARCH_SET_FS, header->thread_pointer) < 0) return 0;
  r->has_thread = 1;
  if (header->rseq_at == 0) return 1;
  if (header->rseq_size < sizeof(struct rseq_area)) return 0;
  /* The image has the processor's number of the day it was built. */
  *(struct rseq_area *)header->rseq_at = (struct rseq_area){.cpu_id = RSEQ_CPU_ID_UNINITIALIZED};
  if (sys_rseq((void *)header->rseq_at, header->rseq_size, 0, header->rseq_signature) < 0) return 0;
  r->has_rseq = 1;
  return 1;
}

void state_undo(struct restoring *r) {
  const struct linked_header *header = r->image->header;
  if (r->has_rseq)
    sys_rseq((void *)header->rseq_at, header->rseq_size, RSEQ_FLAG_UNREGISTER, header->rseq_signature);
  if (r->has_thread) sys_arch_prctl(ARCH_SET_FS, 0);
}

/* What glibc makes of an ordinary limit, or what it made of the one that the image was built under. */
static u64 thread_stack(u64 built) {
  struct sys_rlimit limit;
  if (sys_getrlimit(RLIMIT_STACK, &limit) < 0) limit.soft = built;
  return limit.soft == UNLIMITED ? UNLIMITED_THREAD_STACK : (limit.soft + PLAN_PAGE - 1) & ~(u64)(PLAN_PAGE - 1);
}

static u64 value_of(const struct restoring *r, u32 kind, const void *at, u64 tid) {
  const struct start *start = r->start;
  const u64 *random = (const u64 *)aux(start, AT_RANDOM);
  switch (kind) {
    case LINKED_STACK_GUARD: return random[0] & ~0xffull;
    case LINKED_POINTER_GUARD: return random[1];
    case LINKED_ARGC: return (u64)start->argc;
    case LINKED_ARGV: return (u64)start->argv;
    case LINKED_ENVP: return (u64)start->envp;
    case LINKED_AUXV: return (u64)start->auxv;
    case LINKED_RANDOM: return (u64)random;
    case LINKED_PLATFORM: return aux(start, AT_PLATFORM);
    case LINKED_EXECFN: return aux(start, AT_EXECFN);
    case LINKED_STACK_START: return (u64)start->stack;
    case LINKED_BREAK: return (u64)sys_brk(0);
    case LINKED_TID: return tid;
    case LINKED_THREAD_STACK: return thread_stack((u64)r->image->header->stack_limit);
    case LINKED_CPU_NUMBER: return (*(const u32 *)at & 0xffffff) | r->image->processor_number;
    default: return *(const u32 *)at; /* the format has no other */
  }
}

static void write_fixups(const struct restoring *r, u64 tid) {
  u64 vdso_moved = r->moves_vdso ? 0 : aux(r->start, AT_SYSINFO_EHDR) - r->image->header->vdso_at;
  for (u32 i = 0; i < r->image->header->fixup_count; i++) {
    const struct linked_fixup *fixup = &r->image->fixups[i];
    void *at = (void *)fixup->at;
    if (fixup->kind == LINKED_SLID_PROGRAM || fixup->kind == LINKED_SLID_REST) {
      *(u64 *)at += r->image->slides[fixup->kind == LINKED_SLID_PROGRAM ? LINKED_INTO_PROGRAM : LINKED_INTO_REST];
      continue;
    }
    if (fixup->kind == LINKED_IN_VDSO) {
      if (vdso_moved == 0) continue;
      /* As one instruction: to read first would cost a fault of its own. */
      __asm__ volatile("addq %1, %0" : "+m"(*(u64 *)at) : "r"(vdso_moved));
      continue;
    }
    u64 value = value_of(r, fixup->kind, at, tid);
    if (fixup->size == 8)
      *(u64 *)at = value;
    else
      *(u32 *)at = (u32)value;
  }
}

static void set_aux(const struct start *start, unsigned type, u64 value) {
  if (start->values[type] != NULL) *start->values[type] = value;
}

void state_finish(struct restoring *r) {
  const struct linked_header *header = r->image->header;
  u64 tid = (u64)sys_set_tid_address((void *)header->tid_at);
  *(u32 *)header->tid_at = (u32)tid;
  /* The loader goes on where this is refused. */
  if (header->robust_at != 0) sys_set_robust_list((void *)header->robust_at, header->robust_size);
  struct page_in *later = page_in_plan(r);
  slide_words(r, later);
  write_fixups(r, tid);
  for (u32 i = 0; i < header->map_count; i++) {
    const struct linked_map *map = &r->image->maps[i];
    if (is_soft(r, i)) sys_mprotect((void *)map->at, map->size, (int)map->protection);
  }
  set_aux(r->start, AT_PHDR, header->phdr);
  set_aux(r->start, AT_ENTRY, header->entry);
  set_aux(r->start, AT_BASE, header->base);
  if (r->moves_vdso) set_aux(r->start, AT_SYSINFO_EHDR, header->vdso_at);
  tell_kernel(r->start, header->program_at, (const struct elf_segment *)header->phdr, r->segment_count);
  if (later != NULL) page_in_begin(later);
}
