/** TypeScript's side of runtime/look-ups.h; `wake-layout.test.ts` compiles that header and compares. */

export const WOKEN_NOTICE = 1;
export const WOKEN_GONE = 2;
export const WOKEN_SIGNAL = 4;
export const LOGGED_LOOK_UP = 0;
export const LOGGED_OPEN = 1;
export const LOGGED_SEEK = 2;
export const LOGGED_SMALL_FILE = 65536;
export const PROCESS_SLOTS = 64;
export const READINGS_MAX = 256;

/** Offsets of the fields, in bytes, and the size of the whole. */
export const SLEEP = {
  size: 4720,
  listener: 0,
  pipe: 4,
  timeout: 8,
  hold: 12,
  woken: 16,
  used: 20,
  log_size: 24,
  readings_count: 28,
  notice: 32,
  processes: 112,
  readings: 1648,
} as const;

export const PROCESS = { size: 24, pid: 0, padding: 4, loader_start: 8, loader_end: 16 } as const;

export const READING = { size: 12, pid: 0, fd: 4, borrowed: 8 } as const;

export const ENTRY = {
  size: 56,
  entry_size: 0,
  kind: 4,
  tid: 8,
  fd: 12,
  ip: 16,
  bytes: 24,
  at: 32,
  offset: 40,
  whence: 48,
  length: 52,
} as const;
