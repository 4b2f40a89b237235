/** manifest.json: what an image was built from. The launcher does not read it. */
import * as v from 'valibot';
import { readTrusted } from '../profile/store-files.ts';
import { imageDamaged, imageNewer } from './image-errors.ts';

export const MANIFEST_VERSION = 5;
/** What is written where no program is prelinked. */
export const MANIFEST_VERSION_UNPRELINKED = 4;
/** What is written where no program is linked. */
export const MANIFEST_VERSION_UNLINKED = 3;
/** What is written where nothing needs a newer one. */
export const MANIFEST_VERSION_PLAIN = 2;

const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const Decimal = v.pipe(v.string(), v.regex(/^-?\d+$/));

const Input = v.object({
  path: v.string(),
  size: Count,
  /** Nanoseconds since the epoch. */
  mtimeNs: Decimal,
  inode: Decimal,
});

const Figures = v.object({
  filePages: Count,
  usedPages: Count,
  plannedPages: Count,
  gapPages: Count,
  unsurePages: Count,
  usedExtents: Count,
  plannedExtents: Count,
  calls: Count,
  lookups: Count,
  failedLookups: Count,
  readopted: Count,
});

/** A device that files of the plan lie on, and the gap of extents on it. */
const Device = v.object({
  number: v.string(),
  name: v.string(),
  gapPages: Count,
  chunkPages: Count,
  /** Why the gap is what it is (src/prefetch/gap.ts). */
  why: v.variant('kind', [
    v.object({ kind: v.literal('asked') }),
    v.object({ kind: v.literal('rotational') }),
    v.object({ kind: v.literal('fast') }),
    v.object({ kind: v.literal('slow'), requestsPerSecond: Count, bytesPerSecond: Count }),
    v.object({
      kind: v.literal('kept'),
      reason: v.picklist(['no-direct-reads', 'too-little-to-read', 'no-answer']),
    }),
  ]),
});

const Stayed = v.array(v.object({ reason: v.string(), count: Count }));

const CodeUse = {
  textPages: Count,
  touchedPages: Count,
  usedPages: Count,
  functions: Count,
  usedFunctions: Count,
};

/** A module in another form: the file in the image, and the one that it stands for. */
const SelectedModule = v.object({
  ...Input.entries,
  /** Its name in the image's folder. */
  file: v.string(),
  fileSize: Count,
  ...CodeUse,
  figures: v.object({
    textPages: Count,
    hotPages: Count,
    addedReadOnlyPages: Count,
    units: Count,
    clonedUnits: Count,
    jumpTables: Count,
    clonedJumpTables: Count,
    patchedReferences: Count,
    patchedRelocations: Count,
    patchedSymbols: Count,
  }),
  /** Pages of the original that used code lies on which was not copied. */
  stayedPages: Count,
  /** Where unused code was cut out. */
  stored: v.exactOptional(v.object({ storeBytes: Count, cutBytes: Count, diskBytes: Count })),
  /** What was used and could not be copied. */
  stayed: Stayed,
});

const Select = v.object({
  cold: v.picklist(['file', 'deny', 'store']),
  /** Of denied code; absent: abort. */
  onMiss: v.exactOptional(v.picklist(['abort', 'log'])),
  modules: v.array(SelectedModule),
  kept: v.array(
    v.object({
      path: v.string(),
      reason: v.string(),
      textPages: Count,
      code: v.exactOptional(v.object(CodeUse)),
    }),
  ),
});

const Counted = v.object({ name: v.string(), count: Count });

/** A program with an image after linking; names are those of files in the image's folder. */
const SharedProgram = v.object({
  ...Input.entries,
  copy: v.string(),
  copySize: Count,
  linked: v.string(),
  restore: v.string(),
  /** The module in which it may ask for its own path. */
  asksForItself: v.exactOptional(v.string()),
  /** LD_LIBRARY_PATH as it must be at a start; absent: not set. */
  libraryPath: v.exactOptional(v.string()),
  /** Absent: its modules stay files. */
  joined: v.exactOptional(
    v.object({
      copied: Count,
      /** Absent in images that have copies of all modules. */
      shared: v.exactOptional(Count),
      executable: Count,
      /** Absent: stubs of the PLT are as they were. */
      calls: v.exactOptional(v.object({ direct: Count, far: Count })),
    }),
  ),
  /** Small libraries of which the image has all pages; absent: variants that take none. */
  taken: v.exactOptional(v.object({ libraries: Count, bytes: Count })),
  /** Absent: addresses are the same at each start. */
  slide: v.exactOptional(
    v.object({
      programBits: v.pipe(v.number(), v.minValue(0)),
      modulesBits: v.pipe(v.number(), v.minValue(0)),
      pages: Count,
      oddWords: Count,
      /** Absent: all pages are slid at the start. */
      pageIn: v.exactOptional(
        v.variant('kind', [
          v.object({ kind: v.literal('left'), pages: Count }),
          v.object({ kind: v.literal('kept'), reason: v.string(), detail: v.exactOptional(v.string()) }),
        ]),
      ),
    }),
  ),
  figures: v.object({
    modules: Count,
    maps: Count,
    loaderMaps: Count,
    pages: Count,
    linkedPages: Count,
    pointers: Count,
    watches: Count,
    bytes: Count,
    fixUps: v.array(Counted),
    leftovers: v.array(Counted),
  }),
});

