/** Modules that ask for files by their own folder. */

/** Whether a module speaks of `$ORIGIN`, in its RUNPATH or in code. */
export function mentionsOrigin(bytes: Uint8Array): boolean {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return text.includes('$ORIGIN') || text.includes('{ORIGIN}');
}
