/** Notes: records of a name, a type and a descriptor, in PT_NOTE segments and SHT_NOTE sections. */
import { viewOf } from './bytes.ts';
import { NT_GNU_BUILD_ID } from './spec.ts';

export interface Note {
  readonly name: string;
  readonly type: number;
  readonly descriptor: Uint8Array;
}

const NHDR_SIZE = 12;

/**
 * The notes in `bytes`, which is one segment or section. Stops silently at the first record that does
 * not fit: what follows a damaged note cannot be found.
 *
 * @param align the segment's p_align: 8 pads descriptors to 8 bytes, everything else to 4.
 */
export function* notesIn(bytes: Uint8Array, align: number): Generator<Note> {
  const view = viewOf(bytes);
  const unit = align === 8 ? 8 : 4;
  const padded = (size: number): number => Math.ceil(size / unit) * unit;
  let at = 0;
  while (at + NHDR_SIZE <= bytes.length) {
    const nameSize = view.getUint32(at, true);
    const descriptorSize = view.getUint32(at + 4, true);
    const nameAt = at + NHDR_SIZE;
    const descriptorAt = at + padded(NHDR_SIZE + nameSize);
    const end = descriptorAt + descriptorSize;
    if (end > bytes.length) return;
    const name = new TextDecoder('latin1').decode(bytes.subarray(nameAt, nameAt + nameSize));
    yield {
      name: name.endsWith('\0') ? name.slice(0, -1) : name,
      type: view.getUint32(at + 8, true),
      descriptor: bytes.subarray(descriptorAt, end),
    };
    at = descriptorAt + padded(descriptorSize);
  }
}

/** Lower-case hexadecimal digits of the GNU build-id among the notes of one segment, or undefined. */
export function buildIdIn(bytes: Uint8Array, align: number): string | undefined {
  for (const note of notesIn(bytes, align)) {
    if (note.type !== NT_GNU_BUILD_ID || note.name !== 'GNU' || note.descriptor.length === 0) continue;
    // A build-id is 16 or 20 bytes by habit; one longer than a path component is damage.
    if (note.descriptor.length > 64) return undefined;
    return Buffer.from(note.descriptor).toString('hex');
  }
  return undefined;
}
