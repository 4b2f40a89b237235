import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  fstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { TINY_BUILD_ID, tinyElf } from '../../test/support/tiny-elf.ts';
import { WinnowError } from '../base/errors.ts';
import { readBuildId } from './build-id.ts';
import { probeProgram, requireRunnable } from './probe.ts';
import * as spec from './spec.ts';

const folder = mkdtempSync(join(tmpdir(), 'winnow-probe-'));
afterAll(() => rmSync(folder, { recursive: true }));

const tiny = tinyElf();
let files = 0;

function file(content: Uint8Array | string, mode = 0o755): string {
  const path = join(folder, `file-${files++}`);
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}

/** The tiny file with some bytes of its header changed. */
function patched(...patches: readonly (readonly [at: number, value: number])[]): Uint8Array {
  const bytes = Uint8Array.from(tiny.bytes);
  for (const [at, value] of patches) bytes[at] = value;
  return bytes;
}

function buildIdOf(path: string): string | undefined {
  const fd = openSync(path, 'r');
  try {
    return readBuildId(fd, fstatSync(fd).size);
  } finally {
    closeSync(fd);
  }
}

function refusal(path: string): { code: string; exitCode: number; where: string | undefined; what: string } {
  try {
    requireRunnable(path);
  } catch (error) {
    if (error instanceof WinnowError) {
      return { code: error.code, exitCode: error.exitCode, where: error.where, what: error.what };
    }
    throw error;
  }
  throw new Error(`${path} was taken for a program`);
}

describe('readBuildId', () => {
  it('finds the note', () => {
    expect(buildIdOf(file(tiny.bytes))).toBe(TINY_BUILD_ID);
  });

  it('says what readelf says of Node itself', () => {
    const notes = execFileSync('readelf', ['-nW', process.execPath], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const judged = /Build ID: ([0-9a-f]+)/.exec(notes)?.[1];
    expect(buildIdOf(process.execPath)).toBe(judged);
  });

  it('is undefined for what has none or is damaged', () => {
    const noNote = patched([tiny.segment.note, spec.PT_NULL]);
    const otherNote = patched([tiny.at.note + 8, 1]);
    const pastEnd = patched([tiny.segment.note + 8 + 3, 0x7f]);
    const longName = patched([tiny.at.note + 3, 0x7f]);
    const elf32 = patched([4, 1]);
    for (const content of [
      noNote,
      otherNote,
      pastEnd,
      longName,
      elf32,
      '',
      '#!/bin/sh\n',
      tiny.bytes.subarray(0, 63),
    ]) {
      expect(buildIdOf(file(content))).toBeUndefined();
    }
  });
});

describe('probeProgram', () => {
  it('knows ELF files', () => {
    const known = { kind: 'elf', class: 64, machine: spec.EM_X86_64, type: spec.ET_DYN };
    expect(probeProgram(file(tiny.bytes))).toEqual({ ...known, interp: '/lib/ld-tiny.so' });
    expect(probeProgram(file(patched([tiny.segment.interp, spec.PT_NULL])))).toEqual(known);
    expect(probeProgram(file(patched([18, 183])))).toMatchObject({ kind: 'elf', machine: 183 });
    expect(probeProgram(file(patched([4, 1], [18, 3])))).toMatchObject({
      kind: 'elf',
      class: 32,
      machine: 3,
    });
  });

  it.each([
    ['#!/bin/sh\necho', { interpreter: '/bin/sh' }],
    ['#!/bin/sh', { interpreter: '/bin/sh' }],
    ['#! \t/bin/sh \t\n', { interpreter: '/bin/sh' }],
    ['#!/usr/bin/env python3\n', { interpreter: '/usr/bin/env', argument: 'python3' }],
    ['#!/usr/bin/perl  -w  -T \n', { interpreter: '/usr/bin/perl', argument: '-w  -T' }],
    ['#!/opt/größe/sh -x\n', { interpreter: '/opt/größe/sh', argument: '-x' }],
    ['#!/bin/sh\r\n', { interpreter: '/bin/sh\r' }],
    ['#!/bin/sh\0-x\n', { interpreter: '/bin/sh' }],
    // The longest interpreter that fits: 256 bytes with `#!` and the line end.
    [`#!/${'x'.repeat(252)}\n`, { interpreter: `/${'x'.repeat(252)}` }],
    // An argument that does not fit is cut, as the kernel cuts it.
    [`#!/bin/sh ${'x'.repeat(300)}\n`, { interpreter: '/bin/sh', argument: 'x'.repeat(245) }],
  ])('reads %j as the kernel does', (content, script) => {
    expect(probeProgram(file(content))).toEqual({ kind: 'script', ...script });
  });

  it.each(['', '#', '#!', '#!\n', '#!  \t \n/bin/sh\n', 'echo\n', `#!/${'x'.repeat(253)}\n`, '\x7fELF'])(
    'takes %j for no program',
    (content) => {
      expect(probeProgram(file(content))).toEqual({ kind: 'other' });
    },
  );
});

describe('requireRunnable', () => {
  it('lets programs and scripts pass, through links too', () => {
    expect(requireRunnable(process.execPath).kind).toBe('elf');
    const link = join(folder, 'link');
    symlinkSync(file('#!/bin/sh\n'), link);
    expect(requireRunnable(link)).toEqual({ kind: 'script', interpreter: '/bin/sh' });
  });

  it('has an exit code and a stable code for each way to fail', () => {
    const loop = join(folder, 'loop');
    symlinkSync(loop, loop);
    const inside = join(file('#!/bin/sh\n'), 'below');
    const sub = join(folder, 'folder');
    mkdirSync(sub);
    const cases: readonly (readonly [string, string, number])[] = [
      [join(folder, 'absent'), 'E_PROGRAM_NOT_FOUND', 127],
      [loop, 'E_PROGRAM_NOT_FOUND', 127],
      [inside, 'E_PROGRAM_NOT_FOUND', 127],
      [sub, 'E_PROGRAM_NOT_EXECUTABLE', 126],
      [file('#!/bin/sh\n', 0o644), 'E_PROGRAM_NOT_EXECUTABLE', 126],
      [file('echo hello\n'), 'E_PROGRAM_FORMAT', 126],
      [file(''), 'E_PROGRAM_FORMAT', 126],
      [file(patched([16, spec.ET_REL])), 'E_PROGRAM_FORMAT', 126],
    ];
    for (const [path, code, exitCode] of cases)
      expect(refusal(path)).toMatchObject({ code, exitCode, where: path });
  });

  it('names the machine, and says 32-bit', () => {
    expect(refusal(file(patched([18, 183])))).toMatchObject({ code: 'E_ELF_MACHINE', exitCode: 5 });
    expect(refusal(file(patched([18, 183]))).what).toContain('aarch64');
    expect(refusal(file(patched([4, 1], [18, 40]))).what).toContain('arm');
    expect(refusal(file(patched([4, 1], [18, 3]))).code).toBe('E_ELF_CLASS');
    expect(refusal(file(patched([4, 1]))).code).toBe('E_ELF_CLASS');
  });

  it('does not wait for a FIFO', () => {
    const fifo = join(folder, 'fifo');
    execFileSync('mkfifo', ['-m', '755', fifo]);
    expect(probeProgram(fifo)).toEqual({ kind: 'other' });
    expect(refusal(fifo).code).toBe('E_PROGRAM_NOT_EXECUTABLE');
  });
});
