/*
 * inside-sites.c: where libc and the loader come back from system calls, they come by here.
 *
 * Problem: the recorder wants to know of look-ups, opens and mappings, and a notice from the kernel costs ten microseconds.
 * Method: behind almost every `syscall` of glibc stands a comparison of the result with -4096. Where the file `sites` says so
 * (src/record/inside/find-sites.ts has looked at the code), that comparison becomes a jump to a slot here; the slot
 * writes down what was asked and answered (the arguments are still in their registers), compares as was meant, and jumps
 * back. The call itself is made in its old place, on the stack as it was: nothing of ours is there when a thread is
 * cancelled in it, or a signal handler looks at where it was. Only what follows differs, for some nanoseconds.
 * Example: `0f 05 | 48 3d 00 f0 ff ff | 77 xx` (syscall; cmp; ja) becomes `0f 05 | e9 rel32 90 | 77 xx`.
 *
 * Two sites lie before the call: munmap, since what is unmapped can be looked at only before; and libc's function syscall(),
 * whose number nobody knows afterwards: look-ups are made by a slot of its own, other numbers (clone, vfork) go on in
 * the old place.
 *
 * The kernel clobbers rcx and r11, so slots may; below the stack pointer 128 bytes are the function's. Vector registers are
 * not touched (-mgeneral-regs-only).
 *
 * Limits: a thread that is cancelled asynchronously while in a slot ends without running the destructors of the frames above it;
 * code is written to, so the pages of the sites are not those of the file any more (some ten, which count as used).
 */
#include "inside-log.h"

#define PAGE 4096ul
#define SYS_fork 57

struct slot {
  u64 back;
  u32 call;
  u32 kind;
};

struct slot inside_slot_table[INSIDE_SITES_MAX] __attribute__((visibility("hidden")));
u8 inside_slot_of_loader[INSIDE_SITES_MAX] __attribute__((visibility("hidden")));
u64 inside_syscall_back __attribute__((visibility("hidden")));
u64 inside_syscall_end __attribute__((visibility("hidden")));
static u32 used;
static const struct inside_sites *sites;

extern u8 inside_slots[] __attribute__((visibility("hidden")));
extern u8 inside_syscall[] __attribute__((visibility("hidden")));

/* clang-format off */
__asm__(
    ".pushsection .text\n"
    ".p2align 4\n"
    ".hidden inside_slots\n"
    ".globl inside_slots\n"
    ".type inside_slots, @function\n"
    "inside_slots:\n"
    ".set slot, 0\n"
    ".rept 112\n"
    "  .p2align 4\n"
    "  lea -128(%rsp), %rsp\n"
    "  pushq $slot\n"
    "  jmp inside_common\n"
    "  .set slot, slot + 1\n"
    ".endr\n"
    /* As struct frame below. */
    ".macro keep_registers\n"
    "  push %rax; push %rdi; push %rsi; push %rdx; push %r10; push %r8; push %r9; push %rbp\n"
    "  mov %rsp, %rbp\n"
    "  mov %rsp, %rdi\n"
    "  and $-16, %rsp\n"
    ".endm\n"
    ".macro give_registers\n"
    "  mov %rbp, %rsp\n"
    "  pop %rbp; pop %r9; pop %r8; pop %r10; pop %rdx; pop %rsi; pop %rdi; pop %rax\n"
    ".endm\n"
    ".p2align 4\n"
    ".type inside_common, @function\n"
    "inside_common:\n"
    "  keep_registers\n"
    "  call inside_called\n"
    "  give_registers\n"
    "  mov (%rsp), %r11d\n"
    "  lea 136(%rsp), %rsp\n"
    "  shl $4, %r11\n"
    "  lea inside_slot_table(%rip), %rcx\n"
    "  add %r11, %rcx\n"
    "  mov (%rcx), %r11\n"
    "  mov 12(%rcx), %ecx\n"
    "  cmp $1, %ecx\n"
    "  je 1f\n"
    "  cmp $2, %ecx\n"
    "  je 2f\n"
    "  cmp $3, %ecx\n"
    "  je 3f\n"
    "  cmp $-4096, %rax\n"
    "  jmp *%r11\n"
    "1: cmp $-4095, %rax\n"
    "  jmp *%r11\n"
    "2: cmp $-4096, %eax\n"
    "  jmp *%r11\n"
    "3: mov $11, %eax\n"
    "  jmp *%r11\n"
    /* In place of the first two instructions of long syscall(long number, ...). */
    ".p2align 4\n"
    ".hidden inside_syscall\n"
    ".globl inside_syscall\n"
    ".type inside_syscall, @function\n"
    "inside_syscall:\n"
    "  cmp $2, %rdi; je 1f\n"      /* open */
    "  cmp $4, %rdi; je 1f\n"      /* stat */
    "  cmp $6, %rdi; je 1f\n"      /* lstat */
    "  cmp $21, %rdi; je 1f\n"     /* access */
    "  cmp $157, %rdi; je 1f\n"    /* prctl */
    "  cmp $257, %rdi; je 1f\n"    /* openat */
    "  cmp $262, %rdi; je 1f\n"    /* newfstatat */
    "  cmp $269, %rdi; je 1f\n"    /* faccessat */
    "  cmp $317, %rdi; je 1f\n"    /* seccomp */
    "  cmp $332, %rdi; je 1f\n"    /* statx */
    "  cmp $437, %rdi; je 1f\n"    /* openat2 */
    "  cmp $439, %rdi; je 1f\n"    /* faccessat2 */
    "  mov %rdi, %rax\n"
    "  mov %rsi, %rdi\n"
    "  mov inside_syscall_back(%rip), %r11\n"
    "  jmp *%r11\n"
    "1: push %rdi\n"
    "  mov %rdi, %rax\n"
    "  mov %rsi, %rdi\n"
    "  mov %rdx, %rsi\n"
    "  mov %rcx, %rdx\n"
    "  mov %r8, %r10\n"
    "  mov %r9, %r8\n"
    "  mov 16(%rsp), %r9\n"
    "  syscall\n"
    "  mov (%rsp), %r11\n"
    "  keep_registers\n"
    "  mov %r11, %rsi\n"
    "  call inside_called_by_number\n"
    "  give_registers\n"
    "  lea 8(%rsp), %rsp\n"
    "  mov inside_syscall_end(%rip), %r11\n"
    "  cmp $-4095, %rax\n"
    "  jmp *%r11\n"
    ".popsection\n");
