/** One command measured: plain, from its image, and with the peer, warm and cold. */
import { coldMaker, mayDropCaches, type WorkingFile } from './cold.ts';
import { describeMachine, devicesOf } from './machine.ts';
import type { BenchReport, Mode, Section, Step, Warning } from './model.ts';
import { readPeerPath, vmtouchSteps } from './peer.ts';
import { interleave, runMode } from './run.ts';
import { type Flags, warningsFor } from './warnings.ts';

export interface BenchOptions {
  readonly plain: Step;
  readonly image: Step;
  /** The profile's files; without them no peer, and cold runs only as root. */
  readonly files: readonly (WorkingFile & { readonly mapped: boolean })[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly openFiles?: number;
  readonly runs: number;
  readonly runsGiven: boolean;
  readonly temperatures: readonly ('warm' | 'cold')[];
  readonly peer: 'vmtouch' | undefined;
  readonly abort?: AbortSignal;
  readonly onProgress?: (text: string) => void;
}

/** @throws WinnowError `E_SPAWN`, `E_INTERRUPTED`, `E_NO_PEER` */
export async function bench(options: BenchOptions): Promise<BenchReport> {
  const { plain, image, files, runs } = options;
  const modes: Mode[] = [
    { name: 'plain', steps: [plain] },
    { name: 'image', steps: [image] },
  ];
  if (options.peer !== undefined) {
    const vmtouch = readPeerPath(options.env.PATH);
    const mapped = files.filter((file) => file.mapped).map((file) => file.path);
    modes.push({ name: 'vmtouch', steps: [...vmtouchSteps(vmtouch, mapped), plain] });
  }
  const paths = [plain.file, ...files.map((file) => file.path)];
  const flags: Flags = {
    runs,
    runsGiven: options.runsGiven,
    warmOnly: !options.temperatures.includes('cold'),
    root: process.geteuid?.() === 0,
  };
  const sections: Section[] = [];
  const warnings: Warning[] = [];
  const unmeasured: string[] = [];
  for (const temperature of options.temperatures) {
    const section = await measure(temperature, modes, paths, options);
    if (section === undefined) {
      unmeasured.push('cold runs: caches can be dropped by root only, and the profile names no files');
      continue;
    }
    sections.push(section);
    warnings.push(...warningsFor(section, flags));
  }
  const command = plain.argv;
  return {
    command,
    machine: describeMachine(paths),
    rounds: runs,
    sections,
    warnings: distinct(warnings),
    unmeasured,
  };
}

async function measure(
  temperature: 'warm' | 'cold',
  modes: readonly Mode[],
  paths: readonly string[],
  options: BenchOptions,
): Promise<Section | undefined> {
  const conditions = {
    env: options.env,
    ...(options.openFiles === undefined ? {} : { openFiles: options.openFiles }),
  };
  const cold = temperature === 'cold' ? coldMaker(options.files, mayDropCaches()) : undefined;
  if (temperature === 'cold' && cold === undefined) return undefined;
  const devices = cold === undefined ? [] : devicesOf(paths);
  // One round for nothing: it fills the caches and shows at once what cannot be started.
  if (cold === undefined) for (const mode of modes) await runMode(mode, conditions);
  const results = await interleave({
    modes,
    rounds: options.runs,
    ...(options.abort === undefined ? {} : { abort: options.abort }),
    onRound: (done, rounds) => options.onProgress?.(`${temperature} round ${done} of ${rounds}`),
    runOnce: (mode) =>
      runMode(mode, { ...conditions, devices, ...(cold === undefined ? {} : { empty: () => cold.empty() }) }),
  });
  return { temperature, modes: results, ...(cold === undefined ? {} : { cold: cold.state() }) };
}

function distinct(warnings: readonly Warning[]): Warning[] {
  return [...new Map(warnings.map((warning) => [warning.text, warning])).values()];
}
