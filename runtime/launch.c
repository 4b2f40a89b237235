/*
 * launch: starts an image's program, its working set prefetched in the background.
 *
 * It stands in the image's folder and is run from there, through a symbolic link, or by `winnow run`:
 *
 *     plan.bin   what to fetch (plan.h)         program   symbolic link to the program
 *     plan.misses  what could not be (misses.h)
 *     launch     this                           argv      the recorded argv, each ended by a zero byte
 *     command    this too: as `command` it starts the program with the recorded argv, the caller's
 *                further arguments appended
 *     modules.bin, audit.so and the modules that the program is shown (show.c)
 *
 * The program gets what a plain exec would give it: argv (argv[0] as the caller said), environment,
 * folder, descriptors, limits, signals. A plan that is missing, damaged, newer, or that others could have
 * written is ignored; nothing that is wrong with a plan keeps the program from running.
 */
#include "prefetch.h"
#include "show.h"
#include "text.h"

#define PATH_SIZE 4096

static char folder[PATH_SIZE + 16]; /* ends with a slash; names are put behind it */
static unsigned long folder_length;
static char program[PATH_SIZE];
static _Alignas(8) u8 head_bytes[PLAN_HEAD_MAX];

static int has_slash(const char *text) {
  for (; *text; text++)
    if (*text == '/') return 1;
  return 0;
}

static void say(const char *text) { sys_write(2, text, length_of(text)); }

static _Noreturn void fail(int status, const char *code, const char *what, const char *where, const char *next) {
  say("winnow: ");
  say(code);
  say(": ");
  say(what);
  say("\n  where: ");
  say(where);
  say("\n  next:  ");
  say(next);
  say("\n");
  sys_exit(status);
}

static const char *in_folder(const char *name) {
  char *at = folder + folder_length;
  while ((*at++ = *name++)) {
  }
  return folder;
}

/* The launcher's own path, links resolved; where /proc is not mounted, what it was started as. */
static long find_own_path(const char *started_as) {
  long size = sys_readlink("/proc/self/exe", folder, PATH_SIZE - 1);
  if (size > 0) {
    folder[size] = 0;
    return size;
  }
  size = (long)length_of(started_as);
  if (size >= PATH_SIZE) return -ENAMETOOLONG;
  for (long i = 0; i <= size; i++) folder[i] = started_as[i];
  for (int links = 0; links < 16; links++) {
    long target = sys_readlink(folder, program, PATH_SIZE - 1);
    if (target <= 0) break;
    program[target] = 0;
    long keep = 0;
    if (program[0] != '/')
      for (long i = 0; i < size; i++)
        if (folder[i] == '/') keep = i + 1;
    if (keep + target >= PATH_SIZE) return -ENAMETOOLONG;
    for (long i = 0; i <= target; i++) folder[keep + i] = program[i];
    size = keep + target;
  }
  return size;
}

/* Cuts the own path behind its last slash; returns whether the launcher is called `command`. */
static int find_folder(const char *started_as) {
  long size = find_own_path(started_as);
  if (size <= 0) fail(127, "E_IMAGE_DAMAGED", "the launcher cannot find its own folder", started_as,
                      "mount /proc, or start the launcher by its absolute path");
  folder_length = 0;
  for (long i = 0; i < size; i++)
    if (folder[i] == '/') folder_length = (unsigned long)i + 1;
  return same(folder + folder_length, "command");
}

static void prefetch(u32 user, u64 random) {
  int fd = (int)sys_open(in_folder("plan.bin"), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return;
  struct sys_stat stat;
  if (sys_fstat(fd, &stat) >= 0 && only_owner_writes(&stat, user)) {
    long have = sys_read(fd, head_bytes, sizeof head_bytes);
    const struct plan_header *head = (const struct plan_header *)head_bytes;
    if (have > 0 && plan_head_is_good(head, (u64)have, (u64)stat.size) && !plan_is_warm(head, random, user))
      prefetch_start(&(struct prefetch){fd, head, in_folder("plan.misses"), user});
  }
  sys_close(fd);
}

/* The recorded argv followed by the caller's arguments. */
static char **recorded_argv(char **argv, long argc, u32 user) {
  const char *path = in_folder("argv");
  const char *next = "build the image anew: winnow build";
  struct sys_stat stat;
  int fd = (int)sys_open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0 || sys_fstat(fd, &stat) < 0 || stat.size <= 0)
    fail(127, "E_IMAGE_DAMAGED", "the image's recorded arguments cannot be read", path, next);
  if (!only_owner_writes(&stat, user))
    fail(126, "E_IMAGE_WRITABLE", "others can write the image's arguments, so they are not used", path, next);
  unsigned long size = (unsigned long)stat.size;
  /* One mapping for both: the text, then the pointers, at most one for each byte of text. */
  unsigned long text_size = (size + 15) & ~15ul;
  unsigned long all = text_size + (size + (unsigned long)argc + 1) * sizeof(char *);
  long at = (long)sys_mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at < 0 && at > -4096) fail(126, "E_NO_MEMORY", "there is no memory for the arguments", path, "free some");
  char *text = (char *)at;
  char **result = (char **)(text + text_size);
  unsigned long got = 0;
  while (got < size) {
    long n = sys_read(fd, text + got, size - got);
    if (n == -EINTR) continue;
    if (n <= 0) break;
    got += (unsigned long)n;
  }
  sys_close(fd);
  if (got != size || text[size - 1] != 0)
    fail(127, "E_IMAGE_DAMAGED", "the image's recorded arguments are cut off", path, next);
  long count = 0;
  for (char *one = text; one < text + size; one += length_of(one) + 1) result[count++] = one;
  for (long i = 1; i < argc; i++) result[count++] = argv[i];
  result[count] = NULL;
  return result;
}

