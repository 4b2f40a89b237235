import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { coldMaker, mayDropCaches } from './cold.ts';
import { bytesRead, describeMachine, devicesOf } from './machine.ts';
import type { Mode, Sample, Section } from './model.ts';
import { vmtouchSteps } from './peer.ts';
import { interleave, runMode, summarizeModes } from './run.ts';
import { renderBench } from './terminal.ts';
import { type Flags, warningsFor } from './warnings.ts';

const sample = (wallMs: number, more: Partial<Sample> = {}): Sample => ({
  wallMs,
  userMs: wallMs / 2,
  systemMs: 0,
  majorFaults: 0,
  status: { kind: 'exited', code: 0 },
  ...more,
});

const section = (
  modes: Readonly<Record<string, readonly Sample[]>>,
  more: Partial<Section> = {},
): Section => ({
  temperature: 'warm',
  modes: summarizeModes(Object.keys(modes), new Map(Object.entries(modes))),
  ...more,
});

const FLAGS: Flags = { runs: 10, runsGiven: true, warmOnly: false, root: false };
const codes = (of: Section, flags: Partial<Flags> = {}): string[] =>
  warningsFor(of, { ...FLAGS, ...flags }).map((warning) => warning.code);

describe('interleave', () => {
  it('runs every mode once in each round, in changing order', async () => {
    const order: string[] = [];
    const results = await interleave({
      modes: [{ name: 'plain' }, { name: 'image' }, { name: 'vmtouch' }],
      rounds: 20,
      seed: 5,
      runOnce: async ({ name }) => {
        order.push(name);
        return sample(name === 'plain' ? 30 : 20);
      },
    });
    const rounds = Array.from({ length: 20 }, (_, i) => order.slice(i * 3, i * 3 + 3));
    for (const round of rounds) expect([...round].sort()).toEqual(['image', 'plain', 'vmtouch']);
    expect(new Set(rounds.map(String)).size).toBeGreaterThan(2);
    expect(results.map((mode) => mode.speedup?.median)).toEqual([undefined, 1.5, 1.5]);
  });

  it('stops between two runs when interrupted', async () => {
    const control = new AbortController();
    let runs = 0;
    const run = interleave({
      modes: [{ name: 'plain' }],
      rounds: 10,
      abort: control.signal,
      runOnce: async () => {
        runs += 1;
        if (runs === 2) control.abort();
        return sample(1);
      },
    });
    await expect(run).rejects.toMatchObject({ code: 'E_INTERRUPTED' });
    expect(runs).toBe(2);
  });
});

describe('runMode', () => {
  const sh = (script: string) => ({ file: '/bin/sh', argv: ['sh', '-c', script] });

  it('counts every step', async () => {
    const mode: Mode = { name: 'peer', steps: [sh('sleep 0.02'), sh('sleep 0.02; exit 3')] };
    const done = await runMode(mode, { env: { PATH: '/usr/bin:/bin' } });
    expect(done.wallMs).toBeGreaterThanOrEqual(40);
    expect(done.status).toEqual({ kind: 'exited', code: 3 });
    expect(done.diskBytes).toBeUndefined();
  });
});

describe('cold runs', () => {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(import.meta.dirname, '.cold-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('drop the files of the working set, and see what stays', () => {
    const path = join(folder, 'file');
    writeFileSync(path, Buffer.alloc(40_960, 1), { flush: true });
    const files = [{ path, extents: [{ page: 2, count: 3 }] }];
    readFileSync(path);
    const maker = coldMaker(files, false);
    maker?.empty();
    expect(maker?.state()).toEqual({
      method: 'fadvise',
      residentBytes: 0,
      workingSetBytes: 3 * 4096,
      residentFiles: [],
    });
  });

  it('say what running processes keep in memory', () => {
    const maker = coldMaker([{ path: process.execPath, extents: [{ page: 0, count: 1 }] }], false);
    maker?.empty();
    expect(maker?.state()).toMatchObject({
      residentBytes: 4096,
      residentFiles: [{ path: process.execPath, bytes: 4096 }],
    });
  });

  it.skipIf(!process.env.CI && !mayDropCaches())(
    'read from the disk again (needs drop_caches: root)',
    async () => {
      const path = join(folder, 'file');
      writeFileSync(path, Buffer.alloc(1 << 20, 1), { flush: true });
      const devices = devicesOf([path]);
      expect(devices.map(bytesRead)).toEqual([expect.any(Number)]);
      const maker = coldMaker([], true);
      const mode: Mode = { name: 'plain', steps: [{ file: '/bin/cat', argv: ['cat', path] }] };
      const done = await runMode(mode, { env: {}, devices, empty: () => maker?.empty() });
      expect(done.diskBytes).toBeGreaterThanOrEqual(1 << 20);
      expect(maker?.state().method).toBe('drop-caches');
    },
  );

  it('are refused when neither way is open', () => {
    expect(coldMaker([], false)).toBeUndefined();
  });
});

