/* A loop over one instruction, 16 times in a row. */
#define LOOP(name, instruction)                                                          \
  void name(long count) {                                                                \
    __asm__ volatile(                                                                    \
        ".balign 64\n1:\n.rept 16\n" instruction "\n.endr\n"                             \
        "sub $16, %0\n jnz 1b\n"                                                         \
        : "+r"(count)                                                                    \
        :                                                                                \
        : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "cc", "memory"); \
  }
