/*
 * demand.c: code that is not there until it is run.
 *
 * Problem: the unused code of an image's modules is denied (a call of it is to be reported) or stands compressed
 * beside them. Either way the pages cannot be executed (stored ones not be read either), and whoever comes there gets SIGSEGV.
 *
 * Example: libfoo.so's `reverse` at 0x4310 was not recorded and is called. The fault is an instruction fetch at
 * 0x4310: the chunk 0x4000-0x14000 is decompressed into fresh memory, which takes the place of those pages by
 * mremap; the handler returns, and `reverse` runs.
 *
 * Method: this is part of the audit object of such images, as that is in the process before anything of the program: before
 * resolvers of IFUNCs, constructors, and the modules themselves. mremap and mprotect are atomic for other threads:
 * they run old pages (and fault, and wait here for the lock) or new ones. Pages of which nothing is in the file any more are
 * hidden (PROT_NONE) when the module is opened: unwind tables, tables among code and code that reads itself are brought
 * by the first read.
 *
 * The handler works on a stack of its own, since a thread's may be small, with all signals blocked. Memory that fork
 * wipes holds the lock: a child's other threads, one of which may have held it, are gone.
 *
 * Limits: a program that makes rt_sigaction or rt_sigprocmask for SIGSEGV without libc (Go's runtime); a system
 * call that is given the address of something on a hidden page (EFAULT: src/select/hidden-pages.ts keeps text off them), and
 * what reads memory past the page tables (/proc/PID/mem: zeros); a program that makes its own code writable; SIGBUS
 * before Linux 5.14 where a store is cut off while it is used; a signal's frame of up to some KiB on stacks that were made without room for any.
 *
 * Over 300 lines: all that runs on a fault stands here, so that one can see that nothing else is called.
 */

#include "demand.h"

#define MODULES_OPEN_MAX 4096u
#define SEGV_ACCERR 2
#define FAULT_WRITE 2ul /* of the processor's error code */
#define LONGEST_INSTRUCTION 15ul
#define PAGE 4096ul
#define STACK_SIZE 65536
#define NAME_SIZE 256
#define MADV_WIPEONFORK 18

struct open_module {
  const struct link_map *map;
  const struct cold_header *cold;
  unsigned long size; /* of the store */
  unsigned long base, low, high; /* high is 0 where the place is free */
  const char *replacement, *path; /* of the table: its file's name, and the original's path */
};

static struct open_module modules[MODULES_OPEN_MAX];
static u32 module_count;
static const char *folder;
static u32 user;

static const struct cold_header *expected;
static unsigned long expected_size;
static const char *expected_name, *expected_path;

static u8 own_stack[STACK_SIZE] __attribute__((aligned(64)));
static int *lock, *wiped;

static void take_lock(void) {
  while (__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE)) sys_call3(24, 0, 0, 0); /* sched_yield */
}

static void give_lock(void) { __atomic_store_n(lock, 0, __ATOMIC_RELEASE); }

static int copy_name(char *to, const char *from) {
  unsigned i = 0;
  for (; from[i] && i + 1 < NAME_SIZE; i++) to[i] = from[i];
  to[i] = 0;
  return from[i] == 0;
}

/* What is wrong with a store that cannot be opened; NULL where the process lacks the means. */
static const char *why_not(long error) {
  switch (error) {
    case -ENOENT:
    case -ENOTDIR: return "is missing";
    case -EMFILE:
    case -ENFILE:
    case -ENOMEM: return NULL;
    case -EACCES:
    case -EPERM: return "cannot be read by this user";
    default: return "cannot be opened";
  }
}

/* The file beside a module; NULL where it cannot be had, and `wrong` says why if it is the store's fault. It stays mapped. */
static const struct cold_header *open_cold(const char *replacement, u64 module_size, unsigned long *size, const char **wrong) {
  static char path[AUDIT_PATH_SIZE + NAME_SIZE];
  static const char ending[] = ".cold";
  unsigned long at = 0;
  for (const char *from = folder; *from && at < AUDIT_PATH_SIZE; from++) path[at++] = *from;
  for (const char *from = replacement; *from && at < AUDIT_PATH_SIZE + NAME_SIZE - sizeof ending; from++) path[at++] = *from;
  for (unsigned i = 0; i < sizeof ending; i++) path[at++] = ending[i];
  int fd = (int)sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  *wrong = why_not(fd);
  if (fd < 0) return NULL;
  struct sys_stat stat;
  const struct cold_header *cold = NULL;
  if (sys_fstatat(fd, "", &stat, AT_EMPTY_PATH) < 0)
    *wrong = "cannot be read";
  else if ((stat.mode & S_IFMT) != S_IFREG)
    *wrong = "is no file";
  else if (!only_owner_writes(&stat, user))
    *wrong = "could have been written by others";
  else if (stat.size == 0)
    *wrong = "is cut off";
  else {
    long mapped = (long)sys_mmap(NULL, (unsigned long)stat.size, PROT_READ, MAP_PRIVATE, fd, 0);
    *wrong = mapped < 0 && mapped > -4096 ? why_not(mapped) : cold_wrong((const struct cold_header *)mapped, (u64)stat.size, module_size);
    if (!(mapped < 0 && mapped > -4096)) cold = (const struct cold_header *)mapped;
    *size = (unsigned long)stat.size;
  }
  sys_close(fd);
  return cold;
}

