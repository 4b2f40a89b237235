/* The function that call-cost.c calls in another module. */
__asm__(
    ".text\n.balign 64\n.globl in_library\n.type in_library, @function\n"
    "in_library: ret\n.size in_library, 1\n");
