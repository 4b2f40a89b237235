/** Profiles for tests: arbitrary ones for properties, and one that looks like a real recording. */
import * as fc from 'fast-check';
import { pageIndex, pagesIn, rva } from '../src/base/brands.ts';
import { toExtents } from '../src/profile/extents.ts';
import { mergeRuns } from '../src/profile/merge.ts';
import type {
  Ended,
  EnteredCode,
  Extent,
  FileIdentity,
  Profile,
  Run,
  UsedFile,
  UsedPages,
} from '../src/profile/model.ts';

const hex = (digits: number) =>
  fc.stringMatching(new RegExp(`^[0-9a-f]{${digits}}$`), { size: 'max' }).map((text) => text);
const path = fc
  .array(fc.constantFrom('usr', 'lib', 'a b', 'ü字', '.x', "q'\\", 'node'), { minLength: 1, maxLength: 4 })
  .map((parts) => `/${parts.join('/')}`);

const identity: fc.Arbitrary<FileIdentity> = fc.record(
  {
    size: fc.integer({ min: 0, max: 300_000 }),
    mtimeNs: fc.bigInt({ min: -(10n ** 18n), max: 10n ** 19n }),
    inode: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    buildId: fc.constantFrom('00ff', 'abcdef0123456789abcdef0123456789abcdef01'),
    hash: fc.constantFrom(`sha256:${'0a'.repeat(32)}`, `sha256-ends:${'b1'.repeat(32)}`),
  },
  { requiredKeys: ['size', 'mtimeNs', 'inode'] },
);

const ended: fc.Arbitrary<Ended> = fc.oneof(
  fc.record({ kind: fc.constant('exited' as const), code: fc.integer({ min: 0, max: 255 }) }),
  fc.record({ kind: fc.constant('killed' as const), signal: fc.integer({ min: 1, max: 64 }) }),
  fc.constant({ kind: 'execed' as const }),
  fc.constant({ kind: 'left-running' as const }),
);

const text = fc.string({ unit: 'binary', maxLength: 6 }).map((raw) => raw.replaceAll('\0', '0'));

function pagesOf(files: readonly UsedFile[]): fc.Arbitrary<UsedPages[]> {
  if (files.length === 0) return fc.constant([]);
  const one = fc.nat({ max: files.length - 1 }).chain((file) => {
    const pages = pagesIn(files[file]?.identity.size ?? 0);
    const extents: fc.Arbitrary<Extent[]> =
      pages === 0
        ? fc.constant([])
        : fc
            .array(fc.nat({ max: pages - 1 }), { maxLength: 8 })
            .map((list) => toExtents(list.map(pageIndex)));
    return fc.record({
      file: fc.constant(file),
      how: fc.constantFrom('mapped' as const, 'read' as const),
      extents,
    });
  });
  return fc.array(one, { maxLength: 4 });
}

/** Entries in any order, of some of the files. */
function enteredIn(files: readonly UsedFile[]): fc.Arbitrary<EnteredCode[]> {
  const entries = fc.uniqueArray(fc.oneof(fc.nat({ max: 40 }), fc.maxSafeNat()).map(rva), { maxLength: 8 });
  return fc
    .array(fc.option(entries, { nil: undefined }), { minLength: files.length, maxLength: files.length })
    .map((lists) => lists.flatMap((list, file) => (list === undefined ? [] : [{ file, entries: list }])));
}

/** Any valid run; ids and times come from small sets where `few`, so that runs collide. */
export function arbitraryRun(few: boolean): fc.Arbitrary<Run> {
  const id = few ? fc.nat({ max: 24 }).map((n) => n.toString(16).padStart(32, '0')) : hex(32);
  return fc.array(fc.record({ path, identity }), { maxLength: 4 }).chain((files) =>
    fc.record({
      id,
      startedAt: few ? fc.nat({ max: 3 }) : fc.nat({ max: 2 ** 42 }),
      durationMs: fc.double({ min: 0, max: 1e9, noNaN: true }).map((ms) => ms + 0),
      command: fc.record({ program: path, argv: fc.array(text, { minLength: 1, maxLength: 3 }), cwd: path }),
      method: fc.record({
        pages: fc.constantFrom('exact' as const, 'fault-around' as const),
        lookups: fc.constantFrom('seen' as const, 'unseen' as const),
        functions: fc.constantFrom('seen' as const, 'unseen' as const),
        kernel: text,
      }),
      ended,
      files: fc.constant(files),
      processes: fc
        .array(
          fc.record(
            {
              program: path,
              argvShape: fc.array(text, { maxLength: 2 }),
              libraryPath: text,
              ended,
              pages: pagesOf(files),
            },
            { requiredKeys: ['program', 'argvShape', 'ended', 'pages'] },
          ),
          { maxLength: 3 },
        )
        .map((list) =>
          list.map((process, index) => (index === 0 ? process : { ...process, parent: index - 1 })),
        ),
      lookups: fc.array(fc.record({ path, found: fc.boolean() }), { maxLength: 4 }),
      entered: enteredIn(files),
      notes: fc.array(fc.record({ code: fc.constant('N_NOTE'), text }), { maxLength: 2 }),
    }),
  );
}

