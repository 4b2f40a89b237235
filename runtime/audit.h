/* audit.h: what the files of audit.so ask of each other. */
#ifndef WINNOW_AUDIT_H
#define WINNOW_AUDIT_H

/* struct link_map of link.h: the part that does not change. */
struct link_map {
  unsigned long base;
  char *name;
  const unsigned long *dynamic; /* pairs of tag and value */
  struct link_map *next, *previous;
};

/* Notes the variable (`LD_AUDIT=…`) that children are to get; 0 where it is too long. */
int audit_exec_keep(const char *variable);

/* Looks at a module that was loaded: in libc, execve gives children the variable from now on. */
void audit_exec_meet(const struct link_map *map);

#endif
