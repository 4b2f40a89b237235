/**
 * CPython's own tests, run by python3 as it is and by a python3 of which every function of every module is copied, or
 * which starts linked: the same ones pass, fail and are skipped.
 *
 * The tests are those of Debian's libpython3.11-testsuite, unpacked beside copies of the folders that they belong
 * to, as the package would otherwise want to upgrade python3. Debian's package leaves test_sqlite3 out.
 */
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { CopiedImage, chooseTechnique, type Technique } from './support/copied-image.ts';
import { type ModuleResult, openReport, renderTests } from './support/differential-report.ts';
import { COMMON_OPTIONS, exitCodeOf, parseSuiteArgs } from './support/main.ts';
import { installMissing } from './support/programs.ts';
import { replaceBlock, writeJson } from './support/report-files.ts';
import { shell } from './support/sh.ts';
import type { MissedStarts } from './support/share-json.ts';
import { REPOSITORY } from './support/winnow.ts';

const MODULES = [
  'test_ctypes',
  'test_signal',
  'test_subprocess',
  'test_threading',
  'test_mmap',
  'test_faulthandler',
  'test_exceptions',
  'test_json',
  'test_re',
];
const USAGE = `usage: npm run bench:cpython-tests -- [options]      (as root)
  --modules a,b    of ${MODULES.join(', ')} (default: all)
  --technique T    select (default): every function is copied; share: linked images; prelink: prelinked libraries
  --json FILE      where the results go (default bench/results/cpython-tests.json, or cpython-tests-share.json, ..., for a
                   whole run, which docs/measurements.md gets, too)
  --no-install     do not install missing Debian packages
`;
/**
 * Tests that never end here, with copies or without: their child is started with -I, does not see PYTHONPATH, and waits for
 * threads that could not import the tests.
 */
const LEFT_OUT: readonly string[] = ['test_4_daemon_threads'];
const PYTHON = '/usr/bin/python3';
/** A test that ends otherwise is tried anew so often, by both: some depend on what else the machine does. */
const TRIES = 3;

/** All of the interpreter's extension modules, and a child. */
const USE_ALL = `
import glob, importlib, os, subprocess, sysconfig, threading
for path in sorted(glob.glob(sysconfig.get_path('platstdlib') + '/lib-dynload/*.so')):
    try: importlib.import_module(os.path.basename(path).split('.')[0])
    except ImportError: pass
threading.Thread(target=print).start()
subprocess.run(['sh', '-c', 'true'])
`;

/** The name under which an outcome is that of the whole module. */
const WHOLE = 'the whole';

process.exitCode = await exitCodeOf(() => main(process.argv.slice(2)));

async function main(args: readonly string[]): Promise<number> {
  const { values } = parseSuiteArgs(
    {
      args: [...args],
      options: {
        ...COMMON_OPTIONS,
        modules: { type: 'string' },
        technique: { type: 'string', default: 'select' },
      },
    },
    USAGE,
  );
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  if (!values['no-install']) installMissing(['python3.11', 'libpython3.11-stdlib']);
  const modules = values.modules?.split(',') ?? MODULES;
  const technique = chooseTechnique(values.technique, USAGE);
  const head = openReport(technique);
  const found = suite(modules, technique);
  const report = { ...head, ...found };
  const whole = values.modules === undefined;
  const name = technique === 'select' ? 'cpython-tests' : `cpython-tests-${technique}`;
  const json = values.json ?? (whole ? join(REPOSITORY, 'bench', 'results', `${name}.json`) : undefined);
  if (json !== undefined) writeJson(resolve(json), 'bench-cpython-tests', report);
  const text = renderTests(report);
  if (whole) replaceBlock(join(REPOSITORY, 'docs', 'measurements.md'), name, text);
  process.stdout.write(text);
  return found.modules.every(({ differences }) => differences.length === 0) ? 0 : 1;
}

interface Found {
  readonly modules: readonly ModuleResult[];
  /** Undefined with select. */
  readonly missed?: readonly MissedStarts[];
}

