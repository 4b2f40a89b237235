/* linked-programs.h: what show.c asks about programs whose copies name a loader in the image's folder (share.h). */
#ifndef WINNOW_LINKED_PROGRAMS_H
#define WINNOW_LINKED_PROGRAMS_H

#include "modules.h"
#include "show.h"

/*
 * Whether everybody who may use the machine can reach the image's folder: a child that becomes another user must
 * find the loader that a mounted copy names, or it could not start the program at all.
 */
int linked_is_reachable(const struct show_request *request);

/* Whether the loader that the copy names is there. `copy`: its path, in a buffer of 4096 bytes, with whose rest it works. */
int linked_has_loader(const struct show_request *request, char *copy);

/*
 * The copy of the program that will be executed, by the program's own name; NULL where it has none, where
 * it may ask for its path, or where the program has changed. Stays valid until the next call.
 */
const char *linked_direct_path(const struct show_request *request, const struct modules_table *table);

#endif
