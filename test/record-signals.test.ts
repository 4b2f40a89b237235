/** Signals from outside while a program is started for recording: a terminal that is resized tells all its programs. */
import { type ChildProcess, spawn } from 'node:child_process';
import { afterAll, describe, expect, it } from 'vitest';
import { Scene, WAYS } from './record-scene.ts';

describe.each(WAYS)('$way', ({ options }) => {
  const scene = new Scene(...options);
  let child: ChildProcess | undefined;
  afterAll(() => {
    // Its whole group, should it hang.
    if (child?.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGKILL');
    scene.close();
  });

  it('is started all the same', async () => {
    const records = [1, 2, 3, 4].map((i) => {
      const name = `--store '${scene.path('store')}' --name r${i}`;
      return `bin/winnow record ${name} -- true || exit 9`;
    });
    // Nobody here minds the signal; what is traced stops for it all the same.
    const rain = '(while :; do kill -WINCH 0; done) & rain=$!';
    const script = `${rain}; (${records.join('; ')}); status=$?; kill -9 $rain; exit $status`;
    const started = spawn('bash', ['-c', script], { detached: true, stdio: 'ignore' });
    child = started;
    const ended = await new Promise<number | null>((resolve) => started.once('exit', resolve));
    expect(ended).toBe(0);
  });
});