/* clang-format on */

/* What the slots push; the arguments are those of the system call. */
struct frame {
  u64 rbp, r9, r8, r10, rdx, rsi, rdi;
  i64 rax;
  u64 slot;
};

static void dispatch(const struct frame *frame, u32 call, int by_loader);

__attribute__((used, visibility("hidden"))) void inside_called(const struct frame *frame) {
  u32 slot = (u32)frame->slot;
  dispatch(frame, inside_slot_table[slot].call, inside_slot_of_loader[slot]);
}

__attribute__((used, visibility("hidden"))) void inside_called_by_number(const struct frame *frame, u64 call) {
  dispatch(frame, (u32)call, 0);
}

#define AT_FDCWD_64 ((u64)(i64)AT_FDCWD)
#define PR_SET_SECCOMP 22
#define F_DUPFD 0
#define F_DUPFD_CLOEXEC 1030

static void note(u32 call, u64 path, u64 folder, u64 flags, i64 result, int by_loader) {
  /* What the kernel could not read is not there to be read. */
  if (path == 0 || result == -EFAULT || *(const char *)path == 0) return;
  struct inside_entry entry = {.kind = ENTRY_CALL,
                               .call = call,
                               .result = result,
                               .first = folder,
                               .second = flags,
                               .by_loader = (u32)by_loader};
  u64 opened = inside_log_add(entry, (const char *)path);
  if (call == 2 || call == 257) {
    if (result >= 0) inside_reads_open((int)result, opened, flags);
  }
}

/* Of a folder perhaps, below which things are looked up. */
static void note_duplicate(const u64 *arguments, i64 to) {
  struct inside_entry entry = {.kind = ENTRY_DUPLICATED, .first = arguments[0], .result = to};
  if (to < 0) return;
  inside_log_add(entry, NULL);
  inside_reads_share(arguments[0], to);
}

static void dispatch(const struct frame *f, u32 call, int by_loader) {
  u64 arguments[4] = {f->rdi, f->rsi, f->rdx, f->r10};
  switch (call) {
    case 2: /* open */
      return note(call, f->rdi, AT_FDCWD_64, f->rsi, f->rax, by_loader);
    case 4:  /* stat */
    case 6:  /* lstat */
    case 21: /* access */
      return note(call, f->rdi, AT_FDCWD_64, 0, f->rax, by_loader);
    case 257: /* openat */
      return note(call, f->rsi, f->rdi, f->rdx, f->rax, by_loader);
    case 262: /* newfstatat */
    case 269: /* faccessat */
    case 332: /* statx */
    case 437: /* openat2 */
    case 439: /* faccessat2 */
      return note(call, f->rsi, f->rdi, 0, f->rax, by_loader);
    case 80: /* chdir */
      if (f->rax == 0) note(call, f->rdi, AT_FDCWD_64, 0, 0, 0);
      return;
    case 81: { /* fchdir */
      struct inside_entry entry = {.kind = ENTRY_CALL, .call = call, .first = f->rdi};
      if (f->rax == 0) inside_log_add(entry, NULL);
      return;
    }
    case 72: /* fcntl */
      if (f->rsi != F_DUPFD && f->rsi != F_DUPFD_CLOEXEC) return;
      /* fall through */
    case 32:  /* dup */
    case 33:  /* dup2 */
    case 292: /* dup3 */
      return note_duplicate(arguments, f->rax);
    case 9: /* mmap */
      if (f->rax > 0 && !(f->r10 & MAP_ANONYMOUS))
        inside_pages_mapped((u64)f->rax, f->rsi, (u32)f->rdx, (u32)f->r10, by_loader);
      return;
    case 11: /* munmap, before it */
      return inside_pages_unmap(f->rdi, f->rsi);
    case 56: /* clone, of fork: a child that has a memory of its own */
      if (f->rax != 0) return;
      inside_forked();
      inside_reads_fork();
      inside_pages_fork();
      return;
    case 157: /* prctl */
      if (f->rdi == PR_SET_SECCOMP && f->rax == 0) inside_quiet = 1;
      return;
    case 317: /* seccomp */
      if (f->rax >= 0) inside_quiet = 1;
      return;
    default:
      inside_reads_call(call, arguments, f->rax);
  }
}

