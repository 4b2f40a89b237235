/** Room for the next technique: an observer that plants a one-shot breakpoint in a library before its constructor runs. */
import { execFileSync } from 'node:child_process';
import { readSync, writeSync } from 'node:fs';
import { afterAll, expect, it } from 'vitest';
import type { Observer, TraceEvent } from '../src/record/events.ts';
import { openMemory } from '../src/record/tracees.ts';
import { readMaps } from '../src/sys/maps.ts';
import { getRegisters, setRegisters } from '../src/sys/ptrace.ts';
import { Scene } from './record-scene.ts';

const scene = new Scene();
afterAll(() => scene.close());

const BREAKPOINT = 0xcc;

/** Notes each entry into one function of one library, once. */
class FirstEntry implements Observer {
  readonly wantsArrivals = true;
  arrivals = 0;
  planted = 0;
  readonly entered: bigint[] = [];
  readonly #library: string;
  readonly #rva: number;
  readonly #original = Buffer.alloc(1);
  #at = 0n;

  constructor(library: string, rva: number) {
    this.#library = library;
    this.#rva = rva;
  }

  observe(event: TraceEvent): void {
    if (event.kind === 'module-mapped') this.#plant(event);
    if (event.kind === 'trap') this.#takeBack(event);
  }

  #plant({ thread, at }: Extract<TraceEvent, { kind: 'module-mapped' }>): void {
    this.arrivals++;
    const mapping = readMaps(thread.process.pid).find(({ start }) => BigInt(start) === at);
    if (mapping?.path !== this.#library) return;
    expect(mapping.executable).toBe(true);
    const memory = openMemory(thread);
    if (memory === undefined) throw new Error('no memory');
    // In this library the addresses of the code are its offsets.
    this.#at = BigInt(mapping.start - mapping.offset + this.#rva);
    readSync(memory, this.#original, 0, 1, this.#at);
    writeSync(memory, Buffer.of(BREAKPOINT), 0, 1, Number(this.#at));
    this.planted++;
  }

  #takeBack(event: Extract<TraceEvent, { kind: 'trap' }>): void {
    const registers = getRegisters(event.thread.tid);
    const at = registers.get('rip') - 1n;
    const memory = openMemory(event.thread);
    if (at !== this.#at || memory === undefined) return;
    this.entered.push(at);
    writeSync(memory, this.#original, 0, 1, Number(at));
    registers.set('rip', at);
    setRegisters(event.thread.tid, registers);
    event.handled = true;
  }
}

it('sees the first entry from the constructor, and the program runs as ever', () => {
  const out = scene.path('out');
  const library = scene.c(
    'libarrives.so',
    `int entered; int entry(int x) { entered++; return x + 1; }
     static __attribute__((constructor)) void begin(void) { entry(1); }`,
    '-shared',
    '-fPIC',
  );
  const program = scene.c(
    'program',
    `extern int entered; int entry(int); int main() { int r = entry(40); FILE *f = fopen("${out}", "w"); fprintf(f, "%d %d", r, entered); fclose(f); return 7; }`,
    library,
  );
  const symbols = execFileSync('nm', ['-D', '--defined-only', library], { encoding: 'utf8' });
  const rva = Number.parseInt(/^([0-9a-f]+) T entry$/m.exec(symbols)?.[1] ?? '', 16);
  const observer = new FirstEntry(library, rva);
  const { ended } = scene.observe(program, observer);
  expect(ended).toEqual({ kind: 'exited', code: 7 });
  expect(observer.planted).toBe(1);
  expect(observer.arrivals).toBeGreaterThanOrEqual(2);
  // Once: the constructor's. The second call finds the function as it was.
  expect(observer.entered).toHaveLength(1);
  expect(execFileSync('cat', [out], { encoding: 'utf8' })).toBe('41 2');
});

it('a SIGTRAP of the program itself is delivered', () => {
  expect(scene.record(['sh', '-c', 'trap "exit 9" TRAP; kill -TRAP $$; sleep 1']).status).toBe(9);
});
