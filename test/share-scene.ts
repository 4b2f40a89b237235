/** A program with a library of its own, which tells how it was started; and its image after linking. */
import { statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { OwnProgramScene } from './support/own-program-scene.ts';

export const isRoot = process.geteuid?.() === 0;

const LIBRARY = 'int own(int x) { return x * 6; }\n';

/** Names by which a program asks for itself stand in it one letter on, so that it does not look like one that asks. */
const MAIN = `#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
int own(int);
int (*const pointer)(int) = own;
static __thread int in_thread = 3;
static const char *back(char *text) { for (char *c = text; *c; c++) --*c; return text; }
static const char *how(void) {
  char path[] = "0qspd0tfmg0nbqt", line[4096];
  FILE *maps = fopen(back(path), "r");
  const char *found = "plain";
  while (maps && fgets(line, sizeof line, maps)) if (strstr(line, ".linked")) found = "linked";
  if (maps) fclose(maps);
  return found;
}
static void *thread(void *unused) { in_thread += own(1); return unused; }
int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "say";
  if (!strcmp(what, "say")) {
    pthread_t one;
    pthread_create(&one, 0, thread, 0);
    pthread_join(one, 0);
    char comm[32] = "";
    FILE *file = fopen("/proc/self/comm", "r");
    if (file) { if (!fgets(comm, sizeof comm, file)) comm[0] = 0; fclose(file); }
    comm[strcspn(comm, "\\n")] = 0;
    const char *value = getenv("OWN");
    printf("%s %s %s %d %d\\n", argv[0], comm, value ? value : "none", pointer(7), in_thread);
    fprintf(stderr, "%s\\n", how());
    return 5;
  }
  if (!strcmp(what, "self")) {
    char path[] = "0qspd0tfmg0fyf", to[4096];
    ssize_t size = readlink(back(path), to, sizeof to - 1);
    to[size > 0 ? size : 0] = 0;
    puts(to);
    fprintf(stderr, "%s\\n", how());
    return 0;
  }
  if (!strcmp(what, "die")) raise(SIGUSR1);
  if (!strcmp(what, "child")) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) { execv(argv[2], argv + 2); _exit(99); }
    int status = 0;
    waitpid(child, &status, 0);
    return WEXITSTATUS(status);
  }
  return 0;
}
`;

export class ShareScene extends OwnProgramScene {
  constructor() {
    super('share');
    writeFileSync(join(this.folder, 'own.c'), LIBRARY);
    writeFileSync(join(this.folder, 'main.c'), MAIN);
    this.compileLibrary();
    for (const path of [this.program, this.other]) this.gcc('-o', path, 'main.c', ...this.#linking());
  }

  #linking(): string[] {
    return ['-Llib', '-lown', `-Wl,-rpath,${this.first}:${this.libraries}`, '-pthread'];
  }

  /** A program that is laid out as `program`, and has another number in a variable. */
  compileTwin(): string {
    const path = join(this.folder, 'bin', 'twin');
    writeFileSync(join(this.folder, 'twin.c'), MAIN.replace('in_thread = 3', 'in_thread = 4'));
    this.gcc('-o', path, 'twin.c', ...this.#linking());
    return path;
  }

  compileLibrary(): void {
    this.gcc('-shared', '-fPIC', '-o', this.library, 'own.c');
  }

  image(name: string): string {
    return join(this.store, 'images', name);
  }

  launcher(name: string): string {
    return join(this.image(name), 'launch');
  }

  /** Whether the images can be mounted here. */
  get mountable(): boolean {
    const searchable = (path: string): boolean =>
      (statSync(path).mode & 1) !== 0 && (path === '/' || searchable(dirname(path)));
    return isRoot && searchable(this.store);
  }
}