void demand_expect_nothing(void) {
  if (expected != NULL) sys_munmap((void *)expected, expected_size);
  expected = NULL;
}

int demand_expect(const struct modules_table *table, const struct modules_entry *entry) {
  expected_name = modules_text(table, entry->replacement);
  expected_path = modules_text(table, entry->path);
  const char *wrong;
  expected = open_cold(expected_name, entry->replacement_size, &expected_size, &wrong);
  if (wrong != NULL) demand_damaged(wrong, folder, expected_name);
  return expected != NULL;
}

/*
 * In a mount namespace the loader opened the copy under the original's name: the copy is known by its inode. A copy
 * has its original's time, so few are asked for theirs.
 */
static void expect_mounted(const struct link_map *map, const struct modules_table *table) {
  struct sys_stat now, copy;
  const char *name = map->name[0] ? map->name : "/proc/self/exe";
  if (sys_fstatat(AT_FDCWD, name, &now, 0) < 0) return;
  for (u32 i = 0; i < table->header->count; i++) {
    const struct modules_entry *entry = &table->entries[i];
    if (entry->replacement_size != (u64)now.size || entry->mtime_sec != now.mtime.sec) continue;
    static char path[AUDIT_PATH_SIZE + NAME_SIZE];
    const char *replacement = modules_text(table, entry->replacement);
    unsigned long at = 0;
    for (const char *from = folder; *from && at < AUDIT_PATH_SIZE; from++) path[at++] = *from;
    if (!copy_name(path + at, replacement)) continue;
    if (sys_fstatat(AT_FDCWD, path, &copy, 0) < 0 || copy.ino != now.ino || copy.dev != now.dev) continue;
    demand_expect(table, entry);
    return;
  }
}

void demand_meet(const struct link_map *map, const struct modules_table *table) {
  if (expected == NULL) expect_mounted(map, table);
  const struct cold_header *cold = expected;
  expected = NULL;
  if (cold == NULL || cold->range_count == 0) return;
  struct open_module *module = NULL;
  for (u32 i = 0; i < module_count && module == NULL; i++)
    if (modules[i].high == 0) module = &modules[i];
  if (module == NULL) {
    if (module_count == MODULES_OPEN_MAX) demand_damaged("is one too many", folder, expected_name);
    module = &modules[module_count];
  }
  const struct cold_range *ranges = cold_ranges(cold);
  for (u32 i = 0; i < cold->hidden_count; i++) {
    const struct cold_hidden *hidden = &cold_hidden(cold)[i];
    if (sys_mprotect((void *)(map->base + hidden->start), hidden->end - hidden->start, PROT_NONE) < 0)
      demand_damaged("is of no use: the kernel refuses to hide what stands there", folder, expected_name);
  }
  module->map = map;
  module->cold = cold;
  module->size = expected_size;
  module->base = map->base;
  module->replacement = expected_name;
  module->path = expected_path;
  module->low = map->base + ranges[0].start;
  __atomic_store_n(&module->high, map->base + ranges[cold->range_count - 1].end, __ATOMIC_RELEASE);
  if (module == &modules[module_count]) __atomic_store_n(&module_count, module_count + 1, __ATOMIC_RELEASE);
}

void demand_forget(const struct link_map *map) {
  for (u32 i = 0; i < module_count; i++) {
    struct open_module *module = &modules[i];
    if (module->high == 0 || module->map != map) continue;
    __atomic_store_n(&module->high, 0, __ATOMIC_RELEASE);
    sys_munmap((void *)module->cold, module->size);
  }
}

/* What a file says that was changed since it was opened must not be followed. */
static void check_again(const struct open_module *module) {
  const struct cold_header *cold = module->cold;
  const char *wrong = "was cut off while the program ran";
  if (demand_is_there(cold, sizeof *cold)) {
    unsigned long head = cold->envelope.head_size < module->size ? cold->envelope.head_size : module->size;
    if (demand_is_there(cold, head)) wrong = cold_wrong(cold, module->size, cold->module_size);
  }
  if (wrong != NULL) demand_damaged(wrong, folder, module->replacement);
}

