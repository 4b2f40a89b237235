/** The programs that `share` is measured with. */
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SCRATCH } from './programs.ts';
import { shell } from './sh.ts';
import { WORKLOADS } from './workloads.ts';

export interface ShareProgram {
  readonly name: string;
  readonly title: string;
  readonly packages: readonly string[];
  /** Makes its files in its folder and says what to run there. */
  readonly setUp: (folder: string) => { readonly file: string; readonly args: readonly string[] };
  /** Whether this is a start, of which the most is to be gained, or work, which must not become slower. */
  readonly kind: 'start' | 'work';
  /** A start that waits on its standard input, to stand beside others of its kind. */
  readonly waits?: { readonly file: string; readonly args: readonly string[]; readonly seconds: number };
}

const OFFICE = '/usr/lib/libreoffice/program/soffice.bin';
const PROFILE = `-env:UserInstallation=file://${SCRATCH}/office`;
const CHROMIUM = '/usr/lib/chromium/chromium';

const start = (
  name: string,
  file: string,
  args: readonly string[],
  packages: readonly string[],
  waits?: ShareProgram['waits'],
): ShareProgram => ({
  name,
  title: [name, ...args.filter((word) => word !== PROFILE)].join(' '),
  packages,
  setUp: () => ({ file, args }),
  kind: 'start',
  ...(waits === undefined ? {} : { waits }),
});

const ex5 = WORKLOADS.find(({ name }) => name === 'ex5');

/** Functions enough for a second of cc1. */
function manyFunctions(): string {
  const one = (i: number): string => `
int table_${i}[64];
int work_${i}(const char *text, int n) {
  int sum = ${i};
  for (int i = 0; i < n; i++) { table_${i}[(text[i] * 31 + sum) & 63] += i; sum = sum * 33 ^ text[i]; }
  switch (sum % 7) { case 0: return sum + 1; case 1: return sum * 3; case 2: return sum - n; case 5: return sum / 3; }
  for (int i = 0; i < 64; i++) if (table_${i}[i] > sum) sum += table_${i}[i] % (n + 1);
  return sum;
}
`;
  return Array.from({ length: 400 }, (_, i) => one(i)).join('');
}

export const SHARE_PROGRAMS: readonly ShareProgram[] = [
  start('inkscape', '/usr/bin/inkscape', ['--version'], ['inkscape'], {
    file: '/usr/bin/inkscape',
    args: ['--shell'],
    seconds: 4,
  }),
  {
    name: 'ex5',
    title: 'PETSc ex5 -version',
    packages: ex5?.packages ?? [],
    setUp: (folder) => ({ file: ex5?.setUp(folder).file ?? '', args: ['-version'] }),
    kind: 'start',
  },
  start('chromium', CHROMIUM, ['--version'], ['chromium']),
  start('soffice', OFFICE, ['--headless', '--version', PROFILE], ['libreoffice-writer-nogui']),
  start('gdb', '/usr/bin/gdb', ['--version'], ['gdb'], {
    file: '/usr/bin/gdb',
    args: ['-q', '-nx'],
    seconds: 2,
  }),
  start('python3', '/usr/bin/python3', ['-c', 'pass'], ['python3'], {
    file: '/usr/bin/python3',
    args: ['-ic', 'pass'],
    seconds: 1,
  }),
  {
    name: 'cc1',
    title: 'gcc -O2 -c, 400 functions',
    packages: ['gcc'],
    setUp: (folder) => {
      writeFileSync(join(folder, 'many.c'), manyFunctions());
      return { file: '/usr/bin/gcc', args: ['-O2', '-c', 'many.c', '-o', `${SCRATCH}/many.o`] };
    },
    kind: 'work',
  },
  {
    name: 'numpy',
    title: 'python3 import numpy',
    packages: ['python3-numpy'],
    setUp: () => ({ file: '/usr/bin/python3', args: ['-c', 'import numpy'] }),
    kind: 'work',
  },
  {
    name: 'soffice-pdf',
    title: 'soffice --convert-to pdf',
    packages: ['libreoffice-writer-nogui'],
    setUp: (folder) => {
      copyFileSync('/usr/share/common-licenses/GPL-3', join(folder, 'text.txt'));
      const profile = `-env:UserInstallation=file://${join(folder, 'office')}`;
      const args = ['--headless', profile, '--convert-to', 'pdf', '--outdir', SCRATCH, 'text.txt'];
      // The first run makes the profile, and asks to be started again.
      shell('mkdir -p "$2"; "$1" --headless "$3" --terminate_after_init || true', OFFICE, SCRATCH, profile);
      return { file: OFFICE, args };
    },
    kind: 'work',
  },
];
