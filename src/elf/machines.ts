/** Names of the machines that people meet, as `e_machine` numbers them. */
const MACHINES: ReadonlyMap<number, string> = new Map([
  [2, 'sparc'],
  [3, 'i386'],
  [4, 'm68k'],
  [8, 'mips'],
  [15, 'parisc'],
  [20, 'powerpc'],
  [21, 'powerpc64'],
  [22, 's390'],
  [40, 'arm'],
  [42, 'superh'],
  [43, 'sparcv9'],
  [50, 'ia64'],
  [62, 'x86-64'],
  [183, 'aarch64'],
  [224, 'amdgpu'],
  [243, 'riscv'],
  [247, 'bpf'],
  [258, 'loongarch'],
]);

/** The machine's usual name, or its number where it has none here. */
export const machineName = (machine: number): string => MACHINES.get(machine) ?? `machine ${machine}`;
