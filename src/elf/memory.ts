/** A module's bytes by address. */
import type { Rva } from '../base/brands.ts';
import type { ElfImage } from './image.ts';

/** The file's bytes from an address to the end of its segment's part of the file; undefined where there are none. */
export function fileBytesAt(image: ElfImage, at: Rva): DataView | undefined {
  const segment = image.segmentOf(at);
  const offset = image.offsetOf(at);
  if (segment === undefined || offset === undefined) return undefined;
  const { bytes } = image;
  return new DataView(bytes.buffer, bytes.byteOffset + offset, segment.offset + segment.fileSize - offset);
}
