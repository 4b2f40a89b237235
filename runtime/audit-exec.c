/*
 * audit-exec.c: the children of the program get the modules too.
 *
 * Problem: the program's environment must not say LD_AUDIT, and a child's environment is what its parent gives
 * it. mpirun, a shell, make, `#!/usr/bin/env python3`: what matters most is often a child.
 *
 * Method: all of libc's ways to execute (exec…, posix_spawn, system, popen) end in its one function execve, which
 * begins with `mov $59, %eax; syscall`. These seven bytes become a call of ours, which adds the variable to
 * a copy of the environment and makes the system call. It does so where the child will take the variable out
 * again: where it is run by glibc's loader (target.c), and can open audit.so as whoever and wherever it is.
 *
 * The copy is on the stack: between vfork and exec memory is the parent's. Everything here is as safe in
 * signal handlers as execve is.
 *
 * Limits: no children of programs that make the system call themselves (static ones, Go), or by fexecve; of
 * environments with more than VARIABLES_MAX variables, or with an LD_AUDIT of their own; where the kernel
 * refuses to make libc's page writable. They run with the originals.
 */
#include "audit.h"

#include "sys.h"
#include "target.h"

#define VARIABLES_MAX 1000
#define VARIABLE_SIZE 1024
#define VARIABLE "LD_AUDIT="
#define PAGE 4096ul

#define DT_NULL 0
#define DT_STRTAB 5
#define DT_SYMTAB 6
#define DT_SONAME 14
#define DT_GNU_HASH 0x6ffffef5

struct elf_symbol {
  u32 name;
  u8 info;
  u8 other;
  u16 section;
  unsigned long value;
  unsigned long size;
};

struct gnu_hash {
  u32 buckets;
  u32 first;
  u32 bloom_words;
  u32 bloom_shift;
  unsigned long bloom[];
};

static char variable[VARIABLE_SIZE];

static int begins_with(const char *text, const char *start) {
  while (*start && *text == *start) text++, start++;
  return *start == 0;
}

static int same(const char *a, const char *b) {
  while (*a && *a == *b) a++, b++;
  return *a == *b;
}

int audit_exec_keep(const char *text) {
  unsigned long length = 0;
  while (text[length]) length++;
  if (length >= VARIABLE_SIZE) return 0;
  for (unsigned long i = 0; i <= length; i++) variable[i] = text[i];
  return 1;
}

static int can_open(const char *path) {
  int fd = (int)sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  sys_close(fd);
  return 1;
}

static int is_for_child(const char *path, char *const *envp, unsigned long count) {
  if (count > VARIABLES_MAX) return 0;
  for (unsigned long i = 0; i < count; i++)
    if (begins_with(envp[i], VARIABLE)) return 0;
  return target_takes_audit(path) && can_open(variable + sizeof VARIABLE - 1);
}

/* What the system call returns; called from libc's execve. */
__attribute__((used, visibility("hidden"))) long audit_execve(const char *path, char *const *argv, char *const *envp) {
  unsigned long count = 0;
  while (envp != NULL && envp[count]) count++;
  if (is_for_child(path, envp, count)) {
    char *more[count + 2];
    for (unsigned long i = 0; i < count; i++) more[i] = envp[i];
    more[count] = variable;
    more[count + 1] = NULL;
    long error = sys_execve(path, argv, more);
    /* One variable more may have been one too many. */
    if (error != -E2BIG) return error;
  }
  return sys_execve(path, argv, envp);
}

/* Called in the middle of a function: the stack is where that left it. */
__asm__(
    ".pushsection .text\n"
    ".type audit_execve_entry, @function\n"
    "audit_execve_entry:\n"
    "  push %rbp\n"
    "  mov %rsp, %rbp\n"
    "  and $-16, %rsp\n"
    "  call audit_execve\n"
    "  leave\n"
    "  ret\n"
    ".popsection\n");
extern char audit_execve_entry[] __attribute__((visibility("hidden")));

/* The value of a tag; addresses may have been relocated in place or not. */
static unsigned long dynamic_value(const struct link_map *map, unsigned long tag, int is_address) {
  for (const unsigned long *at = map->dynamic; at[0] != DT_NULL; at += 2)
    if (at[0] == tag) return is_address && at[1] < map->base ? map->base + at[1] : at[1];
  return 0;
}

/* The address of a function that the module defines; 0 where there is none. */
static unsigned long find_function(const struct link_map *map, const char *name) {
  const struct gnu_hash *hash = (const struct gnu_hash *)dynamic_value(map, DT_GNU_HASH, 1);
  const struct elf_symbol *symbols = (const struct elf_symbol *)dynamic_value(map, DT_SYMTAB, 1);
  const char *strings = (const char *)dynamic_value(map, DT_STRTAB, 1);
  if (hash == NULL || symbols == NULL || strings == NULL || hash->buckets == 0) return 0;
  u32 wanted = 5381;
  for (const char *at = name; *at; at++) wanted = wanted * 33 + (u8)*at;
  const u32 *buckets = (const u32 *)(hash->bloom + hash->bloom_words);
  const u32 *chain = buckets + hash->buckets;
  u32 index = buckets[wanted % hash->buckets];
  if (index < hash->first) return 0;
  for (;; index++) {
    u32 value = chain[index - hash->first];
    if ((value | 1) == (wanted | 1) && symbols[index].section != 0 && same(strings + symbols[index].name, name))
      return map->base + symbols[index].value;
    if (value & 1) return 0;
  }
}

/* Finds `mov $59, %eax; syscall` at the start of a function, behind endbr64 where there is one. */
static u8 *find_call(u8 *function) {
  static const u8 endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa}, call[] = {0xb8, 59, 0, 0, 0, 0x0f, 0x05};
  unsigned same_bytes = 0;
  while (same_bytes < sizeof endbr64 && function[same_bytes] == endbr64[same_bytes]) same_bytes++;
  if (same_bytes == sizeof endbr64) function += sizeof endbr64;
  for (unsigned i = 0; i < sizeof call; i++)
    if (function[i] != call[i]) return NULL;
  return function;
}

void audit_exec_meet(const struct link_map *map) {
  unsigned long strings = dynamic_value(map, DT_STRTAB, 1), soname = dynamic_value(map, DT_SONAME, 0);
  if (strings == 0 || soname == 0 || !same((const char *)strings + soname, "libc.so.6")) return;
  unsigned long function = find_function(map, "execve");
  u8 *at = function != 0 ? find_call((u8 *)function) : NULL;
  if (at == NULL) return;
  long distance = (long)audit_execve_entry - (long)(at + 5);
  if (distance != (int)distance) return;
  u8 *page = (u8 *)((unsigned long)at & ~(PAGE - 1));
  unsigned long size = (((unsigned long)at & (PAGE - 1)) + 7 + PAGE - 1) & ~(PAGE - 1);
  /* In one step: a page that stopped being executable might not be allowed to become so again. */
  if (sys_mprotect(page, size, PROT_READ | PROT_WRITE | PROT_EXEC) < 0) return;
  at[0] = 0xe8; /* call */
  for (unsigned i = 0; i < 4; i++) at[1 + i] = (u8)((unsigned long)distance >> (8 * i));
  at[5] = 0x66, at[6] = 0x90; /* a nop of two bytes */
  sys_mprotect(page, size, PROT_READ | PROT_EXEC);
}