/* The module with `at` in one of its ranges; NULL where there is none. */
static const struct open_module *find_module(unsigned long at, const struct cold_range **found) {
  u32 count = __atomic_load_n(&module_count, __ATOMIC_ACQUIRE);
  for (u32 i = 0; i < count; i++) {
    const struct open_module *module = &modules[i];
    if (at >= __atomic_load_n(&module->high, __ATOMIC_ACQUIRE) || at < module->low) continue;
    check_again(module);
    const struct cold_range *ranges = cold_ranges(module->cold);
    for (u32 j = 0; j < module->cold->range_count; j++) {
      if (at < module->base + ranges[j].start || at >= module->base + ranges[j].end) continue;
      *found = &ranges[j];
      return module;
    }
  }
  return NULL;
}

int demand_covers(unsigned long at) {
  const struct cold_range *range;
  return find_module(at, &range) != NULL;
}

int *demand_wiped(void) { return wiped; }

static int is_mapped(unsigned long at) {
  u8 ignored;
  return sys_mincore((void *)(at & ~(PAGE - 1)), PAGE, &ignored) >= 0;
}

/* The loader's list of all modules begins before any of them. */
static struct demand_place place_of(const struct open_module *near, unsigned long at) {
  struct demand_place place = {NULL, NULL, at};
  const struct link_map *map = near->map;
  while (map->previous != NULL) map = map->previous;
  for (; map != NULL; map = map->next)
    if (map->base <= at && (place.map == NULL || map->base > place.map->base)) place.map = map;
  u32 count = __atomic_load_n(&module_count, __ATOMIC_ACQUIRE);
  for (u32 i = 0; i < count; i++)
    if (modules[i].high != 0 && modules[i].map == place.map) place.path = modules[i].path;
  return place;
}

struct miss {
  const struct open_module *module;
  const struct cold_range *range;
  unsigned long at;
  const struct sys_ucontext *context;
};

/* On our own stack, with the lock. */
static void bring(const struct miss *miss) {
  const struct open_module *module = miss->module;
  const struct cold_header *cold = module->cold;
  if (cold->flags & COLD_STORED) {
    u32 chunk = (u32)((miss->at - module->base - miss->range->start) / COLD_CHUNK);
    const char *wrong = demand_load(cold, miss->range, module->base, chunk);
    if (wrong != NULL) demand_damaged(wrong, folder, module->replacement);
    return;
  }
  unsigned long stack = miss->context->registers[REG_RSP];
  struct demand_place called = {module->map, module->path, miss->at};
  struct demand_place caller = {NULL, NULL, 0};
  /* At a function's start the return address is on top; elsewhere nobody can tell. */
  if (is_mapped(stack) && stack % 8 == 0) caller = place_of(module, *(const unsigned long *)stack);
  if (!(cold->flags & COLD_LOG)) demand_denied(&called, &caller);
  demand_log(folder, &called, &caller);
  if (sys_mprotect((void *)(miss->at & ~(PAGE - 1)), PAGE, PROT_READ | PROT_EXEC) < 0)
    demand_damaged("is of no use: the kernel refuses to make a page executable", folder, module->replacement);
}

/* Calls work(argument) with the stack pointer at `top`. */
static void on_stack(void *top, void (*work)(const struct miss *), const struct miss *argument) {
  __asm__ volatile(
      "mov %%rsp, %%rbx\n"
      "mov %[top], %%rsp\n"
      "call *%[work]\n"
      "mov %%rbx, %%rsp\n"
      : [work] "+r"(work), "+D"(argument), [top] "+r"(top)
      :
      : "rbx", "rax", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "memory", "cc");
}

static void on_fault(int signal, struct sys_siginfo *info, struct sys_ucontext *context) {
  unsigned long ip = context->registers[REG_RIP], at = info->address;
  struct miss miss = {NULL, NULL, at, context};
  if (info->code == SEGV_ACCERR) miss.module = find_module(at, &miss.range);
  /* The instruction itself, at its start or where it goes on on the next page. */
  int fetch = at == ip || (at % PAGE == 0 && at > ip && at - ip < LONGEST_INSTRUCTION);
  int stored = miss.module != NULL && miss.module->cold->flags & COLD_STORED;
  /* What is stored can be read, too; writing stays forbidden. */
  int read = stored && !(context->registers[REG_ERR] & FAULT_WRITE);
  if (miss.module == NULL || !(fetch || read)) {
    signals_pass_on(signal, info, context);
    return;
  }
  take_lock();
  on_stack(own_stack + STACK_SIZE, bring, &miss);
  give_lock();
}

void demand_start(const char *image_folder, u32 image_user) {
  folder = image_folder;
  user = image_user;
  static int without_wiping;
  lock = &without_wiping;
  long page = (long)sys_mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (!(page < 0 && page > -4096)) {
    if (sys_call3(28, page, PAGE, MADV_WIPEONFORK) >= 0) lock = (int *)page, wiped = lock + 16; /* madvise */
  }
  signals_start(on_fault);
}
