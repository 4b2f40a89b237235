/* audit.h: what the files of audit.so ask of each other. */
#ifndef WINNOW_AUDIT_H
#define WINNOW_AUDIT_H

#include "sys.h"

#define AUDIT_PATH_SIZE 4096
#define AUDIT_SELF "/proc/self/exe"

/* struct link_map of link.h: the part that does not change. */
struct link_map {
  unsigned long base;
  char *name;
  const unsigned long *dynamic; /* pairs of tag and value */
  struct link_map *next, *previous;
};

/* audit-start.c */

struct audit_process {
  u32 user;            /* effective, when the program began */
  const char *folder;  /* of the image, with a slash at its end */
  char **argv, **envp; /* on the stack; the environment without the variable */
  const u64 *auxv;
};

/*
 * Takes LD_AUDIT out of the environment, and notes what it said; 0 where it is not there. `frame` is an address on the
 * stack below what the kernel put there.
 */
int audit_begin(struct audit_process *process, const void *frame);
/* A value of the auxiliary vector; 0 where it has none. */
u64 audit_auxiliary(const struct audit_process *process, u64 type);
/*
 * Executes the program anew, without this object; comes back where that is refused. As the kernel was asked to: of a
 * script that is its own path, which stands behind the interpreter's words. Only while nothing of the program has run.
 */
void audit_execute_plainly(const struct audit_process *process);
/* The path of a file in the image's folder, at least as long as `least`; NULL where that is too long. */
const char *audit_beside(const char *name, unsigned long least);
int audit_contains(const char *text, char wanted);

/* Whether a child that is this program, with this environment, is to be audited, too: the object says. */
int audit_wants(const struct sys_stat *program, char *const *envp);

/* Told of each path that is about to be executed; returns a word for the filter. inside.so's. */
long audit_executes(const char *path);

/* audit-storage.c */

/* Takes the storage of a module that was mapped at the start; 0 where it is too much for an auditor to be there. */
int audit_storage_meet(const struct link_map *map);

/* audit-exec.c */

/* Notes the variable (`LD_AUDIT=…`) that children are to get; 0 where it is too long. */
int audit_exec_keep(const char *variable);

/* In libc, execve gives children the variable from now on. */
void audit_exec_meet(const struct link_map *libc);

/* audit-symbols.c */

struct audit_symbol {
  const char *name;
  unsigned long start; /* in memory */
  unsigned long size;
};

int audit_is_libc(const struct link_map *map);
/* A symbol that the module defines for others. */
int audit_find_symbol(const struct link_map *map, const char *name, struct audit_symbol *found);
/* The function symbol that an address lies in. */
int audit_symbol_at(const struct link_map *map, unsigned long at, struct audit_symbol *found);
/* Writes over code; 0 where the kernel refuses. */
int audit_patch(unsigned char *at, const unsigned char *bytes, unsigned long size);

/* audit-names.c */

/* The length that an answer to `name` needs, so that what the loader should have noted fits in its place. */
unsigned long audit_names_room(const char *name);

/* Whether the loader's note of a module's folder can be put right, too. */
int audit_names_know_origin(void);

/* The loader will open `answer` in place of `name`. NULL: nothing is expected any more. */
void audit_names_expect(const char *name, const char *answer);

/* Looks at a module that was loaded: one that was answered gets its name and folder back. */
void audit_names_meet(struct link_map *map);

#endif
