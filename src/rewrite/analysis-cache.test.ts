/** What the cache gives back is what analysis finds, whatever has happened to its files. */
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { fdeFunction, Workshop } from '../../test/support/asm.ts';
import { readElf } from '../elf/read.ts';
import { analyseModule, breakpointPlaces } from './analyse.ts';
import { analyseAll } from './analyse-all.ts';
import { AnalysisCache } from './analysis-cache.ts';
import { decodeAnalysis, encodeAnalysis } from './analysis-codec.ts';

const workshop = new Workshop();
afterAll(() => workshop.remove());

let folders = 0;
const newFolder = (): string => join(workshop.folder, `cache-${folders++}`);

const image = workshop.library(
  `${fdeFunction('first', 'call second@plt\nlea first(%rip), %rax\n1: lea 1b(%rip), %rcx\nret')}
   ${fdeFunction('second', 'jmp first@plt')}
   .type third, @function
   third: .byte 6`,
);

/** The one file of a cache. */
function fileIn(folder: string): string {
  const [name, ...others] = readdirSync(folder);
  if (name === undefined || others.length > 0) throw new Error(`${folder} has not one file`);
  return join(folder, name);
}

describe('an analysis as bytes', () => {
  it('comes back as it was', () => {
    const analysis = analyseModule(image);
    expect(analysis).toMatchObject({ kept: [{ reason: 'does not decode as instructions' }] });
    expect(decodeAnalysis(encodeAnalysis(analysis))).toEqual(analysis);
  });

  it('comes back from any place in memory', () => {
    const encoded = encodeAnalysis(analyseModule(image));
    const shifted = new Uint8Array(encoded.length + 1);
    shifted.set(encoded, 1);
    expect(decodeAnalysis(shifted.subarray(1))).toEqual(analyseModule(image));
  });

  it('comes back where a module is kept as a whole', () => {
    const kept = { kind: 'kept', reason: 'addresses above 4 GiB' } as const;
    expect(decodeAnalysis(encodeAnalysis(kept))).toEqual(kept);
  });

  it('of made-up units comes back', () => {
    const word = fc.nat(0xffff_fffe);
    const encodes = fc.property(fc.array(fc.tuple(word, word, fc.array(word), fc.boolean())), (rows) => {
      const reference = {
        field: Uint32Array.from(rows, ([at]) => at),
        target: Uint32Array.from(rows, ([, at]) => at),
        tail: Uint8Array.from(rows, () => 4),
        kind: Uint8Array.from(rows, ([, , , flag]) => (flag ? 1 : 0)),
      };
      const made = {
        units: [],
        references: reference,
        breakpoints: Uint32Array.from(rows.flatMap(([, , places]) => places)),
        kept: [],
        textBytes: rows.length,
      };
      expect(decodeAnalysis(encodeAnalysis(made))).toEqual(made);
    });
    fc.assert(encodes, { numRuns: 50 });
  });

  it('that is cut or changed in length is none', () => {
    const encoded = encodeAnalysis(analyseModule(image));
    for (let length = 0; length < encoded.length; length += 7) {
      expect(decodeAnalysis(encoded.subarray(0, length))).toBeUndefined();
    }
    expect(decodeAnalysis(Buffer.concat([encoded, Buffer.alloc(4)]))).toBeUndefined();
  });
});

