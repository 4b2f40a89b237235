/* messages.h: what a descriptor is sent with from a process (inside-pages.c) to the watcher. */
#ifndef WINNOW_MESSAGES_H
#define WINNOW_MESSAGES_H
#include "sys.h"

#define SCM_RIGHTS 1
#define SCM_CREDENTIALS 2

/* struct msghdr */
struct socket_message {
  const void *name;
  u32 name_length, padding;
  const struct sys_iovec *parts;
  u64 parts_count;
  void *control;
  u64 control_length;
  u64 flags;
};

#endif