function suite(modules: readonly string[], technique: Technique): Found {
  // Not under /tmp: what lies there is temporary, and temporary files are left out of a profile.
  const folder = mkdtempSync(join(REPOSITORY, 'dist', 'cpython-'));
  chmodSync(folder, 0o755);
  try {
    const library = unpackTests(folder);
    const env = { PYTHONPATH: library, PYTHONDONTWRITEBYTECODE: '1' };
    const image = new CopiedImage('cpython', folder, [PYTHON, '-c', USE_ALL], env);
    if (technique === 'select') {
      image.record();
      image.build('file');
      image.countShown([PYTHON, '-c', 'print(open("/proc/self/maps").read())']);
    } else {
      process.stdout.write(`linked: ${image.buildLinked(technique).linked.join(' ')}\n`);
    }
    const results = modules.map((module) => {
      const result = compareModule(image, module);
      process.stdout.write(describe(result));
      return result;
    });
    return { modules: results, ...(technique === 'select' ? {} : { missed: image.missedStarts() }) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** @returns the folder for PYTHONPATH. */
function unpackTests(folder: string): string {
  const library = join(folder, 'library');
  const packed = join(folder, 'packed');
  for (const made of [library, packed]) mkdirSync(made);
  shell(
    `cd "$1"; chmod 777 .; apt-get download -qq libpython3.11-testsuite 2>&1; dpkg -x *.deb .
for new in usr/lib/python3.11/*/; do old=/usr/lib/python3.11/$(basename "$new")
if [ -d "$old" ]; then cp -r "$old" "$2"; fi; cp -r "$new" "$2"; done`,
    packed,
    library,
  );
  return library;
}

function compareModule(image: CopiedImage, module: string): ModuleResult {
  const words = [PYTHON, '-m', 'test', '-v', ...LEFT_OUT.flatMap((name) => ['--ignore', name]), module];
  const first = outcomesOf(image.runOriginal(words));
  let differing = differences(first, outcomesOf(image.runImage(words)));
  const atFirst = differing;
  for (let i = 1; i < TRIES && differing.length > 0; i++) {
    const again = differences(outcomesOf(image.runOriginal(words)), outcomesOf(image.runImage(words)));
    differing = differing.filter((text) => again.includes(text));
  }
  const outcomes: Record<string, number> = {};
  for (const [name, outcome] of first) if (name !== WHOLE) outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
  const unsteady = atFirst.filter((text) => !differing.includes(text));
  const end = first.get(WHOLE) ?? '';
  return { module, tests: first.size - 1, end, outcomes, differences: differing, unsteady };
}

/** How each test ended, by its full name: `ok`, `FAIL`, `ERROR`, `skipped`, `expected failure`; and the whole. */
function outcomesOf({ end, stdout, stderr }: { end: unknown; stdout: string; stderr: string }) {
  const outcomes = new Map<string, string>([[WHOLE, String(end)]]);
  let name = '';
  // What a test prints may stand between its name and its end.
  for (const line of `${stdout}\n${stderr}`.split('\n')) {
    name = /^\w+ \((\S+)\)/.exec(line)?.[1] ?? name;
    const outcome = /(?:^|\.\.\. )(ok|FAIL|ERROR|skipped|expected failure)(?: .*)?$/.exec(line)?.[1];
    if (outcome === undefined || name === '') continue;
    outcomes.set(name, outcome);
    name = '';
  }
  return outcomes;
}

function differences(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): string[] {
  const names = [...new Set([...before.keys(), ...after.keys()])];
  return names
    .filter((name) => before.get(name) !== after.get(name))
    .map((name) => `${name}: ${before.get(name) ?? 'not run'} became ${after.get(name) ?? 'not run'}`);
}

function describe({ module, tests, outcomes, differences: found, unsteady }: ModuleResult): string {
  const counts = Object.entries(outcomes).map(([outcome, count]) => `${count} ${outcome}`);
  const verdict = found.length === 0 ? 'same' : `DIFFERS: ${found.join('; ')}`;
  const again = unsteady.length === 0 ? '' : `, ${unsteady.length} only when tried again`;
  return `${module}: ${tests} tests (${counts.join(', ')}): ${verdict}${again}\n`;
}