describe('warnings', () => {
  const steady = Array.from({ length: 10 }, (_, i) => sample(20 + i / 100));

  it('are silent about steady runs', () => {
    expect(codes(section({ plain: steady, image: steady }))).toEqual([]);
  });

  it('tell what is wrong', () => {
    const noisy = steady.map((one, i) => ({ ...one, wallMs: i % 2 === 0 ? 10 : 30 }));
    const failing = steady.map((one) => ({ ...one, status: { kind: 'killed', signal: 11 } as const }));
    const outliers = steady.map((one, i) => ({ ...one, wallMs: i < 3 ? 90 : one.wallMs }));
    const short = steady.map((one) => ({ ...one, wallMs: one.wallMs / 100 }));
    expect(codes(section({ plain: noisy }))).toEqual(['noisy']);
    expect(codes(section({ plain: failing }))).toEqual(['failed']);
    expect(codes(section({ plain: outliers }))).toEqual(['outliers']);
    expect(codes(section({ plain: short }))).toEqual(['very-short']);
    expect(codes(section({ plain: steady.slice(0, 3) }), { runs: 3 })).toEqual(['few-runs']);
    const cold: Section['cold'] = {
      method: 'fadvise',
      residentBytes: 50,
      workingSetBytes: 100,
      residentFiles: [{ path: '/lib/libc.so.6', bytes: 50 }],
    };
    expect(codes(section({ plain: steady }, { temperature: 'cold', cold }))).toEqual([
      'not-cold',
      'lookups-warm',
    ]);
  });

  it('give advice that fits the flags', () => {
    const few = section({ plain: steady.slice(0, 3) });
    const text = (flags: Partial<Flags>): string | undefined =>
      warningsFor(few, { ...FLAGS, ...flags })[0]?.text;
    expect(text({ runs: 3, runsGiven: true })).toContain('use --runs 6 or more');
    expect(text({ runs: 3, runsGiven: false })).toContain('use more --runs');
  });
});

describe('the peer', () => {
  it('splits a list that is too long for one argument list', () => {
    const files = Array.from({ length: 30_000 }, (_, i) => `/usr/lib/some/rather/long/folder/of/files/${i}`);
    const steps = vmtouchSteps('/usr/bin/vmtouch', files);
    expect(steps.length).toBeGreaterThan(1);
    expect(steps.flatMap((step) => step.argv.slice(3))).toEqual(files);
  });
});

describe('the report', () => {
  it('names the machine and the device of a path', () => {
    const machine = describeMachine([import.meta.dirname]);
    expect(machine.devices).toHaveLength(1);
    expect(machine.devices[0]?.fileSystem).not.toBe('unknown');
    expect(machine.memoryBytes).toBeGreaterThan(1 << 20);
  });

  it('is a table with ratios and what was not measured', () => {
    const text = renderBench({
      command: ['git', 'status'],
      machine: {
        cpu: 'A CPU',
        cores: 2,
        virtual: true,
        kernel: '6.1',
        memoryBytes: 2 ** 33,
        system: 'Debian',
        node: 'v20',
        devices: [{ number: '7:0', name: 'loop0', fileSystem: 'ext4', readAheadKib: 128 }],
      },
      rounds: 3,
      sections: [
        section({ plain: [30, 40, 50].map((t) => sample(t)), image: [20, 20, 25].map((t) => sample(t)) }),
      ],
      warnings: [],
      unmeasured: ['cold runs: neither root nor a profile'],
    });
    expect(text).toBe(`git status
3 rounds, modes in random order in each

warm
        median    spread      min      cpu  speed-up       95 %  read
plain  40.0 ms  ±10.0 ms  30.0 ms  20.0 ms
image  20.0 ms  ±0.00 ms  20.0 ms  10.0 ms     2.00x  1.50-2.00

not measured: cold runs: neither root nor a profile

machine: A CPU, 2 cores, virtual machine, 8.00 GiB
system:  Debian, Linux 6.1, Node v20
storage: loop0: ext4, read-ahead 128 KiB
`);
  });
});
