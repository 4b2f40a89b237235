/** The native launcher as it comes with winnow, checked against its checksum before it is copied. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as v from 'valibot';
import { runtimeFile } from '../sys/runtime.ts';
import { runtimeMissing } from './image-errors.ts';
import type { ColdMode } from './modules-model.ts';

const Checksums = v.record(
  v.string(),
  v.object({ sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)), size: v.number() }),
);

export interface Launcher {
  readonly bytes: Uint8Array;
  /** Hexadecimal. */
  readonly sha256: string;
}

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

function read(name: string): Uint8Array {
  const path = runtimeFile(name);
  try {
    return readFileSync(path);
  } catch (error) {
    throw runtimeMissing(path, 'a part of winnow’s C runtime is missing', error);
  }
}

/** @throws WinnowError E_RUNTIME_MISSING where it is absent or not the one that was built. */
export const readLauncher = (): Launcher => readBuilt('launch', 'the launcher');

/** The object by which the dynamic loader is shown modules with such unused code. @throws WinnowError E_RUNTIME_MISSING */
export const readAuditObject = (cold: ColdMode): Launcher =>
  readBuilt(cold === 'file' ? 'audit.so' : 'demand.so', 'the audit object');

/** The object by which the dynamic loader is shown prelinked libraries (runtime/prelink.c). @throws WinnowError E_RUNTIME_MISSING */
export const readPrelinkObject = (): Launcher => readBuilt('prelink.so', 'the audit object');

/** The launcher of programs that are linked already (runtime/share.h). @throws WinnowError E_RUNTIME_MISSING */
export const readRestore = (): Launcher => readBuilt('restore', 'the launcher of linked images');

function readBuilt(name: string, what: string): Launcher {
  const path = runtimeFile(name);
  let expected: v.InferOutput<typeof Checksums>;
  try {
    expected = v.parse(Checksums, JSON.parse(Buffer.from(read('checksums.json')).toString()));
  } catch (error) {
    if (error instanceof SyntaxError || v.isValiError(error)) {
      throw runtimeMissing(
        runtimeFile('checksums.json'),
        'the checksums of the C runtime are damaged',
        error,
      );
    }
    throw error;
  }
  const bytes = read(name);
  const sum = sha256(bytes);
  if (sum !== expected[name]?.sha256) {
    throw runtimeMissing(path, `${what} is not the one that was built: its checksum differs`);
  }
  return { bytes, sha256: sum };
}
