/** winnow ends as the program that it recorded. */
import { afterAll, describe, expect, it } from 'vitest';
import { Scene, WAYS } from './record-scene.ts';

describe.each(WAYS)('$way', ({ options }) => {
  const scene = new Scene(...options);
  afterAll(() => scene.close());

  describe('how it ended', () => {
    it.each([0, 1, 7, 125, 126, 127, 255])('exit code %i', (code) => {
      const done = scene.record(['sh', '-c', `exit ${code}`]);
      expect(done.status).toBe(code);
      expect(done.run.ended).toEqual({ kind: 'exited', code });
    });

    it.each<[NodeJS.Signals, number]>([
      ['SIGSEGV', 11],
      ['SIGKILL', 9],
      ['SIGABRT', 6],
      ['SIGTERM', 15],
      ['SIGINT', 2],
      ['SIGPIPE', 13],
      ['SIGHUP', 1],
      ['SIGUSR1', 10],
    ])('death by %s', (name, signal) => {
      const done = scene.record(['sh', '-c', `kill -${signal} $$`]);
      expect(done.signal).toBe(name);
      expect(done.run.ended).toEqual({ kind: 'killed', signal });
      // What it used is known all the same.
      expect(done.run.files.some(({ path }) => path.includes('libc.so'))).toBe(true);
    });

    it('death by a signal that the caller blocks', () => {
      const block = scene.c(
        'block',
        `int main(int c, char **v) { sigset_t s; sigemptyset(&s); sigaddset(&s, SIGTERM);
      sigprocmask(SIG_BLOCK, &s, 0); execvp(v[1], v + 1); return 1; }`,
      );
      const die = scene.c(
        'die',
        `int main() { sigset_t s; sigemptyset(&s); sigprocmask(SIG_SETMASK, &s, 0);
      raise(SIGTERM); return 3; }`,
      );
      expect(scene.record([die], { through: [block] }).signal).toBe('SIGTERM');
    });
  });
});
