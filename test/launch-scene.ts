/** What the launcher's tests share: a compiled program, a data file on a disk, an image that fetches it. */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  statfsSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PAGE_SIZE, pageIndex } from '../src/base/brands.ts';
import { buildImage } from '../src/image/build.ts';
import { identifyFile } from '../src/profile/identity.ts';
import type { Extent, Lookup, Profile } from '../src/profile/model.ts';
import { dropPages } from '../src/sys/page-cache.ts';

export const isRoot = process.geteuid?.() === 0;
const TMPFS = 0x01021994;
const SOURCE = join(import.meta.dirname, 'fixtures', 'launched.c');

/** A fresh folder on a file system that can forget pages. */
export function diskFolder(): string {
  const folders = [tmpdir(), '/var/tmp', join(import.meta.dirname, '..', 'dist')];
  const onDisk = folders.find((folder) => statfsSync(folder).type !== TMPFS);
  return mkdtempSync(join(onDisk ?? tmpdir(), 'winnow-launch-'));
}

export const extent = (page: number, count: number): Extent => ({ page: pageIndex(page), count });

export interface ProfileParts {
  readonly name?: string;
  readonly program: string;
  readonly argv: readonly string[];
  readonly files: readonly { readonly path: string; readonly extents: readonly Extent[] }[];
  readonly lookups?: readonly Lookup[];
}

/** A profile of one run of one process that used just this. */
export function profileOf({ name = 'sample', program, argv, files, lookups = [] }: ProfileParts): Profile {
  return {
    name,
    runs: [
      {
        id: '0123456789abcdef0123456789abcdef',
        startedAt: 1_700_000_000_000,
        durationMs: 10,
        command: { program, argv, cwd: '/' },
        method: { pages: 'exact', lookups: 'seen', functions: 'unseen', kernel: '6.1' },
        ended: { kind: 'exited', code: 0 },
        files: files.map(({ path }) => ({ path, identity: identifyFile(path) })),
        processes: [
          {
            program,
            argvShape: argv,
            ended: { kind: 'exited', code: 0 },
            pages: files.map(({ extents }, file) => ({ file, how: 'mapped' as const, extents })),
          },
        ],
        lookups,
        entered: [],
        notes: [],
      },
    ],
  };
}

/** Writes random pages, synced: dirty pages cannot be dropped. */
export function writePages(path: string, pages: number): void {
  const fd = openSync(path, 'w');
  try {
    writeSync(fd, randomBytes(pages * PAGE_SIZE));
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Lets the kernel forget the pages of a file. */
export function evict(path: string): void {
  const fd = openSync(path, 'r');
  try {
    dropPages(fd);
  } finally {
    closeSync(fd);
  }
}

export class Scene {
  readonly folder = diskFolder();
  /** The program of test/fixtures/launched.c. */
  readonly program = join(this.folder, 'launched');
  readonly data = join(this.folder, 'data');
  readonly imagesDir = join(this.folder, 'store', 'images');
  readonly image = join(this.imagesDir, 'sample');
  readonly launch = join(this.image, 'launch');
  readonly plan = join(this.image, 'plan.bin');
  /** What the plan fetches of `data`. */
  readonly extents = [extent(10, 5), extent(100, 64), extent(700, 1300)];

  constructor() {
    const done = spawnSync('gcc', ['-O1', '-o', this.program, SOURCE], { encoding: 'utf8' });
    if (done.status !== 0) throw new Error(`gcc: ${done.stderr}`);
    writePages(this.data, 2048);
    mkdirSync(join(this.folder, 'store'), { mode: 0o700 });
    this.build();
  }

  build(parts: Partial<ProfileParts> = {}): void {
    const files = [{ path: this.data, extents: this.extents }];
    const argv = ['launched', 'report', 'recorded'];
    const profile = profileOf({ program: this.program, argv, files, ...parts });
    buildImage(profile, { imagesDir: this.imagesDir, gapPages: 0 });
  }

  /** The resident pages of `path` as `page+count`, one a line. */
  resident(path = this.data): string {
    return spawnSync(this.program, ['resident', path], { encoding: 'utf8' }).stdout;
  }

  /** Waits for the background workers; what is resident then. */
  async residentAfter(isDone: (pages: string) => boolean, path = this.data): Promise<string> {
    const until = Date.now() + 5000;
    let pages = this.resident(path);
    while (!isDone(pages) && Date.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      pages = this.resident(path);
    }
    return pages;
  }

  drop(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export const PLANNED = '10+5\n100+64\n700+1300\n';
