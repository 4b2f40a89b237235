/**
 * Starts of a program as it is, with everything bound, with prelinked libraries (checked and not) and from its image, in turn. Each
 * ends before the first constructor.
 */
import { mkdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { errnoOf } from '../base/errors.ts';
import { linkedAt } from '../share/closure/loader-start.ts';
import type { Closure } from '../share/closure/modules.ts';
import { pagesOf } from '../share/notes/layouts.ts';
import type { PrelinkOptions } from '../share/prelink/model.ts';
import { prelinkClosure } from '../share/prelink/prelink.ts';
import { buildPrelinked } from '../share/prelinked/build.ts';
import { runtimeFile } from '../sys/runtime.ts';
import { type LinkedAt, measureStart, type StartCost, type StartRequest } from '../sys/start-cost.ts';
import { noTemporary, openTemporary } from '../sys/temporary.ts';
import type { MaybeStarts, Starts } from './sharing.ts';

const ROUNDS = 15;
/** Bytes of libraries of which copies are made for it. */
const MOST_COPIED = 2 ** 29;

/** An image's copy of the program, and where control comes when it is mapped. */
export interface ImageStart {
  readonly program: string;
  /** NAME.linked, which is then mapped. */
  readonly linked: string;
  readonly at: LinkedAt;
  /** Where the pages of its libraries are that linking left alone, in words. */
  readonly libraries: string;
}

export interface StartsInput {
  readonly closure: Closure;
  readonly argv: readonly string[];
  readonly images: Readonly<Record<'fixed' | 'slid', ImageStart | { readonly missing: string }>>;
  readonly onProgress: (text: string) => void;
}

/** @throws WinnowError E_ELF_… for damaged modules; E_TEMPORARY where there is no room for the copies. */
export async function measureStarts(input: StartsInput): Promise<Starts | { readonly missing: string }> {
  const { closure, argv, images, onProgress } = input;
  const { program, modules } = closure;
  const loader = modules.find(({ role }) => role === 'loader');
  const rva = loader === undefined ? undefined : linkedAt(loader.image);
  if (rva === undefined)
    return { missing: 'the dynamic loader is not glibc’s: where it has finished is not known' };
  const { LD_BIND_NOW: _, ...env } = process.env;
  const plain: StartRequest = { program, argv, env, at: { rva } };
  // The first start reads what is not in memory yet.
  if (measureStart(plain) === undefined) return { missing: 'the program cannot be traced here' };
  const { path: folder, close } = openTemporary(join(tmpdir(), 'winnow-sharing-'));
  try {
    onProgress('prelinking');
    const ways = {
      plain,
      bindNow: { ...plain, env: { ...env, LD_BIND_NOW: '1' } },
      checked: await checkedStart(closure, plain, join(folder, 'checked')),
      prelinked: copiesStart(closure, plain, 'applied', join(folder, 'prelinked')),
      slid: copiesStart(closure, plain, 'relative', join(folder, 'slid')),
      bound: copiesStart(closure, plain, 'references', join(folder, 'bound')),
      image: imageWay(images.fixed, plain),
      slidImage: imageWay(images.slid, plain),
    };
    return inTurn(ways, onProgress);
  } catch (error) {
    const errno = errnoOf(error);
    throw errno === 'ENOSPC' || errno === 'EDQUOT' ? noTemporary(errno, folder) : error;
  } finally {
    close();
  }
}

function imageWay(image: ImageStart | { readonly missing: string }, plain: StartRequest): Way {
  if ('missing' in image) return image;
  const way = { ...plain, program: image.program, at: image.at };
  // One that is refused comes to the end of its launcher, too.
  const files = measureStart(way)?.files;
  return files?.has(realpathSync(image.linked)) === true
    ? way
    : { missing: 'the image was not used when it was started' };
}

type Way = StartRequest | { readonly missing: string };

function inTurn(
  ways: Readonly<
    Record<'plain' | 'bindNow' | 'checked' | 'prelinked' | 'slid' | 'bound' | 'image' | 'slidImage', Way>
  >,
  onProgress: (text: string) => void,
): Starts | { readonly missing: string } {
  const order = [
    ways.plain,
    ways.bindNow,
    ways.prelinked,
    ways.slid,
    ways.image,
    ways.slidImage,
    ways.bound,
    ways.checked,
  ];
  const costs: StartCost[][] = order.map(() => []);
  for (let round = 0; round < ROUNDS; round++) {
    onProgress(`start ${round + 1} of ${ROUNDS}`);
    for (let i = 0; i < order.length; i++) {
      const index = (round + i) % order.length;
      const way = order[index];
      const cost = way === undefined || 'missing' in way ? undefined : measureStart(way);
      if (cost !== undefined) costs[index]?.push(cost);
    }
  }
  const of = (index: number): MaybeStarts => {
    const way = order[index];
    if (way !== undefined && 'missing' in way) return way;
    const found = costs[index] ?? [];
    return found.length === ROUNDS ? found : { missing: 'the program did not start each time' };
  };
  const [plain, bindNow] = [of(0), of(1)];
  if ('missing' in plain) return plain;
  if ('missing' in bindNow) return bindNow;
  return {
    plain,
    bindNow,
    prelinked: of(2),
    slid: of(3),
    image: of(4),
    slidImage: of(5),
    bound: of(6),
    checked: of(7),
  };
}

/** As `winnow build --share prelink` makes it: each start looks at files and places before it uses the copies. */
async function checkedStart({ program }: Closure, plain: StartRequest, folder: string): Promise<Way> {
  mkdirSync(folder, { mode: 0o755 });
  const object = readFileSync(runtimeFile('prelink.so'));
  const planned = { programs: [{ path: program }], kept: [] };
  const { programs, kept } = await buildPrelinked(planned, { folder, object, sharedMode: 0o055 });
  const [built] = programs;
  if (built === undefined) return { missing: kept[0]?.reason ?? 'it got no copies' };
  const way = { ...plain, env: { ...plain.env, LD_AUDIT: join(folder, 'audit.so') } };
  const files = measureStart(way)?.files;
  return built.modules.every(({ copy }) => copy === undefined || files?.has(join(folder, copy.file)) === true)
    ? way
    : { missing: 'its copies are not shown in this environment' };
}

/** Writes the copies, and tries whether each is mapped where it belongs. */
function copiesStart(
  closure: Closure,
  plain: StartRequest,
  relocations: PrelinkOptions['relocations'],
  folder: string,
): Way {
  const bytes = closure.modules.reduce(
    (sum, { role, image }) => sum + (role === 'library' ? image.bytes.length : 0),
    0,
  );
  if (bytes > MOST_COPIED) return { missing: 'the libraries are too large to be copied for a measurement' };
  const addresses = { how: 'by name', bits: 16 } as const;
  const { modules } = prelinkClosure(closure, { relocations, addresses });
  mkdirSync(folder);
  const places = modules.map(({ module, base, bytes: copy }) => {
    const path = join(folder, basename(module.name));
    writeFileSync(path, copy, { mode: 0o755 });
    return { path, at: base + pagesOf(module.image).first };
  });
  const others = plain.env.LD_LIBRARY_PATH ?? '';
  const path = others === '' ? folder : `${folder}:${others}`;
  const way = { ...plain, env: { ...plain.env, LD_LIBRARY_PATH: path } };
  const files = measureStart(way)?.files;
  return places.length > 0 && places.every((place) => files?.get(place.path) === place.at)
    ? way
    : { missing: 'the loader did not map all prelinked libraries where they belong' };
}
