/**
 * Images that slide pages when they are touched (`--page-in`), against those that slide all of them at the start: counts.
 *
 * Not from the outside: to whoever is traced nothing is left, so the start alone cannot be measured, nor what is the process's own at its exit. Page
 * faults of a whole run count pages that were copied, and touches.
 */
import { runProcess } from '../../src/sys/spawn.ts';
import { freshScratch, type SharedImage } from './share-image.ts';

const RUNS = 5;

export interface PageInFigures {
  /** Pages that a start may leave; 0: none is left. */
  readonly leaves: number;
  /** Minor page faults of a run, the launcher's part included: medians. */
  readonly imageFaults: number;
  readonly slidFaults: number;
  readonly pagedFaults: number;
}

export function pageInFigures(image: SharedImage): PageInFigures | undefined {
  const { launch, slid, paged } = image;
  if (slid === undefined || paged === undefined) return undefined;
  return {
    leaves: paged.leaves,
    imageFaults: faultsOf(image, launch),
    slidFaults: faultsOf(image, slid.launch),
    pagedFaults: faultsOf(image, paged.launch),
  };
}

function faultsOf({ file: name, args, env, folder }: SharedImage, file: string): number {
  const runs = Array.from({ length: RUNS }, () => {
    freshScratch();
    const stdio = { kind: 'null' } as const;
    const argv = [name, ...args];
    return runProcess({ file, argv, env, cwd: folder, stdin: stdio, stdout: stdio, stderr: stdio }).usage
      .minorFaults;
  });
  return runs.sort((a, b) => a - b)[Math.floor(RUNS / 2)] ?? Number.NaN;
}
