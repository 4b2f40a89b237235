/** Programs that go on without winnow, snapshots of running ones, and winnow's own sudden death. */
import { execFileSync, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { filesIn, isRunning, noteCodes, pagesOf, Scene, type Started, until } from './record-scene.ts';

const scene = new Scene();
afterAll(() => scene.close());

const DATA = scene.file('data', Buffer.alloc(40 * 4096, 1));
let server = '';
beforeAll(() => {
  server = scene.c('server', SERVER, '-pthread');
});

/** Asks the server to do everything that the filter traps. */
async function works(started: Started): Promise<void> {
  const id = Number(await started.saw(/pid (\d+)/));
  process.kill(id, 'SIGUSR2');
  await until(
    () => started.stdout.includes('did all'),
    () => started.stdout,
  );
  process.kill(id, 'SIGKILL');
  await until(
    () => !isRunning(id),
    () => 'its end',
  );
}

/** Of a limit that Linux does not enforce; processes inherit it, a keeper too, which has left session and parent. */
const someLimit = (): number => 1_000_000 + randomInt(1_000_000_000);

/** Those of one recording: tests that run beside this one have keepers, too. */
const keepersWith = (limit: number): string[] =>
  readdirSync('/proc').filter((name) => {
    try {
      return (
        /^\d+$/.test(name) &&
        readlinkSync(`/proc/${name}/exe`).endsWith('/runtime/keeper') &&
        readFileSync(`/proc/${name}/limits`, 'utf8').includes(` ${limit} `)
      );
    } catch {
      return false;
    }
  });

describe.each<[string, readonly string[], string[]]>([
  ['thorough', [], ['N_LEFT_RUNNING']],
  ['light', ['--quick'], ['N_LIGHT', 'N_LEFT_RUNNING']],
])('a program that is left running works as before, and its keeper ends with it: %s', (how, mode, notes) => {
  const touched = how === 'light' ? expect.arrayContaining([3, 4]) : [3, 4];
  it.each<[string, readonly string[], (started: Started) => void]>([
    // Longer than the server takes to be ready, on a busy machine too.
    ['--for', ['--for', '3s'], () => {}],
    ['SIGTERM', [], (started) => started.child.kill('SIGTERM')],
    ['SIGINT that the program ignores', [], (started) => started.child.kill('SIGINT')],
  ])('%s', async (_name, options, stop) => {
    const limit = someLimit();
    const through = ['prlimit', `--locks=${limit}`, '--'];
    const started = scene.start([server], { options: [...mode, ...options], through });
    await started.saw(/ready/);
    stop(started);
    expect(await started.ended).toEqual({ code: 0, signal: null });
    expect(noteCodes(started.run)).toEqual(notes);
    expect(started.run.ended).toEqual({ kind: 'left-running' });
    expect(pagesOf(started.run, DATA, 'mapped')).toEqual(touched);
    const [keeper, ...others] = keepersWith(limit);
    expect([keeper, others]).toEqual([expect.any(String), []]);
    await works(started);
    await until(
      () => !isRunning(Number(keeper)),
      () => 'the end of the keeper',
    );
  });

  it('one that is stopped stays stopped', async () => {
    const started = scene.start([server], { options: mode });
    const id = Number(await started.saw(/pid (\d+)/));
    await started.saw(/ready/);
    process.kill(id, 'SIGSTOP');
    await until(
      () => /State:\s+[Tt]/.test(readFileSync(`/proc/${id}/status`, 'utf8')),
      () => 'its stop',
    );
    started.child.kill('SIGTERM');
    expect((await started.ended).code).toBe(0);
    expect(readFileSync(`/proc/${id}/status`, 'utf8')).toMatch(/State:\s+T/);
    process.kill(id, 'SIGCONT');
    await works(started);
  });

  it('one whose leader has ended', async () => {
    const started = scene.start([server, 'leaderless'], { options: mode });
    await started.saw(/ready/);
    started.child.kill('SIGTERM');
    expect((await started.ended).code).toBe(0);
    expect(pagesOf(started.run, DATA, 'mapped')).toEqual(touched);
    await works(started);
  });
});

it('leaves a program running that makes one trapped call after another', async () => {
  const source = `int main(void) { int fd = open("/etc/passwd", O_RDONLY); printf("pid %d\\n", getpid()); fflush(stdout);
    for (;;) lseek(fd, 1 << 20, SEEK_SET); }`;
  const started = scene.start([scene.c('jumper', source)], { options: ['--for', '500ms'] });
  const id = Number(await started.saw(/pid (\d+)/));
  try {
    expect(await started.ended).toEqual({ code: 0, signal: null });
    expect(isRunning(id)).toBe(true);
    // It asked for half a second; the machine may be busy with other tests.
    expect(started.run.durationMs).toBeLessThan(5_000);
  } finally {
    process.kill(id, 'SIGKILL');
  }
});

it('passes SIGUSR1 on to the program', async () => {
  const started = scene.start([
    'sh',
    '-c',
    'trap "echo got; exit 3" USR1; echo ready; while :; do sleep 0.1; done',
  ]);
  await started.saw(/ready/);
  started.child.kill('SIGUSR1');
  expect((await started.ended).code).toBe(3);
  expect(started.stdout).toContain('got');
});

describe('--pid', () => {
  it('takes a snapshot of a program that runs', async () => {
    const running = spawn(server, [], { stdio: 'ignore' });
    try {
      await until(
        () => readFileSync(`/proc/${running.pid}/maps`, 'utf8').includes(DATA),
        () => 'its mapping',
      );
      const { run, status } = scene.record([], { options: ['--pid', String(running.pid)] });
      expect(status).toBe(0);
      expect(noteCodes(run)).toEqual(['N_SNAPSHOT']);
      expect(pagesOf(run, DATA, 'mapped')).toEqual(expect.arrayContaining([3, 4]));
      expect(run.command.program).toBe(server);
    } finally {
      running.kill('SIGKILL');
    }
  });

  it.each([
    ['999999999', 'E_NO_PROCESS', 125],
    ['x', 'E_USAGE', 2],
    ['2', 'E_PROCESS_REFUSED', 125],
  ])('%s: %s', (id, code, status) => {
    const done = scene.record([], { options: ['--pid', id] });
    expect([done.stderr.split(': ')[1], done.status]).toEqual([code, status]);
  });
});

it.each<[string, readonly string[]]>([
  ['thorough', []],
  ['light', ['--quick']],
])(
  'killed while it records: the program ends too, and nothing half-written stays: %s',
  async (_how, options) => {
    const started = scene.start([server], { options });
    const id = Number(await started.saw(/pid (\d+)/));
    await started.saw(/ready/);
    started.child.kill('SIGKILL');
    await started.ended;
    await until(
      () => !isRunning(id),
      () => 'its end',
    );
    expect(
      filesIn(started.store).filter((name) => /it|tmp|\.new/.test(name) && !name.endsWith('.lock')),
    ).toEqual([]);
  },
);

it('twenty recordings at once', async () => {
  const all = Array.from({ length: 20 }, (_, i) => scene.start(['sh', '-c', `ls / | wc -l; exit ${i}`]));
  const codes = await Promise.all(all.map(async (started) => (await started.ended).code));
  expect(codes).toEqual(all.map((_, i) => i));
  for (const { run } of all) expect(run.processes.length).toBe(5);
});

it('a hundred starts in a row: none hangs', () => {
  const store = scene.newStore();
  const out = execFileSync(
    'sh',
    [
      '-c',
      `for i in $(seq 25); do timeout -s KILL 10 "$0" record -q --store "$1" --name it -- sh -c 'for j in 1 2 3 4; do ls / | wc -l; done' || echo failed; done`,
      `${import.meta.dirname}/../bin/winnow`,
      store,
    ],
    { encoding: 'utf8', timeout: 55_000 },
  );
  expect(out.trim().split('\n')).toHaveLength(100);
  expect(out).not.toContain('failed');
});

const SERVER = `
static volatile int sum; static volatile sig_atomic_t asked;
static void ask(int s) { asked = 1; }
static void *work(void *x) {
  int fd = open("${DATA}", O_RDONLY); char *m = mmap(0, 40 * 4096, PROT_READ, MAP_PRIVATE, fd, 0); sum = m[3 * 4096] + m[4 * 4096];
  printf("pid %d\\nready\\n", getpid()); fflush(stdout);
  while (!asked) usleep(20000);
  struct stat s; int ok = !stat("/etc/passwd", &s) && access("/none", F_OK) && errno == ENOENT;
  int big = open("${DATA}", O_RDONLY); ok = ok && lseek(big, 100000, SEEK_SET) == 100000;
  char *again = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, big, 8192); again[0] = 2; ok = ok && !munmap(again, 4096);
  int status; if (!fork()) { execl("/bin/sh", "sh", "-c", "exit $(cat /dev/null; echo 6)", (char *)0); _exit(1); }
  wait(&status); ok = ok && WEXITSTATUS(status) == 6;
  ok = ok && !fcntl(1, F_GETFD);
  puts(ok ? "did all" : "failed"); fflush(stdout);
  for (;;) pause();
}
int main(int argc, char **argv) {
  signal(SIGINT, SIG_IGN); signal(SIGUSR2, ask); signal(SIGPIPE, SIG_IGN);
  pthread_t t; pthread_create(&t, 0, work, 0);
  if (argc > 1) pthread_exit(0);
  for (;;) pause();
}`;
