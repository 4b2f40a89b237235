/** The checksum of winnow's binary files. */

const PRIME = 0x100000001b3n;

/**
 * FNV-1a over little-endian 64-bit words, as plan_checksum in runtime/plan.h. The length must be a multiple of 8.
 *
 * The product is made of 32-bit halves and 16-bit limbs in numbers: BigInt would take 20 ms for 300 KB.
 */
export function planChecksum(bytes: Uint8Array): bigint {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const low32 = Number(PRIME & 0xffffffffn);
  let low = 0x84222325;
  let high = 0xcbf29ce4;
  for (let at = 0; at < bytes.byteLength; at += 8) {
    low = (low ^ view.getUint32(at, true)) >>> 0;
    high = (high ^ view.getUint32(at + 4, true)) >>> 0;
    // PRIME = 2^40 + low32 and low32 < 2^9, so each product below 2^53 is exact.
    const product = low * low32;
    const carry = Math.floor(product / 2 ** 32);
    high = (high * low32 + carry + (low & 0xffffff) * 256) % 2 ** 32;
    low = product % 2 ** 32;
  }
  return (BigInt(high) << 32n) | BigInt(low);
}