const Share = v.object({
  programs: v.array(SharedProgram),
  kept: v.array(v.object({ path: v.string(), reason: v.string(), detail: v.exactOptional(v.string()) })),
});

/** A program whose libraries are prelinked; prelink.bin has its modules. */
const PrelinkedProgram = v.object({
  ...Input.entries,
  figures: v.object({
    prelinked: Count,
    kept: Count,
    applied: Count,
    left: Count,
    leftPages: Count,
    bytes: Count,
  }),
  /** Relocations that are left, by reason. */
  left: v.array(v.object({ reason: v.string(), count: Count })),
  keptModules: v.array(v.object({ path: v.string(), reason: v.string() })),
});

const Prelink = v.object({
  programs: v.array(PrelinkedProgram),
  kept: v.array(v.object({ path: v.string(), reason: v.string(), detail: v.exactOptional(v.string()) })),
});

const Manifest = v.object({
  winnow: v.literal('image'),
  /** 1 knew no `select`, 2 no stored code and no `onMiss`, 3 no `share`, 4 no `prelink`. */
  version: v.picklist([
    1,
    MANIFEST_VERSION_PLAIN,
    MANIFEST_VERSION_UNLINKED,
    MANIFEST_VERSION_UNPRELINKED,
    MANIFEST_VERSION,
  ]),
  name: v.string(),
  /** Milliseconds since the epoch. */
  builtAt: Count,
  command: v.object({
    program: v.string(),
    argv: v.pipe(v.array(v.string()), v.minLength(1)),
    cwd: v.string(),
  }),
  profile: v.object({ name: v.string(), runs: v.array(v.string()) }),
  /** What the image does, in the order in which it takes effect. */
  techniques: v.array(v.string()),
  versions: v.object({ plan: Count, launcher: v.string() }),
  /** The folder for whose file system the image was built, where that is not this machine's. */
  root: v.optional(v.string()),
  /** The files of the plan as they were when it was made. */
  inputs: v.array(Input),
  prefetch: v.object({
    figures: Figures,
    /** Absent in images that were built before devices were measured. */
    devices: v.exactOptional(v.array(Device)),
    skipped: v.array(v.object({ path: v.string(), reason: v.string(), pages: Count })),
  }),
  select: v.optional(Select),
  share: v.optional(Share),
  /** The technique share by prelinked libraries, in place of `share`. */
  prelink: v.optional(Prelink),
});

export type ImageManifest = v.InferOutput<typeof Manifest>;
export type SelectManifest = v.InferOutput<typeof Select>;
export type ShareManifest = v.InferOutput<typeof Share>;
export type PrelinkManifest = v.InferOutput<typeof Prelink>;

const Versioned = v.object({ winnow: v.literal('image'), version: v.number() });

export function writeManifest(manifest: ImageManifest): Uint8Array {
  return Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`);
}

/** @throws WinnowError E_IMAGE_DAMAGED, E_IMAGE_NEWER; `path` is for errors. */
export function parseManifest(text: string, path: string): ImageManifest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw imageDamaged(path, 'its manifest is no JSON', error);
  }
  const head = v.safeParse(Versioned, value);
  if (head.success && head.output.version > MANIFEST_VERSION) {
    throw imageNewer(path, head.output.version, MANIFEST_VERSION);
  }
  const parsed = v.safeParse(Manifest, value);
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  throw imageDamaged(path, `its manifest is wrong at ${v.getDotPath(issue) ?? 'the top'}: ${issue.message}`);
}

/** @throws WinnowError E_IMAGE_DAMAGED, E_IMAGE_NEWER, E_STORE_… */
export function readManifest(path: string): ImageManifest {
  const bytes = readTrusted(path);
  if (bytes === undefined) throw imageDamaged(path, 'it has no manifest');
  return parseManifest(Buffer.from(bytes).toString(), path);
}
