/** winnow's reader of .eh_frame against readelf, record by record: places, code ranges, augmentation data. */
import { execFileSync } from 'node:child_process';
import { WinnowError } from '../../src/base/errors.ts';
import { type Cie, type EhFrame, type Fde, readEhFrame } from '../../src/elf/eh-frame.ts';
import { readElf } from '../../src/elf/read.ts';

export interface FrameComparison {
  readonly differences: readonly string[];
  /** FDEs compared: so that an empty comparison cannot pass for agreement. */
  readonly fdes: number;
  readonly frame: EhFrame | undefined;
}

interface JudgedRecord {
  readonly at: number;
  /** Bytes after the length field. */
  readonly length: number;
  /** Offset of the CIE; undefined where it is one itself. */
  readonly cie: number | undefined;
  readonly start: number;
  readonly end: number;
  augmentation: string;
  data: string;
}

/** A file with one fault has it in every record; ten say enough. */
const MOST_DIFFERENCES = 10;
// Instructions would make hundreds of megabytes of text of a large program.
const ASK = `readelf --debug-dump=frames --debug-dump=no-follow-links -- "$0" 2>/dev/null |
  grep -aE '^(Contents of|[0-9a-f]{8} [0-9a-f]{16} |  Augmentation)' || true`;

function judge(path: string): readonly JudgedRecord[] {
  const text = execFileSync('sh', ['-c', ASK, path], {
    encoding: 'latin1',
    maxBuffer: 2 ** 28,
    env: { ...process.env, LC_ALL: 'C' },
  });
  const records: JudgedRecord[] = [];
  let inside = false;
  for (const line of text.split('\n')) {
    if (line.startsWith('Contents of')) inside = line.includes(' .eh_frame ');
    if (!inside) continue;
    const record = /^([0-9a-f]{8}) ([0-9a-f]{16}) \S+ (CIE|FDE cie=(\S+) pc=(\w+)\.\.(\w+))/.exec(line);
    if (record !== null) {
      const [, at = '', length = '', , cie, start = '0', end = '0'] = record;
      records.push({
        at: parseInt(at, 16),
        length: parseInt(length, 16),
        cie: cie === undefined ? undefined : parseInt(cie, 16),
        start: parseInt(start, 16),
        end: parseInt(end, 16),
        augmentation: '',
        data: '',
      });
      continue;
    }
    const last = records.at(-1);
    const augmentation = /^ {2}Augmentation( data)?: +"?([^"]*)"?$/.exec(line);
    if (last === undefined || augmentation === null) continue;
    if (augmentation[1] === undefined) last.augmentation = augmentation[2] ?? '';
    else last.data = augmentation[2] ?? '';
  }
  return records;
}

const isFde = (record: Cie | Fde): record is Fde => 'cie' in record;
const hex = (value: number): string => value.toString(16);

/** @param bytes what winnow reads; other than the file's own only to test that differences are seen. */
export function compareFrames(path: string, bytes: Uint8Array): FrameComparison {
  let frame: EhFrame;
  try {
    const image = readElf(bytes, path);
    frame = readEhFrame(image);
  } catch (error) {
    if (!(error instanceof WinnowError)) throw error;
    return {
      differences: [`winnow refuses it: ${error.message} (${error.where})`],
      fdes: 0,
      frame: undefined,
    };
  }
  const base = frame.at ?? 0;
  const ours = [...frame.cies, ...frame.fdes].toSorted((a, b) => a.at - b.at);
  const theirs = judge(path);
  const differences: string[] = [];
  if (ours.length !== theirs.length) differences.push(`${ours.length} records, readelf has ${theirs.length}`);
  for (const [i, record] of ours.entries()) {
    const judged = theirs[i];
    const own = describe(frame, record);
    const other = judged === undefined ? 'nothing' : describeJudged(judged);
    if (own !== other) differences.push(`record at ${hex(record.at - base)}: ${own}, readelf says ${other}`);
    if (differences.length >= MOST_DIFFERENCES) break;
  }
  return { differences, fdes: frame.fdes.length, frame };
}

function describe(frame: EhFrame, record: Cie | Fde): string {
  const base = frame.at ?? 0;
  const bytes = (from: number, to: number): string =>
    Array.from(frame.bytes.subarray(from - base, to - base), (byte) =>
      byte.toString(16).padStart(2, '0'),
    ).join(' ');
  const at = `${hex(record.at - base)} ${record.size}`;
  if (!isFde(record)) {
    const { augmentation, pcEncoding, lsdaEncoding, personality } = record;
    const letters: Readonly<Record<string, string>> = {
      R: bytes1(pcEncoding),
      L: bytes1(lsdaEncoding),
      P:
        personality === undefined
          ? ''
          : `${bytes1(personality.encoding)} ${bytes(personality.at, personality.at + 4)}`,
    };
    const data = [...augmentation.slice(1)]
      .map((letter) => letters[letter] ?? '')
      .filter((text) => text !== '');
    return `${at} CIE "${augmentation}" [${data.join(' ')}]`;
  }
  const data = record.lsdaAt === undefined ? '' : bytes(record.lsdaAt, record.programAt);
  return `${at} FDE ${hex(record.cie.at - base)} ${hex(record.start)}..${hex(record.end)} [${data}]`;
}

const bytes1 = (byte: number): string => byte.toString(16).padStart(2, '0');

function describeJudged({ at, length, cie, start, end, augmentation, data }: JudgedRecord): string {
  const place = `${hex(at)} ${length + 4}`;
  if (cie === undefined) return `${place} CIE "${augmentation}" [${data}]`;
  return `${place} FDE ${hex(cie)} ${hex(start)}..${hex(end)} [${data}]`;
}
