/* target.h: what the launcher and audit.so ask of target.c. */
#ifndef WINNOW_TARGET_H
#define WINNOW_TARGET_H

#include "sys.h"

/*
 * Whether executing `path` runs glibc's dynamic loader for 64-bit programs, the only one that understands an
 * audit object built for it: any other program would find LD_AUDIT in its environment, or complain of it. Takes
 * some 1.5 KiB of stack, writes nothing but `file`, and allocates nothing: it runs between vfork and exec too. `file` is then that of the
 * program, of a script its interpreter's.
 */
int target_takes_audit(const char *path, struct sys_stat *file);

#endif
