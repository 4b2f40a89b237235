/* show.h: what the launcher asks of show.c. */
#ifndef WINNOW_SHOW_H
#define WINNOW_SHOW_H

#include "modules.h"

/* The caller may say how, in this variable; the program does not see it. */
#define SHOW_VARIABLE "WINNOW_SHOW"

struct show_request {
  const char *folder; /* of the image, with a slash at its end */
  const char *path;   /* what will be executed; show_modules may find a better one */
  char **envp;
  u32 user;  /* effective */
  u32 group; /* effective */
};

/*
 * Lets this process and what it executes find the image's modules in place of the originals, in the best way
 * there is. Returns the environment to execute the program with: `envp` itself, less SHOW_VARIABLE, or a copy with
 * one variable more, which audit.so takes out again. Never fails: the program then has its originals.
 */
char **show_modules(struct show_request *request);

#endif
