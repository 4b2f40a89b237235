/** Where a suite's figures go: a JSON file with all samples, and a block of docs/measurements.md. */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { makeFolders } from '../../src/profile/store-files.ts';

/** Writes the whole report, samples too, beside its final place and renames it. */
export function writeJson(path: string, kind: string, report: object): void {
  makeFolders(dirname(path));
  replaceFile(path, `${JSON.stringify({ winnow: kind, version: 1, ...report }, null, 2)}\n`);
}

/**
 * Puts a text between the markers `<!-- bench:NAME -->` and `<!-- /bench -->` of a Markdown file; adds them at
 * the end where they are missing.
 */
export function replaceBlock(path: string, name: string, markdown: string): void {
  const begin = `<!-- bench:${name} -->`;
  const end = '<!-- /bench -->';
  const text = existsSync(path) ? readFileSync(path, 'utf8') : '# Measurements\n';
  const block = `${begin}\n${markdown}${end}`;
  const from = text.indexOf(begin);
  const to = text.indexOf(end, from);
  makeFolders(dirname(path));
  if (from < 0 || to < 0) replaceFile(path, `${text.trimEnd()}\n\n${block}\n`);
  else replaceFile(path, text.slice(0, from) + block + text.slice(to + end.length));
}

function replaceFile(path: string, text: string): void {
  writeFileSync(`${path}.new`, text, { flush: true });
  renameSync(`${path}.new`, path);
}
