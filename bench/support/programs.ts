/** The programs that are measured, with the files they work on. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { WinnowError } from '../../src/base/errors.ts';
import { shell, tool } from './sh.ts';

export interface BenchProgram {
  readonly name: string;
  readonly title: string;
  /** Found on PATH. */
  readonly program: string;
  readonly args: readonly string[];
  /** Debian packages that bring it. */
  readonly packages: readonly string[];
  /** Folders that it lists or whose times it checks: copied whole. */
  readonly also: readonly string[];
  /** Makes the files it works on, in its current folder. */
  readonly setUp?: (folder: string) => void;
  /** Only a vehicle for the launcher's own cost: not in the cold tables. */
  readonly tiny?: boolean;
}

/** Fresh before each run, on the host and in the mount. */
export const SCRATCH = '/tmp/winnow-bench';

const FONTS = [
  '/etc/fonts',
  '/usr/share/fonts',
  '/usr/local/share/fonts',
  '/var/cache/fontconfig',
  '/usr/share/fontconfig',
];

export const PROGRAMS: readonly BenchProgram[] = [
  {
    name: 'git',
    title: 'git status',
    program: 'git',
    args: ['status'],
    packages: ['git'],
    also: [],
    setUp: (folder) => {
      for (let i = 0; i < 300; i += 1) {
        mkdirSync(join(folder, `d${i % 20}`), { recursive: true });
        writeFileSync(join(folder, `d${i % 20}`, `file${i}`), `${i}\n`.repeat(i));
      }
      shell(
        // Old files: git reads those again that are as young as its index.
        'cd "$1"; find . -type f -exec touch -d 2024-01-01 {} +; git init -q .; git add -A; git -c user.name=A -c user.email=a@example.org commit -qm first; echo new > untracked',
        folder,
      );
    },
  },
  {
    name: 'gcc',
    title: 'gcc hello.c',
    program: 'gcc',
    args: ['hello.c', '-o', `${SCRATCH}/hello`],
    packages: ['gcc', 'libc6-dev'],
    also: [],
    setUp: (folder) =>
      writeFileSync(
        join(folder, 'hello.c'),
        '#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n',
      ),
  },
  {
    name: 'python',
    title: 'python3 import numpy',
    program: '/usr/bin/python3',
    args: ['-c', 'import numpy'],
    packages: ['python3', 'python3-numpy'],
    also: [],
  },
  { name: 'node', title: 'node -e 0', program: 'node', args: ['-e', '0'], packages: [], also: [] },
  {
    name: 'R',
    title: 'Rscript -e 1',
    program: 'Rscript',
    args: ['-e', '1'],
    packages: ['r-base-core'],
    also: ['/etc/R'],
  },
  {
    name: 'inkscape',
    title: 'inkscape svg to png',
    program: 'inkscape',
    args: ['drawing.svg', '--export-type=png', `--export-filename=${SCRATCH}/out.png`],
    packages: ['inkscape'],
    also: [...FONTS, '/usr/share/inkscape', '/usr/share/icons/hicolor', '/usr/share/glib-2.0/schemas'],
    setUp: (folder) => writeFileSync(join(folder, 'drawing.svg'), DRAWING),
  },
  {
    name: 'chromium',
    title: 'chromium --dump-dom about:blank',
    program: 'chromium',
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      `--user-data-dir=${SCRATCH}/chromium`,
      '--dump-dom',
      'about:blank',
    ],
    packages: ['chromium'],
    also: [...FONTS, '/etc/chromium', '/etc/chromium.d'],
  },
  { name: 'true', title: 'true', program: 'true', args: [], packages: ['coreutils'], also: [], tiny: true },
];

const DRAWING = `<svg xmlns="http://www.w3.org/2000/svg" width="200" height="120">
<defs><linearGradient id="g"><stop offset="0" stop-color="#205080"/><stop offset="1" stop-color="#e0f0ff"/></linearGradient></defs>
<rect width="200" height="120" fill="url(#g)"/><circle cx="60" cy="60" r="40" fill="#c03030" fill-opacity="0.7"/>
<text x="90" y="70" font-size="20" font-family="sans-serif">winnow</text></svg>
`;

/** The environment of every run: the same on the host, where programs are recorded, and in the mount. */
export const ENVIRONMENT: Readonly<Record<string, string>> = {
  PATH: [
    ...new Set([dirname(process.execPath), '/usr/local/bin', '/usr/bin', '/bin', '/usr/sbin', '/sbin']),
  ].join(delimiter),
  HOME: `${SCRATCH}/home`,
  LANG: 'C.UTF-8',
};

/** Absolute path of a program, symbolic links kept. @throws WinnowError `E_BENCH_PROGRAM` */
export function findProgram(program: string): string {
  const places = program.includes('/')
    ? [program]
    : (ENVIRONMENT.PATH ?? '').split(delimiter).map((folder) => join(folder, program));
  const found = places.find((path) => existsSync(path));
  if (found !== undefined) return found;
  throw new WinnowError({
    code: 'E_BENCH_PROGRAM',
    kind: 'environment',
    what: 'a program to measure is not installed',
    where: program,
    next: 'leave out --no-install, or choose other --programs',
  });
}

/** Installs the Debian packages that are missing. Needs apt-get and root. */
export function installMissing(packages: readonly string[]): void {
  const missing = packages.filter((name) => {
    const status = shell('dpkg -s "$1" 2>/dev/null | sed -n "s/^Status: //p"', name);
    return !status.startsWith('install ok installed');
  });
  if (missing.length === 0) return;
  process.stderr.write(`installing ${missing.join(' ')}\n`);
  tool('apt-get', 'install', '-y', '-q', '--no-install-recommends', ...missing);
}
