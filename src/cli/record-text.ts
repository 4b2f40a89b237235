/** What `winnow record` says when a recording is done. */
import type { NextRecording } from '../profile/learn.ts';
import type { Profile, Run } from '../profile/model.ts';

/** @param told whether a person asked for what a light run leaves out. */
export function summary(name: string, profile: Profile, run: Run, told: boolean): string {
  const used = new Set(run.processes.flatMap(({ pages }) => pages.map(({ file }) => file)));
  const light = run.notes.some(({ code }) => code === 'N_LIGHT');
  const lookups = light ? '' : `, ${run.lookups.length} look-ups`;
  const lines = [
    `winnow: recorded ${name}${light ? ' lightly' : ''}: ${run.processes.length} process image(s), ${used.size} files` +
      `${lookups}${functionsOf(run)} in ${Math.round(run.durationMs)} ms; ${profile.runs.length} run(s) in the profile`,
    ...run.notes
      .filter(({ code }) => told || code !== 'N_LIGHT')
      .map(({ code, text }) => `winnow: ${code}: ${text}`),
  ];
  return `${lines.join('\n')}\n`;
}

function functionsOf({ method, entered }: Run): string {
  if (method.functions === 'unseen') return '';
  const functions = entered.reduce((sum, { entries }) => sum + entries.length, 0);
  return `, ${functions} functions in ${entered.length} modules`;
}

/** What the next recording will be, where that changes. */
export function outlook(next: NextRecording): string {
  if (next.how === 'light' || next.why !== 'news') return '';
  const { newFiles, changedFiles, pages } = next.news;
  const parts = [
    newFiles.length === 0 ? '' : `${newFiles.length} new file(s)`,
    changedFiles.length === 0 ? '' : `${changedFiles.length} changed file(s)`,
    pages === 0 ? '' : `${pages} page(s) not used before`,
  ].filter((part) => part !== '');
  return `winnow: ${parts.join(', ')}: the next recording will be thorough\n`;
}
