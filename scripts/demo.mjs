// `npm run demo`: winnow on real programs of this machine, as a person would use it. Installs and builds
// what is missing; records each program, builds its image, verifies it, runs it both ways warm and cold,
// and puts the figures in one table. Everything it makes lies in .demo/ and is made anew each time.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, rmSync, statfsSync, utimesSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import {
  build,
  CHECKOUT,
  checkKoffi,
  checkMachine,
  installDependencies,
  installPackages,
  isThere,
  SetupError,
  say,
} from './setup.mjs';

const WINNOW = join(CHECKOUT, 'bin', 'winnow');
const ROUNDS = 12;
const TMPFS = 0x01021994;
const styled = process.stdout.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb';
const bold = (text) => (styled ? `\x1b[1m${text}\x1b[22m` : text);
const print = (text = '') => void process.stdout.write(`${text}\n`);
const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

/** Where the demo works: not in memory, where there is nothing to fetch. */
function chooseFolder() {
  const own = join(CHECKOUT, '.demo');
  if (statfsSync(CHECKOUT).type !== TMPFS) return own;
  const other = `/var/tmp/winnow-demo-${process.getuid()}`;
  say(`the checkout is on a file system in memory: the demo works in ${other}`);
  return other;
}

class Demo {
  #env;
  /** What the last measurements said, by program. */
  results = [];
  failures = 0;

  constructor(folder) {
    this.folder = folder;
    this.#env = { ...process.env, XDG_DATA_HOME: join(folder, 'data') };
    // winnow notes what its caller's environment and descriptors are; a demo inside a demo must not.
    for (const name of Object.keys(this.#env)) if (name.startsWith('WINNOW_')) delete this.#env[name];
  }

  /** Shows a command as a person would type it, then runs it; undefined where it failed. */
  run(file, args, { cwd, shown, capture = false, env = {} }) {
    print(`\n${bold(`$ ${[shown, ...args].map(quoted).join(' ')}`)}`);
    const done = spawnSync(file, args, {
      cwd,
      encoding: 'utf8',
      stdio: ['ignore', ...(capture ? ['pipe', 'pipe'] : ['inherit', 'inherit'])],
      env: { ...this.#env, ...env },
      maxBuffer: 1 << 28,
    });
    if (done.status === 0) return done;
    if (capture) process.stderr.write(done.stderr ?? '');
    print(`failed: ${done.error?.message ?? `exit code ${done.status ?? done.signal}`}`);
    this.failures += 1;
    return undefined;
  }

  winnow(program, ...args) {
    return this.run(WINNOW, args, { cwd: program.folder, shown: 'winnow' });
  }

  /** Record twice, so that a second run merges; then everything up to the figures. */
  show(program) {
    print(`\n${bold(`== ${program.title}`)}`);
    const command = ['--', ...program.argv];
    const inFolder = program.needsFolder ? ['--in', '.'] : [];
    const steps = [
      ['record', ...command],
      ['record', ...command],
      ...(program.tour ? [['report', ...command]] : []),
      ['build', ...command],
      ['verify', ...inFolder, ...command],
    ];
    for (const step of steps) if (this.winnow(program, ...step) === undefined) return;
    if (program.tour) this.#install(program);
    const words = ['bench', '--json', '--runs', String(ROUNDS), ...command];
    const measured = this.run(WINNOW, words, { cwd: program.folder, shown: 'winnow', capture: true });
    if (measured === undefined) return;
    this.results.push({ title: program.title, report: JSON.parse(measured.stdout) });
    print(`measured: ${ROUNDS} rounds, plain and image in turn; the figures stand in the table below`);
  }

  /** An installed image needs neither winnow nor Node. */
  #install(program) {
    const bin = join(this.folder, 'bin');
    const options = { cwd: program.folder };
    const shownBin = relative(program.folder, bin);
    if (this.winnow(program, 'install', 'node-e-0', '--dir', shownBin) === undefined) return;
    const name = join(bin, 'node');
    this.run(name, ['-p', '6 * 7'], { ...options, shown: join(shownBin, 'node') });
  }
}

/** A repository with some files, one of them changed. */
function makeRepository(folder) {
  mkdirSync(folder, { recursive: true });
  for (let i = 0; i < 200; i += 1) {
    mkdirSync(join(folder, `d${i % 20}`), { recursive: true });
    const file = join(folder, `d${i % 20}`, `file${i}`);
    writeFileSync(file, `${i}\n`.repeat(i));
    // Old files: git reads those again that are as young as its index.
    utimesSync(file, 1_700_000_000, 1_700_000_000);
  }
  const git = (...args) => spawnSync('git', args, { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] });
  git('init', '-q');
  git('add', '-A');
  git('-c', 'user.name=demo', '-c', 'user.email=demo@example.org', 'commit', '-qm', 'first');
  writeFileSync(join(folder, 'new'), 'new\n');
}

function choosePrograms(folder) {
  const work = join(folder, 'work');
  mkdirSync(work, { recursive: true });
  // A copy: what a running process has mapped stays in memory, and winnow itself runs on Node.
  copyFileSync(process.execPath, join(work, 'node'));
  const programs = [{ title: 'node -e 0', argv: ['./node', '-e', '0'], folder: work, tour: true }];
  if (isThere('git')) {
    const repository = join(folder, 'repository');
    makeRepository(repository);
    programs.push({
      title: 'git status',
      argv: ['git', 'status', '--short'],
      folder: repository,
      needsFolder: true,
    });
  }
  if (isThere('python3')) {
    const has = (module) =>
      spawnSync('python3', ['-c', `import ${module}`], { stdio: 'ignore' }).status === 0;
    const module = ['numpy', 'json, argparse, decimal, email.message, http.client'].find(has);
    if (module !== undefined) {
      const title = `python3, import ${module.length > 20 ? `${module.slice(0, 17)}…` : module}`;
      programs.push({ title, argv: ['python3', '-c', `import ${module}`], folder: work });
    }
  }
  // Pages that are not on the disk yet cannot be dropped from memory.
  spawnSync('sync');
  return programs;
}

const ms = (value) => `${value.toFixed(value < 10 ? 2 : 1)} ms`;
const mebibytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

function rowOf(title, section) {
  const of = (name) => section.modes.find((mode) => mode.name === name);
  const [plain, image] = [of('plain'), of('image')];
  const time = ({ wallMs }) => `${ms(wallMs.median)} ±${ms(wallMs.mad)}`;
  const [low, high] = image.speedup.interval;
  const read = ({ diskBytes }) => (diskBytes === undefined ? '' : mebibytes(diskBytes.median));
  return [
    title,
    section.temperature,
    time(plain),
    time(image),
    `${image.speedup.median.toFixed(2)}x`,
    `${low.toFixed(2)}-${high.toFixed(2)}`,
    read(plain),
    read(image),
  ];
}

function printTable(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  for (const row of rows) {
    const cells = row.map((cell, i) => (i < 2 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])));
    print(cells.join('  ').trimEnd());
  }
}

