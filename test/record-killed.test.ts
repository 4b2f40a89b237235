/**
 * A process of the recorded tree may be killed at any moment, also while its stop is being dealt with. Here the kill
 * always comes just then: the first observer of an event kills the process that it is about.
 */
import { readFileSync } from 'node:fs';
import { afterAll, expect, it } from 'vitest';
import type { Observer, TraceEvent } from '../src/record/events.ts';
import { withCalls } from '../src/record/inject.ts';
import type { Image } from '../src/record/tracees.ts';
import { EntryFinder } from '../src/select/entries.ts';
import { Functions } from '../src/select/observe.ts';
import { hasSignal } from '../src/sys/caller.ts';
import { Scene } from './record-scene.ts';

const scene = new Scene();
afterAll(() => scene.close());

const SYS_getpid = 39n;
const CHILDREN = 40;
/** The stub that starts the program, and the program. */
const OWN_IMAGES = 2;

class Killer implements Observer {
  readonly wantsArrivals = true;
  readonly killed: Image[] = [];
  readonly #isTime: (event: TraceEvent) => boolean;

  constructor(isTime: (event: TraceEvent) => boolean) {
    this.#isTime = isTime;
  }

  observe(event: TraceEvent): void {
    if (!('image' in event) || event.image.serial < OWN_IMAGES || !this.#isTime(event)) return;
    const { image } = event;
    this.killed.push(image);
    process.kill(image.pid, 'SIGKILL');
    while (!hasBegunToEnd(image.pid));
    // The next thing that it does is to end, also where it is told to make a call.
    if (event.kind === 'image-started')
      withCalls(event.thread.tid, image.syscallAt, (call) => call(SYS_getpid));
  }
}

/** It has taken the signal, and stands in its last stop or is dead. */
function hasBegunToEnd(pid: number): boolean {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const pending = /^SigPnd:\s*(\w+)/m.exec(status)?.[1] ?? '0';
  return /^State:\s*[Zt]/m.test(status) && !hasSignal(pending, 9);
}

it.each<[string, (event: TraceEvent) => boolean]>([
  ['has been forked', (event) => event.kind === 'image-started' && event.how === 'fork'],
  ['has executed a program', (event) => event.kind === 'image-started' && event.how === 'exec'],
  ['has mapped a library', (event) => event.kind === 'module-mapped'],
  ['has met a breakpoint', (event) => event.kind === 'trap'],
])(
  'a process that %s and is killed at once is one that was killed, and the others go on',
  (_what, isTime) => {
    const program = scene.c(
      'parent',
      `int main(int n, char **v) {
       if (n > 1) { usleep(1); return 0; }
       int killed = 0;
       for (int i = 0; i < ${CHILDREN}; i++) {
         int status, child = fork();
         if (child == 0) { execl(v[0], v[0], "child", NULL); _exit(9); }
         waitpid(child, &status, 0);
         killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
       }
       return killed == ${CHILDREN} ? 7 : 8; }`,
    );
    const killer = new Killer(isTime);
    const finder = new EntryFinder(scene.path('cache'));
    const { ended, run } = scene.observe(program, killer, new Functions((path, fd) => finder.find(path, fd)));
    expect(ended).toEqual({ kind: 'exited', code: 7 });
    expect(new Set(killer.killed)).toHaveProperty('size', CHILDREN);
    for (const image of killer.killed) expect(image.ended).toEqual({ kind: 'killed', signal: 9 });
    expect(run.processes.filter(({ ended: how }) => how.kind === 'left-running')).toEqual([]);
  },
);
