/*
 * restore: starts a program from NAME.linked, or by its plain dynamic loader.
 *
 * Problem. What the dynamic loader does is the same at every start, as long as nothing changes that it depends on.
 *
 * Example. The image of inkscape has a copy of inkscape that differs in one thing: the interpreter that it names is
 * a copy of this, not ld-linux-x86-64.so.2. The kernel maps both and starts this.
 *
 * Method. A note in this file (share.h) says where the image is. If everything is as it was when the image was built
 * (restore-guards.c), what linking made is mapped where it was made for (restore-map.c), and control goes to where the loader
 * goes on once all is relocated: constructors, then the program. If anything differs, or the kernel refuses
 * a call, what was mapped is unmapped, and the loader that the program names is mapped as the kernel would have
 * done it (restore-plain.c). Nothing is said and nothing is left open; the image's owner finds the reason noted (restore-misses.c).
 *
 *     restore [NAME.linked]      run as a program it answers which guard speaks against the image: struct linked_answer
 *
 * Limits. x86-64. The pages of restore itself stay mapped: nothing that is executed could unmap them and still
 * hand over rax. A debugger that starts the program with random addresses (not: attaches to it)
 * finds its breakpoints moved.
 */
#include "restore.h"

void _start(void);

/*
 * Registers as the kernel leaves them, but for rax. The word below the stack pointer is read before
 * anything else can write there.
 */
__asm__(
    ".pushsection .text.start,\"ax\",@progbits\n"
    ".globl _start\n"
    ".hidden _start\n"
    "_start:\n"
    "  xor %ebp, %ebp\n"
    "  mov %rsp, %rdi\n"
    "  mov %rsp, %rbx\n"
    "  and $-16, %rsp\n"
    "  call restore_main\n"
    "  mov %rbx, %rsp\n"
    "  mov %rdx, -8(%rsp)\n"
    "  xor %ebx, %ebx\n"
    "  xor %ecx, %ecx\n"
    "  xor %edx, %edx\n"
    "  xor %esi, %esi\n"
    "  xor %edi, %edi\n"
    "  xor %r8d, %r8d\n"
    "  xor %r9d, %r9d\n"
    "  xor %r10d, %r10d\n"
    "  xor %r11d, %r11d\n"
    "  xor %r12d, %r12d\n"
    "  xor %r13d, %r13d\n"
    "  xor %r14d, %r14d\n"
    "  xor %r15d, %r15d\n"
    "  jmp *-8(%rsp)\n"
    ".popsection\n"
    ".pushsection .note.winnow,\"a\",@note\n"
    ".balign 4\n"
    ".long 7, 4096, 0x4e4c\n"
    ".asciz \"" LINKED_NOTE_NAME "\"\n"
    ".balign 4\n"
    ".globl linked_note\n"
    ".hidden linked_note\n"
    "linked_note:\n"
    ".zero 4096\n"
    ".popsection\n");

_Static_assert(sizeof LINKED_NOTE_NAME == 7 && LINKED_NOTE_TYPE == 0x4e4c && LINKED_NOTE_PATH == 4096, "the note above");
extern const char linked_note[LINKED_NOTE_PATH];

static void read_stack(struct start *start, u64 *stack) {
  start->stack = stack;
  start->argc = (long)stack[0];
  start->argv = (char **)(stack + 1);
  start->envp = start->argv + start->argc + 1;
  char **end = start->envp;
  while (*end != NULL) end++;
  start->auxv = (u64 *)(end + 1);
  for (unsigned i = 0; i < AUX_TYPES; i++) start->values[i] = NULL;
  u64 *at = start->auxv;
  for (; at[0] != AT_NULL; at += 2)
    if (at[0] < AUX_TYPES) start->values[at[0]] = at + 1;
  start->auxv_size = (u64)(at + 2 - start->auxv) * sizeof *at;
}

static void prepare(struct image *image, const struct start *start) {
  image->fd = -1;
  image->is_filtered = start->is_filtered;
  image->mapped = 0;
  image->is_kept = 0;
  image->slide = NULL;
  image->slides[LINKED_INTO_PROGRAM] = image->slides[LINKED_INTO_REST] = 0;
}

/* Run as a program: what do the guards say here and now? */
static _Noreturn void answer(struct start *start) {
  struct image image;
  prepare(&image, start);
  read_processor(&image);
  struct verdict found = verdict(LINKED_BAD_IMAGE, 0);
  if (start->argc > 1) {
    found = check_surroundings(start);
    if (found.refused == LINKED_GOOD) found = image_open(&image, start->argv[1], start);
    if (found.refused == LINKED_GOOD) found = check_library_path(&image, start);
    if (found.refused == LINKED_GOOD) found = check_machine(&image, start);
    if (found.refused == LINKED_GOOD) found = check_watches(&image);
    if (found.refused == LINKED_GOOD) found = check_files(&image, 1);
  }
  struct linked_answer text = {found.refused, found.index, image.processor};
  sys_exit(sys_write(1, &text, sizeof text) == sizeof text ? 0 : 1);
}

static struct verdict try_image(const char *path, struct start *start, struct jump *jump) {
  struct verdict found = check_surroundings(start);
  if (found.refused != LINKED_GOOD) return found;
  struct image image;
  prepare(&image, start);
  read_processor(&image);
  found = image_open(&image, path, start);
  if (found.refused == LINKED_GOOD) found = check_library_path(&image, start);
  if (found.refused == LINKED_GOOD) found = check_machine(&image, start);
  if (found.refused == LINKED_GOOD) found = check_watches(&image);
  if (found.refused == LINKED_GOOD) found = check_files(&image, 0);
  if (found.refused == LINKED_GOOD) found = slide_head(&image, start);
  if (found.refused == LINKED_GOOD) found = restore_image(&image, start, jump);
  if (found.refused != LINKED_GOOD) image_close(&image);
  return found;
}

static int start_image(struct start *start, struct jump *jump) {
  /* The note is patched: the compiler must not know that it is empty. */
  const char *path = linked_note;
  __asm__("" : "+r"(path));
  if (*path != '/') return 0;
  struct verdict found = try_image(path, start, jump);
  if (found.refused == LINKED_GOOD) return 1;
  note_miss(path, start, found);
  return 0;
}

struct jump restore_main(u64 *stack) __attribute__((used));
struct jump restore_main(u64 *stack) {
  struct start start;
  read_stack(&start, stack);
  read_status(&start);
  if (aux(&start, AT_ENTRY) == (u64)_start) answer(&start);
  struct jump jump;
  return start_image(&start, &jump) ? jump : map_plain_loader(&start);
}