/*
 * What to execute: the program as the caller named it, if that is the same file (a script sees the path it
 * was started by, and every program's comm is its last part), else the path that the image knows.
 */
static const char *path_to_execute(const char *name) {
  struct sys_stat known, named;
  if (name == NULL || !has_slash(name) || same(name, program)) return program;
  if (sys_stat(program, &known) < 0 || sys_stat(name, &named) < 0) return program;
  return known.dev == named.dev && known.ino == named.ino ? name : program;
}

static _Noreturn void fail_to_execute(long error, const char *path) {
  struct sys_stat stat;
  switch (error) {
    case -ENOENT:
      if (sys_stat(path, &stat) >= 0)
        fail(126, "E_PROGRAM_FORMAT", "the interpreter or loader that the program asks for does not exist", path,
             "install it, or correct the first line of the script");
      fail(127, "E_PROGRAM_NOT_FOUND", "there is no such program any more", path,
           "install it again, or record and build anew: winnow record, winnow build");
    case -ENOTDIR:
    case -ELOOP:
      fail(127, "E_PROGRAM_NOT_FOUND", "the path of the program does not lead to a file", path,
           "install it again, or record and build anew: winnow record, winnow build");
    case -EACCES:
      fail(126, "E_PROGRAM_NOT_EXECUTABLE", "the program may not be executed by this user", path,
           "check the mode of the file and of its folders");
    case -ENOEXEC:
      fail(126, "E_PROGRAM_FORMAT", "the file is neither a program of this machine nor a script with #!", path,
           "begin the script with a line such as #!/bin/sh");
    case -E2BIG:
      fail(126, "E_ARGUMENTS", "the arguments and the environment are too long", path, "give fewer or shorter ones");
    case -ETXTBSY:
      fail(126, "E_PROGRAM_BUSY", "the program is being written", path, "try again when it is complete");
    default:
      fail(126, "E_PROGRAM_NOT_EXECUTABLE", "the kernel refuses to start the program", path,
           "start it plainly to see why");
  }
}

_Noreturn void launch_main(long *stack) {
  long argc = stack[0];
  char **argv = (char **)(stack + 1);
  char **envp = argv + argc + 1;
  char **end = envp;
  while (*end) end++;
  const char *started_as = "";
  u32 user = ~0u, group = ~0u;
  u64 random = 0;
  for (u64 *aux = (u64 *)(end + 1); aux[0] != AT_NULL; aux += 2) {
    if (aux[0] == AT_EUID) user = (u32)aux[1];
    if (aux[0] == AT_EGID) group = (u32)aux[1];
    if (aux[0] == AT_RANDOM) random = *(const u64 *)aux[1];
    if (aux[0] == AT_EXECFN) started_as = (const char *)aux[1];
  }

  int as_command = find_folder(started_as);
  long size = sys_readlink(in_folder("program"), program, sizeof program - 1);
  if (size <= 0 || program[0] != '/')
    fail(127, "E_IMAGE_DAMAGED", "the image does not say which program it starts", folder,
         "build the image anew: winnow build");
  program[size] = 0;
  if (as_command) argv = recorded_argv(argv, argc, user);
  prefetch(user, random);

  const char *path = path_to_execute(argv[0]);
  struct show_request request = {in_folder(""), path, envp, user, group};
  char **shown = show_modules(&request);
  long error = sys_execve(request.path, argv, shown);
  /* One variable more may have been one too many, and what stands in the image has perhaps gone. */
  if (error == -E2BIG && shown != envp) error = sys_execve(request.path, argv, envp);
  if (error < 0 && request.path != path) error = sys_execve(path, argv, envp);
  fail_to_execute(error, path);
}

__asm__(
    ".globl _start\n"
    "_start:\n"
    "  xor %ebp, %ebp\n"
    "  mov %rsp, %rdi\n"
    "  and $-16, %rsp\n"
    "  call launch_main\n");
