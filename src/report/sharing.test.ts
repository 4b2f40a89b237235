import { describe, expect, it } from 'vitest';
import { expectGolden } from '../../test/golden.ts';
import { toJson } from '../cli/options.ts';
import { NO_RELOCATIONS, type RelocationCounts } from '../share/notes/count-relocations.ts';
import type { SharingFigures } from '../share/notes/figures.ts';
import type { StartCost } from '../sys/start-cost.ts';
import { type MaybeVariants, SHARING_JSON_VERSION, type Starts, sharingReport } from './sharing.ts';
import { renderSharing } from './sharing-text.ts';

const counts = (some: Partial<RelocationCounts>): RelocationCounts => ({ ...NO_RELOCATIONS, ...some });

const FIGURES: SharingFigures = {
  program: '/usr/bin/draw',
  modules: [
    {
      path: '/usr/bin/draw',
      role: 'program',
      imports: 250,
      own: 12,
      unbound: 3,
      relocations: counts({ relative: 4374, jumpSlot: 200, globDat: 50, copy: 4 }),
      relocatedPages: 24,
    },
    {
      path: '/lib/libshapes.so.1',
      role: 'library',
      imports: 40,
      own: 90,
      unbound: 0,
      relocations: counts({ relr: 1198, jumpSlot: 140, word: 300, tls: 2, irelative: 1 }),
      relocatedPages: 61,
    },
  ],
  relocations: counts({
    relative: 4374,
    relr: 1198,
    jumpSlot: 340,
    globDat: 50,
    word: 300,
    copy: 4,
    tls: 2,
    irelative: 1,
  }),
  relocatedPages: 85,
  imports: 290,
  prelinked: {
    left: { relocations: 4640, pages: 26 },
    reasons: [
      { reason: 'in the program, which stays as it is', relocations: 4628 },
      { reason: 'to a function that is resolved at each start', relocations: 10 },
      { reason: 'thread-local storage', relocations: 2 },
    ],
    leftWithoutRelative: { relocations: 5071, pages: 60 },
    relativeAlone: { relocations: 5572, pages: 80 },
  },
  addressTables: {
    slots: 392,
    pages: 1,
    pagesApart: 2,
    constants: 5572,
    moduleBits: 22,
    slotBits: 9,
    fits: true,
  },
  addressHashes: [
    {
      bits: 16,
      placeSize: 2 ** 31,
      modules: 2,
      collisions: [['libshapes.so.1', '/usr/bin/draw']],
      probability: 1 / 65536,
      onePercent: 37,
      half: 302,
    },
    {
      bits: 19,
      placeSize: 2 ** 28,
      modules: 2,
      collisions: [],
      probability: 0.123,
      onePercent: 104,
      half: 853,
    },
  ],
  hashedDispatcher: {
    slots: 262144,
    imports: 280,
    slotsUsed: 279,
    collisions: 1,
    pagesTouched: 214,
    pagesDense: 1,
    probability: 0.14,
    onePercent: 74,
    half: 604,
  },
  dispatcherPages: {
    stubs: 270,
    words: 20,
    bytes: 2320,
    pages: 2,
    near: [
      { layout: 'today', stubs: 57 },
      { layout: 'one image', stubs: 270 },
    ],
  },
};

const start = (linkNs: number, privateFilePages: number): StartCost => ({
  execNs: 120_000,
  linkNs,
  mappings: 33,
  privateFilePages,
  anonymousPages: 12,
  files: new Map(),
});

const STARTS: Starts = {
  plain: [start(700_000, 87), start(900_000, 87), start(650_000, 87)],
  bindNow: [start(800_000, 88), start(750_000, 88), start(950_000, 88)],
  checked: [start(130_000, 31), start(120_000, 30), start(180_000, 30)],
  prelinked: [start(100_000, 30), start(90_000, 29), start(150_000, 29)],
  slid: [start(500_000, 64), start(600_000, 64), start(400_000, 64)],
  bound: [start(120_000, 70), start(110_000, 70), start(160_000, 70)],
  image: { missing: 'no image after relocation was built' },
  slidImage: { missing: 'no image that slides was built' },
};

const command = ['draw', '--all'];

const VARIANTS: MaybeVariants = [
  { variant: 'auto', diskBytes: 4096, copiedBytes: 0, executableBytes: 0, mappings: 38, startMs: 0.75 },
  {
    variant: 'joined',
    diskBytes: 2 ** 21,
    copiedBytes: 2 ** 20,
    executableBytes: 8192,
    mappings: 27,
    startMs: 0.5,
  },
];

