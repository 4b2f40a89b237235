/** Analysing in threads, which only built sources can do. Needs dist/ (npm run build). */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { readElfFile } from '../src/elf/read.ts';
import { analyseModule, breakpointPlaces } from '../src/rewrite/analyse.ts';

const FOLDER = '/usr/lib/x86_64-linux-gnu';
const PATHS = ['libz.so.1', 'libm.so.6', 'libdl.so.2', 'libc.so.6'].map((name) => join(FOLDER, name));

const folder = mkdtempSync(join(tmpdir(), 'winnow-analyses-'));
const cache = join(folder, 'cache');
afterAll(() => rmSync(folder, { recursive: true }));

/**
 * Paths, with what each is answered, from a Node that runs built sources; and the steps that were told.
 *
 * @param more paths that are asked for afterwards.
 */
function analysed(paths: readonly string[], options: object, more: readonly string[] = []): unknown {
  const built = join(import.meta.dirname, '..', 'dist', 'src', 'rewrite', 'analyse-all.js');
  if (!existsSync(built)) throw new Error('dist/ is missing: npm run build');
  const program = `
    import { closeSync, openSync } from 'node:fs';
    import { analyseAll } from ${JSON.stringify(pathToFileURL(built).href)};
    const steps = [];
    const onProgress = (done, all) => steps.push(done + '/' + all);
    const { places: found, analyst } = await analyseAll(${JSON.stringify(paths)}, { ...${JSON.stringify(options)}, onProgress });
    const told = (path, places) => [path, places?.reason ?? (places && [[...places.at], [...places.follows]])];
    const modules = [...found].map(([path, places]) => told(path, places));
    const asked = ${JSON.stringify(more)}.map((path) => {
      const fd = openSync(path, 'r');
      const answer = told(path, analyst?.ask({ fd, path }));
      closeSync(fd);
      return answer;
    });
    analyst?.close();
    const [path] = ${JSON.stringify(PATHS)};
    const closed = analyst?.ask({ fd: 0, path }) === undefined;
    console.log(JSON.stringify({ modules: modules.sort(), steps, ...(asked.length > 0 ? { asked, closed } : {}) }));
  `;
  const script = join(folder, 'analyse.mjs');
  writeFileSync(script, program);
  return JSON.parse(execFileSync(process.execPath, [script], { encoding: 'utf8' }));
}

function expected(path: string): unknown {
  const analysis = analyseModule(readElfFile(path));
  if ('kind' in analysis) return [path, analysis.reason];
  const { at, follows } = breakpointPlaces(analysis);
  return [path, [[...at], [...follows]]];
}

const answers = (found: unknown): { asked?: unknown; closed?: unknown } =>
  typeof found === 'object' && found !== null ? found : {};

describe('analyseAll with threads', () => {
  it('finds what one thread finds, keeps it, and finds it again', { timeout: 60_000 }, () => {
    const modules = PATHS.map(expected).sort();
    const steps = PATHS.map((_, i) => `${i + 1}/${PATHS.length}`);
    expect(analysed(PATHS, { workers: 2, cache })).toEqual({ modules, steps });
    expect(readdirSync(cache)).toHaveLength(PATHS.length);
    const kept = readdirSync(cache).map((name) => statSync(join(cache, name)).mtimeMs);
    expect(analysed(PATHS, { workers: 2, cache })).toEqual({ modules, steps });
    expect(readdirSync(cache).map((name) => statSync(join(cache, name)).mtimeMs)).toEqual(kept);
    expect(analysed(PATHS, { workers: 0 })).toEqual({ modules, steps });
  });

  it('leaves a thread that answers while the other waits, and ends when it is told to', {
    timeout: 60_000,
  }, () => {
    const text = join(folder, 'text');
    writeFileSync(text, 'no ELF file');
    const more = [...PATHS, text, PATHS[0] ?? ''];
    const { asked, closed } = answers(analysed(PATHS.slice(0, 1), { workers: 2 }, more));
    expect(asked).toEqual(more.map((path) => (path === text ? [text, null] : expected(path))));
    expect(closed).toBe(true);
    const { asked: nobody } = answers(analysed(PATHS.slice(0, 1), { workers: 0 }, PATHS.slice(0, 1)));
    expect(nobody).toEqual([[PATHS[0], null]]);
  });

  it('answers for what cannot be read, in a thread too', { timeout: 60_000 }, () => {
    const missing = join(folder, 'missing');
    expect(analysed([missing], { workers: 1 })).toEqual({
      modules: [[missing, 'unreadable: E_FILE_NOT_READABLE']],
      steps: ['1/1'],
    });
  });
});
