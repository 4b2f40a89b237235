/**
 * The profile as a file: a line that says what it is, then gzip of JSON.
 *
 *     winnow-profile 3 <sha256 of the payload> <bytes of the payload>\n
 *     <payload: gzip>
 *
 * `tail -n +2 NAME.wnp | zcat` shows the JSON. Version 1, which knew no functions, and version 2, which knew no LD_LIBRARY_PATH,
 * are read too. The hash finds damage, the length tells truncation from
 * damage, and both are checked before anything is unpacked. Limits: what unpacks to more than 256 MiB is
 * refused unread; a profile of chromium over 16 runs takes about 2 MiB.
 */
import { createHash } from 'node:crypto';
import { gunzipSync, gzipSync } from 'node:zlib';
import * as v from 'valibot';
import { notAProfile, profileDamaged, profileNewer, profileTruncated } from './errors.ts';
import type { Profile } from './model.ts';
import { fromWire, toWire, WireError, type WireProfile, wireSchema } from './wire.ts';
import { upgradeWire1, wireSchema1 } from './wire-1.ts';
import { upgradeWire2, wireSchema2 } from './wire-2.ts';

export const PROFILE_VERSION = 3;
const OLDEST_VERSION = 1;
const MAGIC = 'winnow-profile ';
const HEADER = /^winnow-profile ([0-9]{1,9}) ([0-9a-f]{64}) ([0-9]{1,12})\n/;
/** Longer than any header line of any version. */
const HEADER_ROOM = 256;
const MAX_JSON_BYTES = 256 * 1024 * 1024;

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/**
 * The bytes of a profile file; equal profiles give equal bytes.
 * @throws RangeError for a profile that `decodeProfile` would refuse: a fault of the caller.
 */
export function encodeProfile(profile: Profile): Uint8Array {
  const wire = toWire(profile);
  try {
    fromWire(v.parse(wireSchema, wire));
  } catch (error) {
    throw new RangeError(`a profile that cannot be read back: ${explain(error)}`, { cause: error });
  }
  const payload = gzipSync(JSON.stringify(wire));
  const header = `${MAGIC}${PROFILE_VERSION} ${sha256(payload)} ${payload.length}\n`;
  return Buffer.concat([Buffer.from(header, 'latin1'), payload]);
}

/**
 * The profile in the bytes of a file.
 * @param path where they come from, for errors.
 * @throws WinnowError E_NOT_A_PROFILE, E_PROFILE_NEWER, E_PROFILE_TRUNCATED, E_PROFILE_DAMAGED.
 */
export function decodeProfile(bytes: Uint8Array, path: string): Profile {
  const { version, payload } = readPayload(bytes, path);
  try {
    return fromWire(parseWire(version, readJson(payload)));
  } catch (error) {
    throw profileDamaged(path, explain(error), error);
  }
}

function parseWire(version: number, json: unknown): WireProfile {
  if (version === 1) return upgradeWire2(upgradeWire1(v.parse(wireSchema1, json)));
  return version === 2 ? upgradeWire2(v.parse(wireSchema2, json)) : v.parse(wireSchema, json);
}

/** The payload behind a header that fits it. */
function readPayload(
  bytes: Uint8Array,
  path: string,
): { readonly version: number; readonly payload: Uint8Array } {
  const start = Buffer.from(bytes.subarray(0, HEADER_ROOM)).toString('latin1');
  if (!start.startsWith(MAGIC)) {
    throw MAGIC.startsWith(start) ? profileTruncated(path) : notAProfile(path);
  }
  // The version comes first: a newer format may have another header behind it.
  const version = Number(/^[0-9]{1,9}(?=[ \n])/.exec(start.slice(MAGIC.length))?.[0] ?? 0);
  if (version > PROFILE_VERSION) throw profileNewer(path, version, PROFILE_VERSION);
  const header = HEADER.exec(start);
  if (header === null) {
    const isCut = bytes.length < HEADER_ROOM && !start.includes('\n');
    throw isCut ? profileTruncated(path) : profileDamaged(path, 'its first line makes no sense');
  }
  if (version < OLDEST_VERSION) throw profileDamaged(path, `there is no version ${version}`);
  const payload = bytes.subarray(header[0].length);
  const length = Number(header[3]);
  if (payload.length < length) throw profileTruncated(path);
  if (payload.length > length) throw profileDamaged(path, 'something was appended to it');
  if (sha256(payload) !== header[2]) throw profileDamaged(path, 'its checksum does not fit');
  return { version, payload };
}

function readJson(payload: Uint8Array): unknown {
  const json = gunzipSync(payload, { maxOutputLength: MAX_JSON_BYTES });
  return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(json));
}

function explain(error: unknown): string {
  if (error instanceof v.ValiError) return `${v.getDotPath(error.issues[0]) ?? 'JSON'}: ${error.message}`;
  if (error instanceof WireError) return error.message;
  if (error instanceof Error && 'code' in error && error.code === 'ERR_BUFFER_TOO_LARGE') {
    return 'it unpacks to more than 256 MiB';
  }
  return error instanceof Error ? error.message : String(error);
}
