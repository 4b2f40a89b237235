/* prelinked-programs.h: what show.c asks of prelinked-programs.c. */
#ifndef WINNOW_PRELINKED_PROGRAMS_H
#define WINNOW_PRELINKED_PROGRAMS_H

#include "show.h"

/* Whether the image is one of prelinked libraries. */
int prelinked_is_there(const struct show_request *request);

/* Whether the program to be executed is one of the image's, and its environment lets it be shown copies; notes a miss. */
int prelinked_is_for(const struct show_request *request);

#endif
