/** Programs that go on without winnow after a recording with breakpoints: none is left in any memory. */
import { closeSync, openSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { type Pid, pid } from '../src/base/brands.ts';
import { readBytes } from '../src/elf/prefix.ts';
import { readMaps } from '../src/sys/maps.ts';
import { enteredNames, F, FunctionsScene } from './functions-scene.ts';
import { isRunning, noteCodes, type Started, until } from './record-scene.ts';

const scene = new FunctionsScene();
afterAll(() => scene.close());

const MANY = `${Array.from({ length: 400 }, (_, n) => `${F} int f${n}(int x) { return x + ${n}; }`).join('\n')}
int (*table[400])(int) = { ${Array.from({ length: 400 }, (_, n) => `f${n}`).join(', ')} };`;

/** The leader's children and threads enter functions all the time, once it is ready: all of them are at work then. */
const server = scene.c(
  'server',
  `${MANY}
   static volatile int stop;
   static _Atomic int *at_work;
   void enough(int s) { stop = 1; }
   ${F} int last(int x) { return x + 1; }
   void *work(void *first) {
     unsigned x = (long)first;
     ++*at_work;
     while (!stop) { x = x * 1103515245 + 12345; table[(x >> 16) % 400](1); usleep(200); }
     return 0; }
   int main() {
     signal(SIGUSR2, enough); setvbuf(stdout, 0, _IONBF, 0);
     pthread_t t[4];
     at_work = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
     for (long i = 0; i < 4; i++) pthread_create(&t[i], 0, work, (void *)i);
     pid_t child = fork();
     if (child == 0) { work((void *)7); _exit(last(2)); }
     while (*at_work < 5) usleep(1000);
     printf("pid %d child %d ready\\n", getpid(), child);
     for (long n = 0; !stop; n++) { if (n % 20 == 0) { pid_t id = fork(); if (id == 0) { for (int i = 0; i < 50; i++) table[(i * n) % 400](1); _exit(5); } int s; waitpid(id, &s, 0); if (s != 5 << 8) abort(); } usleep(300); }
     for (long i = 0; i < 4; i++) pthread_join(t[i], 0);
     for (int i = 0; i < 400; i++) table[i](1);
     kill(child, SIGUSR2); int status; waitpid(child, &status, 0);
     printf("did all %d\\n", status == 3 << 8 && last(1) == 2);
     return 0; }`,
  '-pthread',
);

/** Where the code in a process's memory differs from the files that are mapped there. */
function differences(process: Pid): string[] {
  const memory = openSync(`/proc/${process}/mem`, 'r');
  try {
    const code = readMaps(process).filter(({ executable, inode }) => executable && inode !== 0n);
    expect(code.length).toBeGreaterThan(2);
    return code.flatMap(({ path, start, end, offset }) => {
      const fd = openSync(path, 'r');
      try {
        const wanted = Buffer.from(readBytes(fd, offset, end - start));
        const found = Buffer.from(readBytes(memory, start, wanted.length));
        return found.equals(wanted) ? [] : [path];
      } finally {
        closeSync(fd);
      }
    });
  } finally {
    closeSync(memory);
  }
}

async function goesOn(started: Started, id: number): Promise<void> {
  process.kill(id, 'SIGUSR2');
  await until(
    () => /did all 1/.test(started.stdout),
    () => started.stdout,
  );
  await until(
    () => !isRunning(id),
    () => 'its end',
  );
}

describe('a program that is left running', () => {
  it.each<[string, readonly string[], (started: Started) => void]>([
    // Longer than the server takes to be ready, on a busy machine too.
    ['by --for', ['--for', '4s'], () => {}],
    ['by SIGTERM', [], (started) => started.child.kill('SIGTERM')],
    ['by SIGINT that it ignores', [], (started) => started.child.kill('SIGINT')],
  ])('%s has its own code again, in every process', async (_name, options, stop) => {
    const command = /ignores/.test(_name) ? ['sh', '-c', 'trap "" INT; exec "$0"', server] : [server];
    const started = scene.startFunctions(command, { options });
    const child = Number(await started.saw(/child (\d+) ready/));
    const id = Number(await started.saw(/pid (\d+) child/));
    stop(started);
    expect(await started.ended).toEqual({ code: 0, signal: null });
    expect(noteCodes(started.run)).toEqual(['N_LEFT_RUNNING']);
    expect(differences(pid(id))).toEqual([]);
    expect(differences(pid(child))).toEqual([]);
    expect(enteredNames(started.run, server, /^(main|work|last)$/)).toEqual(['main', 'work']);
    await goesOn(started, id);
  });
});

it('is left while four threads and a child run from one breakpoint into the next', async () => {
  const functions = 60_000;
  const program = scene.c(
    'runs-on',
    `__asm__(".balign 16\\nfirst: .rept ${functions}\\n.cfi_startproc\\nlea 1(%rdi), %eax\\nret\\n.cfi_endproc\\n.balign 16\\n.endr");
     extern char first[];
     static volatile int stop;
     void enough(int s) { stop = 1; }
     void *work(void *from) { long sum = 0;
       // The second half takes five seconds and more: winnow is asked to leave in the midst of it.
       for (long i = (long)from; i < ${functions}; i += 5, i > ${functions} / 2 && !stop && usleep(1000)) sum += ((int (*)(int))(first + 16 * i))(0);
       while (!stop) usleep(1000);
       return (void *)sum; }
     int main() {
       signal(SIGUSR2, enough); setvbuf(stdout, 0, _IONBF, 0);
       pid_t child = fork();
       if (child == 0) _exit((long)work((void *)4) != ${functions} / 5);
       pthread_t t[4]; long sum = 0; int status;
       for (long i = 0; i < 4; i++) pthread_create(&t[i], 0, work, (void *)i);
       printf("pid %d child %d ready\\n", getpid(), child);
       for (long i = 0; i < 4; i++) { void *r; pthread_join(t[i], &r); sum += (long)r; }
       kill(child, SIGUSR2); waitpid(child, &status, 0);
       printf("did all %d\\n", sum == ${functions} / 5 * 4 && status == 0);
       return 0; }`,
    '-pthread',
  );
  const started = scene.startFunctions([program]);
  const child = Number(await started.saw(/child (\d+) ready/));
  const id = Number(await started.saw(/pid (\d+) child/));
  started.child.kill('SIGTERM');
  expect(await started.ended).toEqual({ code: 0, signal: null });
  expect(differences(pid(id))).toEqual([]);
  expect(differences(pid(child))).toEqual([]);
  // It was in the midst of it.
  const file = started.run.files.findIndex(({ path }) => path === program);
  const entered = started.run.entered.find((code) => code.file === file)?.entries.length ?? 0;
  expect(entered).toBeLessThan(functions);
  await goesOn(started, id);
});

it('a recorder that is killed takes the program with it: it could not go on with breakpoints in it', async () => {
  const started = scene.startFunctions([server]);
  const id = Number(await started.saw(/pid (\d+) child/));
  started.child.kill('SIGKILL');
  await until(
    () => !isRunning(id),
    () => 'its end',
  );
});
