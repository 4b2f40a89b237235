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

#ifdef WINNOW_DEMAND
#include "demand.h"
#endif
#include "sys.h"
#include "target.h"

#define VARIABLES_MAX 1000
#define VARIABLE_SIZE 1024
#define VARIABLE "LD_AUDIT="
#define BRIDGE_SIZE 4096ul

static char variable[VARIABLE_SIZE];

static int begins_with(const char *text, const char *start) {
  while (*start && *text == *start) text++, start++;
  return *start == 0;
}

int audit_exec_keep(const char *text) {
  unsigned long length = 0;
  while (text[length]) length++;
  if (length >= VARIABLE_SIZE) return 0;
  for (unsigned long i = 0; i <= length; i++) variable[i] = text[i];
  return 1;
}

/*
 * access asks for the real user without the capabilities that exec takes from everybody but root (setpriv has them until
 * then). Loaders make that call, so who may execute may make it.
 */
static int can_open(const char *path) {
  if (sys_access(path, R_OK) < 0) return 0;
  int fd = (int)sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  sys_close(fd);
  return 1;
}

static int is_for_child(const char *path, char *const *envp, unsigned long count) {
  if (count > VARIABLES_MAX) return 0;
  for (unsigned long i = 0; i < count; i++)
    if (begins_with(envp[i], VARIABLE)) return 0;
  struct sys_stat file;
  return target_takes_audit(path, &file) && audit_wants(&file, envp) && can_open(variable + sizeof VARIABLE - 1);
}

static long execute(const char *path, char *const *argv, char *const *envp) {
#ifdef WINNOW_DEMAND
  signals_before_exec();
#endif
#ifdef WINNOW_INSIDE
  /* A fourth argument, which the kernel does not have. */
  long error = sys_call4(59, (long)path, (long)argv, (long)envp, audit_executes(path));
#else
  long error = sys_execve(path, argv, envp);
#endif
#ifdef WINNOW_DEMAND
  signals_after_exec();
#endif
  return error;
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
    long error = execute(path, argv, more);
    /* One variable more may have been one too many. */
    if (error != -E2BIG) return error;
  }
  return execute(path, argv, envp);
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

static int reaches(const u8 *from, const void *to) {
  long distance = (long)to - (long)from;
  return distance == (int)distance;
}

/* A page near libc, where the kernel puts mappings, that jumps to our function; NULL where there is none to be had. */
static const void *bridge(const u8 *from) {
  static const u8 jump[] = {0xff, 0x25, 0, 0, 0, 0}; /* to the address behind it */
  long page = (long)sys_mmap(NULL, BRIDGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page < 0 && page > -4096) return NULL;
  u8 *at = (u8 *)page;
  unsigned long target = (unsigned long)audit_execve_entry;
  for (unsigned i = 0; i < sizeof jump; i++) at[i] = jump[i];
  for (unsigned i = 0; i < sizeof target; i++) at[sizeof jump + i] = (u8)(target >> 8 * i);
  if (reaches(from, at) && sys_mprotect(at, BRIDGE_SIZE, PROT_READ | PROT_EXEC) >= 0) return at;
  sys_munmap(at, BRIDGE_SIZE);
  return NULL;
}

void audit_exec_meet(const struct link_map *libc) {
  struct audit_symbol function;
  u8 *at = audit_find_symbol(libc, "execve", &function) ? find_call((u8 *)function.start) : NULL;
  if (at == NULL) return;
  const void *target = reaches(at + 5, audit_execve_entry) ? audit_execve_entry : bridge(at + 5);
  if (target == NULL) return;
  long distance = (long)target - (long)(at + 5);
  u8 call[] = {0xe8, (u8)distance, (u8)(distance >> 8), (u8)(distance >> 16), (u8)(distance >> 24), 0x66, 0x90};
  audit_patch(at, call, sizeof call);
}
