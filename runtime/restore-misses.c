/* restore-misses.c: notes why a program starts by its plain loader, in NAME.misses beside NAME.linked (misses.h). */
#include "misses.h"
#include "restore.h"
#include "text.h"

#define LINKED_ENDING ".linked"
#define MISSES_ENDING ".misses"

_Static_assert(sizeof LINKED_ENDING == sizeof MISSES_ENDING, "one is written over the other");

void note_miss(const char *linked, const struct start *start, struct verdict found) {
  char path[LINKED_NOTE_PATH];
  unsigned long length = length_of(linked), ending = sizeof MISSES_ENDING - 1;
  /* With rights that its caller has not, a program leaves nothing behind; and a filter may kill who writes. */
  if (found.refused == LINKED_BAD_SECURE || start->is_filtered || length >= sizeof path || length < ending) return;
  for (unsigned long i = 0; i <= length; i++) path[i] = linked[i];
  if (!same(path + length - ending, LINKED_ENDING)) return;
  for (unsigned long i = 0; i < ending; i++) path[length - ending + i] = MISSES_ENDING[i];
  misses_add(path, (u32)aux(start, AT_EUID), found.refused, found.index);
}
