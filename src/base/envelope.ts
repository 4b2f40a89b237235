/**
 * How each of winnow's binary files begins: struct plan_envelope of runtime/plan.h. The checksum covers the head
 * from the end of the envelope on.
 */

/** Offsets of the fields, in bytes, and the size of the whole. */
export const ENVELOPE = {
  size: 32,
  magic: 0,
  version: 8,
  head_size: 12,
  total_size: 16,
  head_checksum: 24,
} as const;