/** What the figures say in words, also where they say that nothing was gained. */
function verdictOf(title, section) {
  const image = section.modes.find((mode) => mode.name === 'image');
  const [low, high] = image.speedup.interval;
  if (section.temperature === 'warm') {
    if (low <= 1 && high >= 1) return `${title}, warm: no difference, and none is expected`;
    // From the ratio, not from the medians: these drift with the machine.
    const { median } = image.speedup;
    const of = section.modes.find((mode) => mode.name === 'plain').wallMs.median;
    const percent = Math.abs(100 / median - 100);
    const by = `${percent.toFixed(1)} % (about ${ms((of * percent) / 100)})`;
    return `${title}, warm: ${median < 1 ? 'slower' : 'faster'} by ${by}`;
  }
  if (low > 1) return `${title}, cold: starts ${image.speedup.median.toFixed(2)} times as fast`;
  if (high < 1) return `${title}, cold: slower with the image on this machine`;
  return `${title}, cold: no gain that this measurement can tell`;
}

const COLD_WORDS = {
  'drop-caches': 'all caches of the machine dropped before each run',
  fadvise: 'the files of the profile dropped from memory before each run; path look-ups stay warm',
};

function printResults(results) {
  const sections = results.flatMap(({ title, report }) =>
    report.sections.map((section) => ({ title, section })),
  );
  print(`\n${bold('== The gain')}\n`);
  const head = ['program', 'start', 'plain', 'image', 'speed-up', '95 %', 'read plain', 'read image'];
  printTable([head, ...sections.map(({ title, section }) => rowOf(title, section))]);
  const method = sections.find(({ section }) => section.cold !== undefined)?.section.cold.method;
  print(
    `\nMedians of ${ROUNDS} rounds ± median absolute deviation; both ways in random order in each round.`,
  );
  print('speed-up: median of the ratios within the rounds, with its 95 % interval.');
  if (method !== undefined) print(`cold: ${COLD_WORDS[method] ?? method}.`);
  print();
  for (const { title, section } of sections) print(verdictOf(title, section));
  for (const { title, report } of results) {
    for (const text of report.unmeasured) print(`${title}: not measured: ${text}`);
    for (const { code, text } of report.warnings) if (code !== 'very-short') print(`${title}: ${text}`);
  }
  const [device] = results[0].report.machine.devices;
  if (device?.readAheadKib > 256) {
    print(
      `The kernel reads ahead ${device.readAheadKib} KiB on this disk (128 is usual): plain starts gain by that.`,
    );
  }
}

function main() {
  checkMachine();
  if (installPackages({ gcc: ['gcc'] }).length > 0) throw new SetupError('winnow’s C runtime needs gcc');
  installDependencies();
  checkKoffi();
  say('building');
  if (!build()) throw new SetupError('the build failed: its messages stand above');

  const folder = chooseFolder();
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const demo = new Demo(folder);
  print(`The demo works in ${folder}: XDG_DATA_HOME is ${join(folder, 'data')}.`);
  print(`winnow is ${WINNOW}.`);
  for (const program of choosePrograms(folder)) demo.show(program);
  if (demo.results.length > 0) printResults(demo.results);
  print(`\n${Math.round(process.uptime())} s in all. To remove what the demo made: rm -r ${quoted(folder)}`);
  process.exitCode = demo.failures > 0 ? 1 : 0;
}

try {
  main();
} catch (error) {
  say(error instanceof SetupError ? `demo: ${error.message}` : error.stack);
  process.exitCode = 1;
}
