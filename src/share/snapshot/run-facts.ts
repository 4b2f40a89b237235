/** What is known of a stopped run, for the causes to check words against. */
import { readFileSync } from 'node:fs';
import { AT } from './auxv.ts';
import type { RunFacts } from './causes.ts';
import type { StoppedLoader } from './loader-run.ts';

export function factsOf(run: StoppedLoader, apicIds: ReadonlyMap<number, number>): RunFacts {
  const { auxv, stack, calls, memory, circumstances, stackLimit, execAt, stoppedAt } = run;
  const entry = (type: number): number => Number(auxv.get(type) ?? 0n);
  const random = entry(AT.random);
  const { processor } = circumstances;
  return {
    argc: stack.argc,
    argv: stack.argv,
    envp: stack.envp,
    auxv: stack.auxv,
    stackStart: stack.start,
    random,
    randomBytes: memory.read(random, 16),
    platform: entry(AT.platform),
    execfn: entry(AT.execfn),
    // No address: nothing equals it.
    break: calls.break ?? -1,
    tid: calls.tid ?? -1,
    hwcap: Number((auxv.get(AT.hwcap) ?? 0n) & 0xffff_ffffn),
    stackLimit,
    apicId: processor === undefined ? undefined : apicIds.get(processor),
    execAt,
    stoppedAt,
  };
}

/** Initial APIC ids by the processor's number, as /proc/cpuinfo has them; empty where it has none. */
export function readApicIds(text = readFileSync('/proc/cpuinfo', 'utf8')): ReadonlyMap<number, number> {
  const ids = new Map<number, number>();
  let processor = -1;
  for (const line of text.split('\n')) {
    const [name = '', value = ''] = line.split(':').map((part) => part.trim());
    if (name === 'processor') processor = Number(value);
    else if (name === 'initial apicid') ids.set(processor, Number(value));
  }
  return ids;
}
