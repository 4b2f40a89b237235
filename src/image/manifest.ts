/** manifest.json: what an image was built from. The launcher does not read it. */
import * as v from 'valibot';
import { readTrusted } from '../profile/store-files.ts';
import { imageDamaged, imageNewer } from './image-errors.ts';

export const MANIFEST_VERSION = 1;

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

const Manifest = v.object({
  winnow: v.literal('image'),
  version: v.literal(MANIFEST_VERSION),
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
    skipped: v.array(v.object({ path: v.string(), reason: v.string(), pages: Count })),
  }),
});

export type ImageManifest = v.InferOutput<typeof Manifest>;

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