describe('the cache', () => {
  it('gives what analysis gives, the second time from its file', () => {
    const folder = newFolder();
    const cache = AnalysisCache.open(folder);
    expect(cache.read(image)).toBeUndefined();
    const analysis = cache.analyse(image);
    expect(analysis).toEqual(analyseModule(image));
    expect(cache.read(image)).toEqual(analysis);
    expect(cache.analyse(image)).toEqual(analysis);
    expect(cache.problem).toBeUndefined();
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(statSync(fileIn(folder)).mode & 0o777).toBe(0o600);
  });

  it('asks for the content: another byte of code is another module, whatever its build-id', () => {
    const cache = AnalysisCache.open(newFolder());
    cache.analyse(image);
    const bytes = Uint8Array.from(image.bytes);
    const last = bytes.lastIndexOf(0xc3);
    bytes[last] = 0xcc;
    expect(cache.read(readElf(bytes, 'changed'))).toBeUndefined();
  });

  it('finds out anew what is damaged, cut off or old, and mends it', () => {
    const folder = newFolder();
    const cache = AnalysisCache.open(folder);
    const analysis = cache.analyse(image);
    const path = fileIn(folder);
    const whole = readFileSync(path);
    const damage = fc.oneof(
      fc.nat(whole.length - 1).map((length) => whole.subarray(0, length)),
      fc.tuple(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 })).map(([at, bits]) => {
        const changed = Buffer.from(whole);
        changed[at] = (changed[at] ?? 0) ^ bits;
        return changed;
      }),
    );
    fc.assert(
      fc.property(damage, (bytes) => {
        writeFileSync(path, bytes);
        expect(cache.read(image)).toBeUndefined();
      }),
      { numRuns: 100 },
    );
    expect(cache.analyse(image)).toEqual(analysis);
    expect(readFileSync(path)).toEqual(whole);
    expect(readdirSync(folder)).toHaveLength(1);
  });

  it('neither reads nor writes where others can write; analysis goes on, and the reason is told', () => {
    const folder = newFolder();
    const cache = AnalysisCache.open(folder);
    const analysis = cache.analyse(image);
    chmodSync(folder, 0o777);
    const other = AnalysisCache.open(folder);
    expect(other.read(image)).toBeUndefined();
    expect(other.analyse(image)).toEqual(analysis);
    expect(other.problem).toMatchObject({ code: 'E_STORE_WRITABLE' });
    chmodSync(folder, 0o700);
    chmodSync(fileIn(folder), 0o666);
    expect(AnalysisCache.open(folder).read(image)).toBeUndefined();
  });

  it('is not needed: where no folder can be made analysis goes on', () => {
    const file = newFolder();
    writeFileSync(file, '');
    const cache = AnalysisCache.open(join(file, 'below'));
    expect(cache.analyse(image)).toEqual(analyseModule(image));
    expect(cache.problem).toMatchObject({ code: 'E_STORE_NOT_A_FOLDER' });
  });
});

describe('analyseAll', () => {
  it('gives every file an answer, from the cache where it is there', async () => {
    const folder = newFolder();
    mkdirSync(folder, { mode: 0o700 });
    const text = join(workshop.folder, 'text');
    writeFileSync(text, 'no ELF file');
    const paths = [image.path, text, join(workshop.folder, 'missing'), image.path];
    const steps: string[] = [];
    const onProgress = (done: number, all: number): unknown => steps.push(`${done} of ${all}`);
    const { places: first, analyst } = await analyseAll(paths, { cache: folder, onProgress });
    expect(analyst).toBeUndefined();
    const analysis = analyseModule(image);
    if ('kind' in analysis) throw new Error(analysis.reason);
    expect(Object.fromEntries(first)).toEqual({
      [image.path]: breakpointPlaces(analysis),
      [text]: { kind: 'kept', reason: 'unreadable: E_NOT_ELF' },
      [join(workshop.folder, 'missing')]: { kind: 'kept', reason: 'unreadable: E_FILE_NOT_READABLE' },
    });
    expect(steps).toEqual(['1 of 3', '2 of 3', '3 of 3']);
    expect(AnalysisCache.open(folder).read(image)).toEqual(analysis);
    expect(readdirSync(folder)).toHaveLength(1);
    expect((await analyseAll(paths, { cache: folder })).places).toEqual(first);
    expect((await analyseAll(paths)).places).toEqual(first);
    rmSync(folder, { recursive: true });
  });
});
