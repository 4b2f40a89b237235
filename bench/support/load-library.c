/* Loads a library as a program would that needs all of it at once; says why it cannot. */
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv) {
  if (argc != 2) return 3;
  if (dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) != NULL) return 0;
  printf("%s\n", dlerror());
  return 2;
}
