/* A library that calls another library: by its table, and by its PLT. */
#include "call-cost-loop.h"

extern void in_library(void);

LOOP(near_got, "call *in_library@GOTPCREL(%%rip)")
LOOP(near_plt, "call in_library@PLT")
