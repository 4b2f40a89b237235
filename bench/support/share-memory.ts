/** Memory of programs from images and by the plain loader: at exit, and of ten that stand side by side. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { residentAtExit } from '../resident.ts';
import { freshScratch, type SharedImage } from './share-image.ts';

export interface OwnMemory {
  /** 4 KiB pages of files that linking or the processes wrote, and that are theirs alone; at exit. */
  readonly plainPages: number;
  readonly imagePages: number;
  /** From an image that slides. */
  readonly slidPages?: number;
  /** With prelinked libraries. */
  readonly prelinkedPages?: number;
}

export function ownAtExit(image: SharedImage): OwnMemory {
  const of = (executed: string): number => {
    freshScratch();
    const { file, args, env, folder } = image;
    return residentAtExit({ file: executed, argv: [file, ...args], env, cwd: folder }).ownOfFiles;
  };
  const { slid, prelinked } = image;
  return {
    plainPages: of(image.file),
    imagePages: of(image.launch),
    ...(slid === undefined ? {} : { slidPages: of(slid.launch) }),
    ...(prelinked === undefined ? {} : { prelinkedPages: of(prelinked.launch) }),
  };
}

export interface SideBySide {
  readonly processes: number;
  /** Proportional set sizes (PSS) together, MiB. */
  readonly plainMib: number;
  readonly imageMib: number;
  readonly slidMib?: number;
}

const PROCESSES = 10;

/** Ten of the program that wait for input; undefined where it is none that does. */
export async function sideBySide(image: SharedImage): Promise<SideBySide | undefined> {
  const { waits } = image.program;
  if (waits === undefined) return undefined;
  const of = async (executed: string): Promise<number> => {
    freshScratch();
    const started: ChildProcess[] = [];
    try {
      for (let i = 0; i < PROCESSES; i += 1) {
        started.push(
          spawn(executed, waits.args, {
            argv0: waits.file,
            cwd: image.folder,
            env: { ...image.env },
            stdio: ['pipe', 'ignore', 'ignore'],
          }),
        );
      }
      await sleep(waits.seconds * 1000);
      return started.reduce((sum, { pid }) => sum + (pid === undefined ? Number.NaN : proportional(pid)), 0);
    } finally {
      const ended = started.map((one) => (one.exitCode === null ? once(one, 'exit') : undefined));
      for (const one of started) one.kill('SIGKILL');
      await Promise.all(ended);
    }
  };
  const slid = image.slid === undefined ? {} : { slidMib: await of(image.slid.launch) };
  return { processes: PROCESSES, plainMib: await of(waits.file), imageMib: await of(image.launch), ...slid };
}

/** PSS of one process, MiB; NaN where it has ended, which spoils the sum, as it should. */
function proportional(pid: number): number {
  try {
    const kib = /^Pss:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1];
    return kib === undefined ? Number.NaN : Number(kib) / 1024;
  } catch {
    return Number.NaN;
  }
}
