/* text.h: the two things about strings that the runtime needs and has no libc for. */
#ifndef WINNOW_TEXT_H
#define WINNOW_TEXT_H

static inline unsigned long length_of(const char *text) {
  unsigned long length = 0;
  while (text[length]) length++;
  return length;
}

static inline int same(const char *a, const char *b) {
  while (*a && *a == *b) a++, b++;
  return *a == *b;
}

#endif
