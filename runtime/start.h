/*
 * start.h: where the kernel enters a static program without libc.
 *
 * START_AT(main) calls `int main(long argc, char **argv, char **envp)`, or one that takes fewer, and ends the
 * process with what it returns.
 */
#ifndef WINNOW_START_H
#define WINNOW_START_H

#define START_AT(main_function)               \
  __asm__(                                    \
      ".globl _start\n"                       \
      "_start:\n"                             \
      "  xor %ebp, %ebp\n"                    \
      "  mov (%rsp), %rdi\n"                  \
      "  lea 8(%rsp), %rsi\n"                 \
      "  lea 16(%rsp,%rdi,8), %rdx\n"         \
      "  and $-16, %rsp\n"                    \
      "  call " #main_function "\n"           \
      "  mov %eax, %edi\n"                    \
      "  mov $231, %eax\n" /* exit_group */   \
      "  syscall\n"                           \
      "  hlt\n") /* a trapped exit that nobody answers fails */

#endif
