/** The programs that `select` is measured with: what is recorded, and what is timed. */
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ENVIRONMENT, PROGRAMS } from './programs.ts';
import { shell } from './sh.ts';

export interface Workload {
  readonly name: string;
  readonly title: string;
  /** Debian packages that bring it. */
  readonly packages: readonly string[];
  /** Makes its files in its folder and says what to run there. */
  readonly setUp: (folder: string) => Invocation;
  /** In the tables of pages; the others are only timed. */
  readonly pages: boolean;
  /** More words that make it say what it computed; they lead to code that was not recorded. */
  readonly talking?: readonly string[];
  /** In the tables of run time. */
  readonly timed: boolean;
  /** The share of text pages that the paper saved on it, and which libraries it was about. */
  readonly paper?: { readonly saved: number; readonly libraries: RegExp };
}

export interface Invocation {
  /** Absolute path. */
  readonly file: string;
  readonly args: readonly string[];
}

const PETSC = ['libpetsc-real3.18-dev', 'libpetsc3.18-dev-examples', 'openmpi-bin'];
const PETSC_SOURCES = '/usr/share/petsc/3.18/share/petsc/examples/src';
/** The kinds of libraries that the paper's case study was about: PETSc's and MPI's. */
const PAPER = { saved: { ex5: 0.8278, ex2: 0.8241 }, libraries: /lib(petsc|mpi|open-pal|open-rte)/ };

const petscExample =
  (name: string, source: string) =>
  (folder: string): Invocation => {
    copyFileSync(join(PETSC_SOURCES, source), join(folder, `${name}.c`));
    shell(
      'cd "$1"; mpicc -O1 -g $(pkg-config --cflags PETSc) "$2.c" $(pkg-config --libs PETSc) -lm -o "$2"',
      folder,
      name,
    );
    return { file: join(folder, name), args: [] };
  };

const inkscape = PROGRAMS.find(({ name }) => name === 'inkscape');

/** Objects, calls, dictionaries, strings, exceptions: the interpreter's own work, for over ten seconds. */
const PYTHON_BENCHMARK = `
import hashlib
class Node:
    __slots__ = ('left', 'right', 'value')
    def __init__(self, value, left=None, right=None):
        self.value, self.left, self.right = value, left, right
    def total(self):
        return self.value + (self.left.total() if self.left else 0) + (self.right.total() if self.right else 0)
def tree(depth):
    return Node(depth) if depth == 0 else Node(depth, tree(depth - 1), tree(depth - 1))
def words(n):
    counts = {}
    for i in range(n):
        word = 'w%d' % (i * 7919 % 1009)
        counts[word] = counts.get(word, 0) + 1
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:3]
def failing(n):
    caught = 0
    for i in range(n):
        try:
            [][i]
        except IndexError:
            caught += 1
    return caught
def primes(n):
    sieve = bytearray([1]) * n
    for i in range(2, int(n ** 0.5) + 1):
        if sieve[i]:
            sieve[i * i::i] = bytes(len(range(i * i, n, i)))
    return sum(sieve) - 2
out = []
for step in range(32):
    out.append((tree(15).total(), words(400000), failing(400000), primes(200000), sum(x * x % 7 for x in range(700000))))
print(hashlib.sha256(repr(out).encode()).hexdigest())
`;

const SQL = `
PRAGMA journal_mode = OFF;
CREATE TABLE a(i INTEGER PRIMARY KEY, b INTEGER, c TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500000)
INSERT INTO a SELECT i, (i * 7919) % 100003, printf('row %d of %d', i, (i * 31) % 977) FROM n;
CREATE INDEX a_b ON a(b);
SELECT count(*), sum(b), max(c) FROM a WHERE b BETWEEN 1000 AND 60000;
SELECT b % 10, count(*), avg(length(c)) FROM a GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM a x JOIN a y ON x.b = y.i WHERE y.c LIKE '%7 of 1%';
UPDATE a SET c = upper(c) WHERE b % 3 = 0;
DELETE FROM a WHERE i % 5 = 0;
SELECT count(*), sum(i), total(b) FROM a WHERE c GLOB 'ROW*';
SELECT json_group_array(i) FROM (SELECT i FROM a ORDER BY c DESC LIMIT 20);
`;

export const WORKLOADS: readonly Workload[] = [
  {
    name: 'ex5',
    title: 'PETSc snes ex5',
    packages: PETSC,
    setUp: petscExample('ex5', 'snes/tutorials/ex5.c'),
    pages: true,
    talking: ['-snes_monitor', '-snes_view'],
    timed: true,
    paper: { saved: PAPER.saved.ex5, libraries: PAPER.libraries },
  },
  {
    name: 'ex2',
    title: 'PETSc ksp ex2',
    packages: PETSC,
    setUp: petscExample('ex2', 'ksp/ksp/tutorials/ex2.c'),
    pages: true,
    talking: ['-ksp_monitor', '-ksp_view'],
    timed: true,
    paper: { saved: PAPER.saved.ex2, libraries: PAPER.libraries },
  },
  {
    name: 'ex5-mpi',
    title: 'mpirun -n 2 ex5',
    packages: PETSC,
    setUp: (folder) => {
      const { file } = petscExample('ex5', 'snes/tutorials/ex5.c')(folder);
      return { file: '/usr/bin/mpirun', args: ['--allow-run-as-root', '--oversubscribe', '-n', '2', file] };
    },
    pages: true,
    talking: ['-snes_monitor', '-snes_view'],
    timed: false,
  },
  {
    name: 'numpy',
    title: 'python3 import numpy',
    packages: ['python3', 'python3-numpy'],
    setUp: () => ({ file: '/usr/bin/python3', args: ['-c', 'import numpy'] }),
    pages: true,
    timed: true,
  },
  {
    name: 'inkscape',
    title: 'inkscape svg to png',
    packages: ['inkscape'],
    setUp: (folder) => {
      inkscape?.setUp?.(folder);
      return { file: '/usr/bin/inkscape', args: inkscape?.args ?? [] };
    },
    pages: true,
    timed: true,
  },
  {
    name: 'python',
    title: 'python3, 10 s of interpreting',
    packages: ['python3'],
    setUp: (folder) => {
      writeFileSync(join(folder, 'benchmark.py'), PYTHON_BENCHMARK);
      return { file: '/usr/bin/python3', args: ['benchmark.py'] };
    },
    pages: false,
    timed: true,
  },
  {
    name: 'sqlite3',
    title: 'sqlite3, a script of queries',
    packages: ['sqlite3'],
    setUp: (folder) => {
      writeFileSync(join(folder, 'queries.sql'), SQL);
      return { file: '/usr/bin/sqlite3', args: [':memory:', '.read queries.sql'] };
    },
    pages: false,
    timed: true,
  },
];

/** The environment of every run; MPI's own folders go where they can be removed. */
export function workloadEnvironment(home: string): Readonly<Record<string, string>> {
  mkdirSync(home, { recursive: true });
  return { ...ENVIRONMENT, HOME: home, TMPDIR: home };
}