describe('the report about sharing', () => {
  it('shows all systems and solutions, and marks what is not measured', () => {
    const report = sharingReport({ command, figures: FIGURES, variants: VARIANTS, starts: STARTS });
    expectGolden('report/sharing.txt', renderSharing(report));
  });

  it('is versioned JSON', () => {
    const report = sharingReport({ command, figures: FIGURES, variants: VARIANTS, starts: STARTS });
    expectGolden('report/sharing.json', toJson('sharing', SHARING_JSON_VERSION, report));
  });

  it('shows an image where there is one', () => {
    const image = [start(30_000, 5), start(40_000, 5), start(35_000, 5)];
    const { rows } = sharingReport({
      command,
      figures: FIGURES,
      variants: VARIANTS,
      starts: { ...STARTS, image },
    });
    for (const row of rows.filter(({ id }) => id === 'system 6' || id === 'solution 1')) {
      expect(row.startMs).toEqual({ kind: 'measured', value: 0.155 });
      expect(row.privatePages).toEqual({ kind: 'measured', value: 5 });
      expect(row.relocations).toEqual({ kind: 'measured', value: 0 });
    }
  });

  it('shows at most what relocating by pages takes, where an image relocates all of them', () => {
    const slidImage = [start(230_000, 85), start(240_000, 85), start(235_000, 85)];
    const { rows } = sharingReport({
      command,
      figures: FIGURES,
      variants: VARIANTS,
      starts: { ...STARTS, slidImage },
    });
    const row = rows.find(({ id }) => id === 'system 4');
    expect(row?.startMs).toEqual({ kind: 'measured', value: 0.355 });
    expect(row?.privatePages).toEqual({ kind: 'measured', value: 85 });
    expect(row?.relocations.kind).toBe('computed');
    expect(rows.find(({ id }) => id === 'system 6')?.startMs.kind).toBe('missing');
  });

  it('takes copies with references bound in advance for the start of a dispatcher, and says so', () => {
    const of = (bound: Starts['bound']) =>
      sharingReport({
        command,
        figures: FIGURES,
        variants: VARIANTS,
        starts: { ...STARTS, bound },
      }).rows.find(({ id }) => id === 'system 7');
    expect(of(STARTS.bound)?.startMs).toEqual({ kind: 'computed', value: 0.24 });
    expect(of(STARTS.bound)?.privatePages).toEqual({
      kind: 'computed',
      value: FIGURES.prelinked.relativeAlone.pages,
    });
    expect(of({ missing: 'not mapped' })?.startMs).toEqual({ kind: 'missing', reason: 'not mapped' });
  });

  it('computes what prelinking would leave where it was not measured', () => {
    for (const [missing, system] of [
      ['checked', 'system 2'],
      ['prelinked', 'system 5'],
    ] as const) {
      const starts = { ...STARTS, [missing]: { missing: 'not mapped' } };
      const { rows } = sharingReport({ command, figures: FIGURES, variants: VARIANTS, starts });
      const [row, other] = [system, system === 'system 2' ? 'system 5' : 'system 2'].map((name) =>
        rows.find(({ id }) => id === name),
      );
      expect(row?.privatePages).toEqual({ kind: 'computed', value: 26 });
      expect(row?.startMs).toEqual({ kind: 'missing', reason: 'not mapped' });
      expect(other?.startMs.kind).toBe('measured');
    }
  });

  it('says of everything that could not be measured why', () => {
    const starts = { missing: 'the program cannot be traced here' };
    const text = renderSharing(sharingReport({ command, figures: FIGURES, variants: VARIANTS, starts }));
    expect(text).toContain('-: the program cannot be traced here (system 1, ');
    expect(text).not.toContain('medians');
  });

  it('has each system and solution of the notes', () => {
    const { rows } = sharingReport({ command, figures: FIGURES, variants: VARIANTS, starts: STARTS });
    const ids = new Set(rows.map(({ id }) => id));
    for (let i = 1; i <= 7; i++) expect(ids).toContain(`system ${i}`);
    for (let i = 1; i <= 5; i++) expect(ids).toContain(`solution ${i}`);
  });

  it('has the variants of an image side by side, or says why there are none', () => {
    const text = renderSharing(
      sharingReport({ command, figures: FIGURES, variants: VARIANTS, starts: STARTS }),
    );
    expect(text).toMatch(/^variant +on disk +copied +executable +mappings +start$/m);
    expect(text).toMatch(/^auto +4.00 KiB +0 B +0 B +38 +0.75 ms$/m);
    expect(text).toMatch(/^joined +2.00 MiB +1.00 MiB +8.00 KiB +27 +0.50 ms$/m);
    const variants = { missing: 'it gets no image: musl' };
    expect(renderSharing(sharingReport({ command, figures: FIGURES, variants, starts: STARTS }))).toMatch(
      /^variants of system 6: -: it gets no image: musl$/m,
    );
  });
});