/** Any valid profile named `any`. */
export function arbitraryProfile(few = false, maxRuns = 4): fc.Arbitrary<Profile> {
  return fc
    .array(arbitraryRun(few), { maxLength: maxRuns })
    .map((runs) => ({ name: 'any', runs: mergeRuns(runs) }));
}

const LIBC: UsedFile = {
  path: '/lib/x86_64-linux-gnu/libc.so.6',
  identity: {
    size: 1_922_136,
    mtimeNs: 1_700_000_000_000_000_001n,
    inode: 1311n,
    buildId: '51657f818beb1ae70372216a99b7412b8a100a20',
  },
};
const GIT: UsedFile = {
  path: '/usr/bin/git',
  identity: {
    size: 3_756_656,
    mtimeNs: 1_700_000_000_000_000_002n,
    inode: 920n,
    buildId: 'c0ffee818beb1ae70372216a99b7412b8a100a20',
  },
};
const CONFIG: UsedFile = {
  path: '/etc/gitconfig',
  identity: { size: 120, mtimeNs: 1_700_000_000_000_000_003n, inode: 77n, hash: `sha256:${'ab'.repeat(32)}` },
};

const extent = (page: number, count: number): Extent => ({ page: pageIndex(page), count });

/** A run of `git status` with an id of its own; `age` 0 is the newest. */
export function gitRun(age: number, changes: Partial<Run> = {}): Run {
  return {
    id: (0xa0 + age).toString(16).padStart(32, '0'),
    startedAt: Date.UTC(2026, 0, 20, 12, 0, 0) - age * 3_600_000,
    durationMs: 18.25 + age,
    command: { program: '/usr/bin/git', argv: ['git', 'status'], cwd: '/home/ann/project' },
    method: { pages: 'exact', lookups: 'seen', functions: 'unseen', kernel: '6.18.0' },
    ended: { kind: 'exited', code: 0 },
    files: [GIT, LIBC, CONFIG],
    processes: [
      {
        program: '/usr/bin/git',
        argvShape: ['git', 'status'],
        ended: { kind: 'exited', code: 0 },
        pages: [
          { file: 0, how: 'mapped', extents: [extent(0, 12), extent(100, 40 + age)] },
          { file: 1, how: 'mapped', extents: [extent(0, 8), extent(38, 60)] },
          { file: 2, how: 'read', extents: [extent(0, 1)] },
        ],
      },
      {
        parent: 0,
        program: '/usr/bin/git',
        argvShape: ['git', 'pager'],
        ended: { kind: 'killed', signal: 13 },
        pages: [{ file: 1, how: 'mapped', extents: [extent(4, 8)] }],
      },
    ],
    lookups: [
      { path: '/etc/gitconfig', found: true },
      { path: '/home/ann/.gitconfig', found: false },
    ],
    entered: [],
    notes:
      age === 0
        ? [{ code: 'N_SETUID', text: '/usr/bin/sudo is set-uid: recorded without its look-ups' }]
        : [],
    ...changes,
  };
}

/** The same with functions: the newest run entered one more. */
export function gitFunctionsRun(age: number, changes: Partial<Run> = {}): Run {
  return gitRun(age, {
    method: { pages: 'exact', lookups: 'seen', functions: 'seen', kernel: '6.18.0' },
    entered: [
      { file: 0, entries: [0x4000, 0x5120, 0x4810, ...(age === 0 ? [0x40c0] : [])].map(rva) },
      { file: 1, entries: [0x27000, 0x26c10].map(rva) },
    ],
    ...changes,
  });
}

/** The same, its pager executed under LD_LIBRARY_PATH. */
export function gitLibraryPathRun(age: number): Run {
  const run = gitFunctionsRun(age);
  const processes = run.processes.map((process) =>
    process.parent === undefined ? process : { ...process, libraryPath: '/opt/git/lib:' },
  );
  return { ...run, processes };
}

/** `git status`, recorded three times. */
export function gitProfile(): Profile {
  return { name: 'git-status', runs: [gitRun(0), gitRun(1), gitRun(2)] };
}
