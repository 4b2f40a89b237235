/** The ways in which a call finds its target, and what each costs where it was measured. */

export type CallWay =
  | 'direct'
  | 'stub'
  | 'got'
  | 'plt'
  | 'near-got'
  | 'near-plt'
  | 'direct-plt'
  | 'slot'
  | 'dispatcher'
  | 'vdso'
  | 'system-call';

export interface CallCost {
  readonly name: CallWay;
  readonly what: string;
  /** Nanoseconds a call: the medians of bench/results/call-cost.json, by `npm run bench:call-cost`. */
  readonly ns: number;
}

export const CALL_WAYS: readonly CallCost[] = [
  { name: 'direct', what: 'direct', ns: 1.1 },
  { name: 'stub', what: 'direct, to a stub that jumps on', ns: 1.21 },
  { name: 'got', what: 'through the GOT (-fno-plt), program to library', ns: 1.93 },
  { name: 'plt', what: 'through the PLT, program to library', ns: 2.19 },
  { name: 'near-got', what: 'through the GOT, library to library', ns: 1.12 },
  { name: 'near-plt', what: 'through the PLT, library to library', ns: 1.37 },
  { name: 'direct-plt', what: 'the same in prelinked libraries, whose stubs jump directly', ns: 1.37 },
  { name: 'slot', what: 'through a slot of a hashed table at a known place', ns: 1.93 },
  { name: 'dispatcher', what: 'through one dispatcher, which is told the hash', ns: 2.2 },
  { name: 'vdso', what: 'vDSO (time)', ns: 2.57 },
  { name: 'system-call', what: 'system call (getppid)', ns: 164.84 },
];

export const callCost = (way: CallWay): number =>
  CALL_WAYS.find(({ name }) => name === way)?.ns ?? Number.NaN;
