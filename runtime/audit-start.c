/*
 * audit-start.c: what an audit object finds when its process begins: the image's folder in LD_AUDIT, which it takes out
 * of the environment, and what the kernel says of the process.
 *
 * Method: above the frames of ld.so lie argc, argv, 0, envp, 0, auxv, as the kernel put them on the stack; the C library takes
 * them from there later. They are found by what every auxiliary vector has.
 */
#include "audit.h"
#include "plan.h"
#include "text.h"

#define STACK_WORDS (1u << 17) /* of what ld.so may have put there before it asks */
#define AUXV_TYPES 1024
#define AUXV_PAIRS 64
#define VARIABLE "LD_AUDIT="

static char folder[AUDIT_PATH_SIZE];
static unsigned long folder_length;
static char answer[AUDIT_PATH_SIZE];

int audit_contains(const char *text, char wanted) {
  while (*text && *text != wanted) text++;
  return *text == wanted;
}

static void copy(char *to, const char *from) {
  while ((*to++ = *from++)) {
  }
}

/* Whether the auxiliary vector begins here: pairs with types that every one has. */
static int is_auxv(const u64 *at) {
  u64 seen = 0;
  for (unsigned pair = 0; pair < AUXV_PAIRS && at[0] != AT_NULL; pair++, at += 2) {
    if (at[0] >= AUXV_TYPES) return 0;
    if (at[0] == AT_PAGESZ && at[1] != PLAN_PAGE) return 0;
    if (at[0] < 64) seen |= 1ull << at[0];
  }
  u64 needed = 1ull << AT_PHDR | 1ull << AT_PAGESZ | 1ull << AT_ENTRY | 1ull << AT_EXECFN | 1ull << AT_RANDOM;
  return at[0] == AT_NULL && (seen & needed) == needed;
}

static int find_process(struct audit_process *process, const u64 *stack) {
  for (unsigned i = 1; i < STACK_WORDS; i++) {
    if (stack[i - 1] != 0 || !is_auxv(stack + i)) continue;
    process->auxv = stack + i;
    const u64 *at = stack + i - 1;
    while (at[-1] != 0) at--;
    process->envp = (char **)at;
    /* Pointers are never as small as their number. */
    u64 count = 0;
    for (at -= 2; *at != count; at--) count++;
    process->argv = (char **)(at + 1);
    return 1;
  }
  return 0;
}

u64 audit_auxiliary(const struct audit_process *process, u64 type) {
  for (const u64 *pair = process->auxv; pair[0] != AT_NULL; pair += 2)
    if (pair[0] == type) return pair[1];
  return 0;
}

static int take_variable(char **envp) {
  char **ours = NULL;
  for (char **one = envp; *one; one++) {
    const char *name = VARIABLE, *at = *one;
    while (*name && *name == *at) name++, at++;
    if (*name == 0) ours = one;
  }
  if (ours == NULL) return 0;
  char *text = *ours;
  unsigned long length = length_of(text);
  if (!audit_exec_keep(text)) return 0;
  const char *path = text + sizeof VARIABLE - 1;
  for (unsigned long i = 0; path[i]; i++) {
    folder[i] = path[i];
    if (path[i] == '/') folder_length = i + 1;
  }
  folder[folder_length] = 0;
  for (unsigned long i = 0; i < length; i++) text[i] = 0;
  do ours[0] = ours[1];
  while (*ours++);
  return 1;
}

int audit_begin(struct audit_process *process, const void *frame) {
  if (!find_process(process, frame) || !take_variable(process->envp)) return 0;
  process->user = (u32)audit_auxiliary(process, AT_EUID);
  process->folder = folder;
  return 1;
}

const char *audit_beside(const char *name, unsigned long least) {
  unsigned long length = folder_length + length_of(name);
  unsigned long more = length < least ? least - length : 0;
  if (audit_contains(name, '/') || length + more >= AUDIT_PATH_SIZE) return NULL;
  copy(answer, folder);
  for (unsigned long i = 0; i < more; i++) answer[folder_length + i] = '/';
  copy(answer + folder_length + more, name);
  return answer;
}

void audit_execute_plainly(const struct audit_process *process) {
  struct sys_stat self, named;
  const char *path = (const char *)audit_auxiliary(process, AT_EXECFN);
  char **argv = process->argv;
  if (path != NULL && sys_fstatat(AT_FDCWD, AUDIT_SELF, &self, 0) >= 0 && sys_fstatat(AT_FDCWD, path, &named, 0) >= 0) {
    if (self.dev != named.dev || self.ino != named.ino)
      while (*argv != NULL && !same(*argv, path)) argv++;
    if (*argv != NULL) sys_execve(path, argv, process->envp);
  }
  sys_execve(AUDIT_SELF, process->argv, process->envp);
}
