/** struct linked_processor: what cpuid says, in NAME.linked and in what `restore` answers. */
import { PROCESSOR } from './linked-layout.ts';
import type { ProcessorTraits } from './linked-model.ts';

export function encodeProcessor(record: Buffer, { leaf1, leaf7, xcr0 }: ProcessorTraits): void {
  record.writeUInt32LE(leaf1.eax, PROCESSOR.leaf1_eax);
  record.writeUInt32LE(leaf1.ebx, PROCESSOR.leaf1_ebx);
  record.writeUInt32LE(leaf1.ecx, PROCESSOR.leaf1_ecx);
  record.writeUInt32LE(leaf1.edx, PROCESSOR.leaf1_edx);
  record.writeUInt32LE(leaf7.ebx, PROCESSOR.leaf7_ebx);
  record.writeUInt32LE(leaf7.ecx, PROCESSOR.leaf7_ecx);
  record.writeUInt32LE(leaf7.edx, PROCESSOR.leaf7_edx);
  record.writeBigUInt64LE(xcr0, PROCESSOR.xcr0);
}

/** Undefined where the record is none. */
export function decodeProcessor(record: Buffer): ProcessorTraits | undefined {
  const ebx = record.readUInt32LE(PROCESSOR.leaf1_ebx);
  if (record.readUInt32LE(PROCESSOR.reserved) !== 0 || ebx >= 2 ** 24) return undefined;
  return {
    leaf1: {
      eax: record.readUInt32LE(PROCESSOR.leaf1_eax),
      ebx,
      ecx: record.readUInt32LE(PROCESSOR.leaf1_ecx),
      edx: record.readUInt32LE(PROCESSOR.leaf1_edx),
    },
    leaf7: {
      ebx: record.readUInt32LE(PROCESSOR.leaf7_ebx),
      ecx: record.readUInt32LE(PROCESSOR.leaf7_ecx),
      edx: record.readUInt32LE(PROCESSOR.leaf7_edx),
    },
    xcr0: record.readBigUInt64LE(PROCESSOR.xcr0),
  };
}
