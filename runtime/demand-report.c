/* demand-report.c: says what was called from where, and ends the program or notes it. Safe in signal handlers. */

#include "demand.h"

#define O_CREAT 0100
#define LINE_SIZE 4096
#define NAME_MAX_SHOWN 512
#define LOG_NAME "misses.log"

struct line {
  char text[LINE_SIZE];
  unsigned long length;
};

static struct line line; /* one at a time: whoever reports holds the lock */

static void add(const char *text) {
  for (; *text && line.length < sizeof line.text; text++) line.text[line.length++] = *text;
}

/* What a terminal or a table could not bear is shown as `?`. */
static void add_name(const char *text) {
  for (unsigned i = 0; text[i] && i < NAME_MAX_SHOWN && line.length < sizeof line.text; i++)
    line.text[line.length++] = text[i] < ' ' || text[i] == 127 ? '?' : text[i];
}

static void add_hex(unsigned long value) {
  char digits[17];
  int at = 16;
  digits[at] = 0;
  do digits[--at] = "0123456789abcdef"[value % 16];
  while ((value /= 16) > 0);
  add("0x");
  add(digits + at);
}

static const char *name_of(const struct demand_place *place) {
  if (place->path != NULL) return place->path;
  if (place->map == NULL) return "?";
  return place->map->name[0] ? place->map->name : "the program";
}

/* `function` or `function+0x12`, of those that the module's dynamic symbols name. */
static int add_function(const struct demand_place *place) {
  struct audit_symbol symbol;
  if (place->map == NULL || !audit_symbol_at(place->map, place->at, &symbol)) return 0;
  add_name(symbol.name);
  if (place->at != symbol.start) add("+"), add_hex(place->at - symbol.start);
  return 1;
}

static void add_place(const struct demand_place *place) {
  add_name(name_of(place));
  add("+");
  add_hex(place->at - (place->map == NULL ? 0 : place->map->base));
  unsigned long before = line.length;
  add(" (");
  if (add_function(place))
    add(")");
  else
    line.length = before;
}

static _Noreturn void say_and_abort(void) {
  sys_write(2, line.text, line.length);
  struct sys_sigaction action = {SIG_DFL, 0, 0, 0};
  sys_sigaction(SIGABRT, &action, NULL);
  sys_call3(234, sys_getpid(), sys_call3(186, 0, 0, 0), SIGABRT); /* tgkill, gettid */
  u64 none = 0;
  sys_sigprocmask(SIG_SETMASK, &none, NULL);
  sys_exit(134);
}

_Noreturn void demand_denied(const struct demand_place *called, const struct demand_place *caller) {
  line.length = 0;
  add("winnow: E_COLD_CODE: the program came to code that no recording used, and that its image denies\n  where: ");
  add_place(called);
  if (caller->at != 0) {
    add(", from ");
    add_place(caller);
  }
  add("\n  next:  record this use too (winnow record --functions), or run it once with winnow record --from-misses; "
      "then build again\n");
  say_and_abort();
}

_Noreturn void demand_damaged(const char *what, const char *folder, const char *replacement) {
  line.length = 0;
  add("winnow: E_COLD_STORE: the store of unused code ");
  add_name(folder);
  add_name(replacement);
  add(".cold ");
  add(what);
  add("; build the image again: winnow build\n");
  say_and_abort();
}

void demand_log(const char *folder, const struct demand_place *called, const struct demand_place *caller) {
  static char path[AUDIT_PATH_SIZE + sizeof LOG_NAME];
  unsigned long at = 0;
  for (; folder[at] && at < AUDIT_PATH_SIZE; at++) path[at] = folder[at];
  for (unsigned i = 0; i < sizeof LOG_NAME; i++) path[at + i] = LOG_NAME[i];
  int fd = (int)sys_call4(257, AT_FDCWD, (long)path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
  if (fd < 0) return;
  line.length = 0;
  add_name(name_of(called));
  add("\t");
  add_hex(called->at - called->map->base);
  add("\t");
  add_function(called);
  add("\t");
  if (caller->at != 0) add_place(caller);
  add("\n");
  /* One write at the end: lines of several processes do not mix. */
  sys_write(fd, line.text, line.length);
  sys_close(fd);
}
