/* pagemap.h: the kernel's way to tell which pages of a process are there: PAGEMAP_SCAN (Linux 6.7). */
#ifndef WINNOW_PAGEMAP_H
#define WINNOW_PAGEMAP_H
#include "sys.h"

#define PAGEMAP_SCAN 0xc0606610ul
#define PAGE_IS_PRESENT 8ull
#define PAGE_IS_SWAPPED 16ull
/* The highest address of a program, less the page that the kernel keeps free. */
#define USER_END 0x7ffffffff000ull

struct page_region {
  u64 start;
  u64 end;
  u64 categories;
};

struct scan_argument {
  u64 size, flags, start, end, walk_end, vec, vec_length, max_pages;
  u64 inverted, required, any_of, wanted;
};

#endif
