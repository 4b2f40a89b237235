/**
 * A process that adds runs to a store, for the tests of what happens when several do, or one is killed.
 * usage: store-writer.js DIR NAME FIRST COUNT; prints a line and waits for one on stdin, then writes.
 */
import { readSync } from 'node:fs';
import type { Run } from '../src/profile/model.ts';
import { openStore } from '../src/profile/store.ts';

const [dir = '', name = '', first = '0', count = '1'] = process.argv.slice(2);
const store = openStore({ store: dir });

/** Large enough that a write takes a while. */
function run(number: number): Run {
  return {
    id: number.toString(16).padStart(32, '0'),
    startedAt: number,
    durationMs: 1,
    command: { program: '/bin/true', argv: ['true'], cwd: '/' },
    method: { pages: 'exact', lookups: 'seen', functions: 'unseen', kernel: 'test' },
    ended: { kind: 'exited', code: 0 },
    files: [],
    processes: [],
    lookups: Array.from({ length: 2000 }, (_, n) => ({
      path: `/${number}/${n}/${(n * 7919) % 10_007}`,
      found: true,
    })),
    entered: [],
    notes: [],
  };
}

process.stdout.write('ready\n');
readSync(0, Buffer.alloc(1));
for (let number = Number(first); number < Number(first) + Number(count); number += 1)
  store.addRun(name, run(number));
