/*
 * audit-names.c: a module that was opened by a path keeps its name and its folder.
 *
 * Problem: what is answered to a name with a slash becomes the module's name (link_map.l_name, which dladdr and
 * debuggers show), and the name's folder what $ORIGIN stands for in the module: its RUNPATH would lead to
 * libraries beside the copy.
 *
 * Example: the program opens /opt/numpy/_core.so, whose RUNPATH is $ORIGIN/../libs. The answer is
 * /images/.app@0123456789ab/////_core.so: the same file as without the additional slashes, and so long
 * that `/opt/numpy/_core.so` fits where the loader has noted it.
 *
 * Method: both texts are the loader's own, made for this module, and as long as the answer. They are
 * overwritten before anything reads them. The name is a public field. The folder's field stands behind it at a
 * place that differs from version to version: the place where, in one of the first libraries, there is a
 * pointer to exactly the folder of its name. Where there is no such place, modules that use $ORIGIN are not
 * answered at all.
 *
 * Limits: the loader also remembers the answer as one more name that the module is known by.
 */
#include "audit.h"

#include "sys.h"
#include "text.h"

#define PAGE 4096ul
#define FIRST_WORD 5u  /* behind the public part of struct link_map */
#define LAST_WORD 128u /* the struct is longer, in every version */
#define NEAR (2 * PAGE)
#define LOOKS_MAX 4u /* the first is the loader itself, which has no folder */

static unsigned origin_word; /* where in struct link_map, in words; 0: not found */
static unsigned times_looked;

static char expected[AUDIT_PATH_SIZE];
static char name_again[AUDIT_PATH_SIZE];
static char origin_again[2 * AUDIT_PATH_SIZE];

static void copy(char *to, const char *from) {
  while ((*to++ = *from++)) {
  }
}

/* Length of a path's folder as the loader has it: without the last slash, but of "/" itself. */
static unsigned long folder_length(const char *path) {
  unsigned long length = 0;
  for (unsigned long i = 0; path[i]; i++)
    if (path[i] == '/') length = i > 0 ? i : 1;
  return length;
}

static int is_mapped(unsigned long at) {
  u8 ignored;
  return sys_mincore((void *)(at & ~(PAGE - 1)), PAGE, &ignored) >= 0;
}

/* Whether `text` is exactly the first `length` bytes of `path`. */
static int is_folder_of(const char *text, const char *path, unsigned long length) {
  for (unsigned long i = 0; i < length; i++)
    if (text[i] != path[i]) return 0;
  return text[length] == 0;
}

/* The loader's own allocator puts the folder right behind the module; few other words look like pointers there. */
static unsigned find_origin_word(const struct link_map *map) {
  const unsigned long *words = (const unsigned long *)map;
  unsigned long length = folder_length(map->name);
  for (unsigned i = FIRST_WORD; i < LAST_WORD; i++) {
    unsigned long word = words[i];
    if (word <= (unsigned long)map || word - (unsigned long)map > NEAR) continue;
    if (is_mapped(word) && is_mapped(word + length) && is_folder_of((const char *)word, map->name, length)) return i;
  }
  return 0;
}

int audit_names_know_origin(void) { return origin_word != 0; }

/* The current folder with a slash behind it, as the loader puts it in front of a relative name; 0 where it fails. */
static unsigned long current_folder(char *into) {
  long size = sys_getcwd(into, AUDIT_PATH_SIZE);
  if (size <= 1) return 0;
  if (into[size - 2] != '/') into[size - 1] = '/', into[size] = 0;
  return length_of(into);
}

unsigned long audit_names_room(const char *name) {
  return length_of(name) + (name[0] == '/' ? 0 : current_folder(origin_again));
}

void audit_names_expect(const char *name, const char *answer) {
  expected[0] = 0;
  if (answer == NULL) return;
  copy(expected, answer);
  copy(name_again, name);
  copy(origin_again + (name[0] == '/' ? 0 : current_folder(origin_again)), name);
  origin_again[folder_length(origin_again)] = 0;
}

void audit_names_meet(struct link_map *map) {
  /* Before the program begins, while nothing is filtered. */
  if (origin_word == 0 && times_looked < LOOKS_MAX && map->name[0] == '/') {
    times_looked++;
    origin_word = find_origin_word(map);
  }
  if (!expected[0] || !same(map->name, expected)) return;
  copy(map->name, name_again);
  char *origin = origin_word != 0 ? ((char **)map)[origin_word] : NULL;
  /* -1: the loader found no memory for it. */
  if (origin != NULL && origin != (char *)-1 && is_folder_of(origin, expected, folder_length(expected)))
    copy(origin, origin_again);
  expected[0] = 0;
}