int inside_sites_open(const char *path) {
  int fd = (int)sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return 0;
  long at = (long)sys_mmap(NULL, sizeof *sites, PROT_READ, MAP_PRIVATE, fd, 0);
  sys_close(fd);
  if (at < 0 && at > -4096) return 0;
  const struct inside_sites *found = (const void *)at;
  if (found->magic != INSIDE_MAGIC || found->version != INSIDE_VERSION) return 0;
  sites = found;
  return 1;
}

void inside_sites_close(void) {
  if (sites != NULL) sys_munmap((void *)sites, sizeof *sites);
  sites = NULL;
}

static unsigned length_of_kind(u32 kind) {
  return kind == SITE_RESULT_SHORT || kind == SITE_MUNMAP || kind == SITE_EXIT ? 5 : 6;
}

static int stands_there(const u8 *at, u32 kind) {
  static const u8 codes[][6] = {{0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff}, {0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff},
                                {0x3d, 0x00, 0xf0, 0xff, 0xff},       {0xb8, 11, 0, 0, 0},
                                {0x48, 0x89, 0xf8, 0x48, 0x89, 0xf7}, {0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff}};
  if (kind == SITE_EXIT) return 1; /* Whatever it is, it is not needed: _exit does not come back. */
  if (kind > SITE_SYSCALL_END) return 0;
  for (unsigned i = 0; i < length_of_kind(kind); i++)
    if (at[i] != codes[kind][i]) return 0;
  return 1;
}

static int reaches(const u8 *from, const u8 *to) {
  long distance = to - from;
  return distance == (int)distance;
}

static void jump_from(u8 *at, const u8 *to, unsigned length) {
  int distance = (int)(to - (at + 5));
  at[0] = 0xe9;
  for (unsigned i = 0; i < 4; i++) at[1 + i] = (u8)((unsigned)distance >> 8 * i);
  for (unsigned i = 5; i < length; i++) at[i] = 0x90;
}

static void change(u8 *at, const struct inside_site *site, int is_loader) {
  unsigned length = length_of_kind(site->kind);
  if (site->kind == SITE_SYSCALL) {
    inside_syscall_back = (u64)at + length;
    return jump_from(at, inside_syscall, length);
  }
  if (site->kind == SITE_SYSCALL_END) {
    inside_syscall_end = (u64)at + length;
    return;
  }
  if (site->kind == SITE_EXIT) return jump_from(at, (const u8 *)inside_exit, length);
  struct slot *slot = &inside_slot_table[used];
  slot->back = (u64)at + length;
  slot->call = site->call;
  slot->kind = site->kind;
  inside_slot_of_loader[used] = (u8)is_loader;
  jump_from(at, inside_slots + 16 * used, length);
  used++;
}

int inside_sites_meet(const char *path, u64 base) {
  struct sys_stat stat;
  if (sites == NULL || sys_stat(path, &stat) < 0) return 0;
  for (u32 i = 0; i < sites->modules_count && i < INSIDE_MODULES_MAX; i++) {
    const struct inside_module *module = &sites->modules[i];
    if (module->device != stat.dev || module->inode != stat.ino || module->bytes != (u64)stat.size ||
        module->seconds != stat.mtime.sec || module->nanoseconds != (u64)stat.mtime.nsec)
      continue;
    if (module->count == 0 || module->first + module->count > INSIDE_SITES_MAX) return 0;
    const struct inside_site *list = sites->sites + module->first;
    u64 start = (base + list[0].rva) & ~(PAGE - 1);
    u64 end = (base + list[module->count - 1].rva + 6 + PAGE - 1) & ~(PAGE - 1);
    /* In one step: a page that stopped being executable might not be allowed to become so again. */
    if (sys_mprotect((void *)start, end - start, PROT_READ | PROT_WRITE | PROT_EXEC) < 0) return 0;
    int good = 1;
    for (u32 at = 0; at < module->count; at++) {
      u8 *code = (u8 *)base + list[at].rva;
      /* A write at once: one page fault in place of two. */
      __asm__ volatile("orb $0, %0" : "+m"(*code));
      good = good && stands_there(code, list[at].kind) && reaches(code + 5, inside_slots);
    }
    for (u32 at = 0; good && at < module->count; at++) change((u8 *)base + list[at].rva, &list[at], i == 0);
    sys_mprotect((void *)start, end - start, PROT_READ | PROT_EXEC);
    return good;
  }
  return 0;
}
