// `npm test`: installs what is missing, builds, checks types and style, runs every test. The last line of
// the output is `N passed, N failed`, with `, N skipped` where there are such; the exit code is 1 when
// anything failed, the build, the type check and the style check included.
// usage: node scripts/test.mjs [FILE...] (only the test files whose path contains FILE)
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { TEST_PACKAGES } from './packages.mjs';
import {
  build,
  CHECKOUT,
  checkKoffi,
  checkMachine,
  IS_ROOT,
  installDependencies,
  installPackages,
  SetupError,
  say,
  succeeds,
} from './setup.mjs';

const TESTS_END_AFTER_MS = 25 * 60_000;
const IN_CI = Boolean(process.env.CI);
// With CI set, vitest writes colours into files too.
const PLAIN = process.stdout.isTTY === true ? {} : { NO_COLOR: '1' };
const totals = { passed: 0, failed: 0, skipped: 0 };

/** One step that counts like a test. */
function step(name, body) {
  say(`\n== ${name}`);
  const good = body();
  totals[good ? 'passed' : 'failed'] += 1;
  if (!good) say(`FAILED: ${name}`);
  return good;
}

const tool = (path, ...args) => succeeds(process.execPath, [join('node_modules', path), ...args]);

async function runTests(files) {
  const folder = mkdtempSync(join(tmpdir(), 'winnow-counts-'));
  const counts = join(folder, 'counts.json');
  try {
    const reporters = ['--reporter=default', '--reporter=./scripts/count-reporter.mjs'];
    const words = ['node_modules/vitest/vitest.mjs', 'run', ...reporters, ...files];
    const command = [...reachableWay(join(folder, 'checkout')), process.execPath, ...words];
    const good = await endsWell(command, { ...PLAIN, WINNOW_TEST_COUNTS: counts });
    const counted = readCounts(counts);
    for (const key of Object.keys(totals)) totals[key] += counted[key];
    // vitest knows failures that no test stands for.
    if (!good && counted.failed === 0) totals.failed += 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Makes the folder $1 another name of the checkout $0 in this mount namespace, and runs the rest there. */
const BIND = 'at=$1; mount --bind "$0" "$at" && cd "$at" && shift && exec "$@"';

/**
 * Some tests, run by root, become another user, who cannot reach a checkout below a closed folder such as
 * /root. What to put in front of a command so that it runs in an open place, in a mount namespace of its
 * own; nothing where the checkout can be reached, or where that is not allowed.
 */
function reachableWay(place) {
  const isOpen = (path) => (statSync(path).mode & 0o005) === 0o005;
  const above = (path) => (dirname(path) === path ? [path] : [path, ...above(dirname(path))]);
  if (!IS_ROOT || above(dirname(CHECKOUT)).every(isOpen)) return [];
  mkdirSync(place);
  chmodSync(dirname(place), 0o755);
  const way = ['unshare', '--mount', 'sh', '-c', BIND, CHECKOUT, place];
  if (succeeds(way[0], [...way.slice(1), 'true'])) return way;
  say(`other users cannot reach ${CHECKOUT}: tests that become one of them will fail`);
  return [];
}

/** Runs a command in a process group of its own, so that a test that hangs can be ended with all it started. */
async function endsWell([file, ...words], env) {
  const child = spawn(file, words, {
    cwd: CHECKOUT,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, ...env },
    detached: true,
  });
  const endGroup = (signal) => {
    try {
      process.kill(-child.pid, signal);
    } catch {
      // Nobody is left in it.
    }
  };
  const timer = setTimeout(() => {
    say(`FAILED: the tests took more than ${TESTS_END_AFTER_MS / 60_000} minutes`);
    endGroup('SIGKILL');
  }, TESTS_END_AFTER_MS);
  const passOn = (signal) => endGroup(signal);
  process.on('SIGINT', passOn).on('SIGTERM', passOn);
  const [code] = await once(child, 'exit');
  clearTimeout(timer);
  process.off('SIGINT', passOn).off('SIGTERM', passOn);
  endGroup('SIGKILL');
  return code === 0;
}

function readCounts(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    say('FAILED: vitest ended before it could count its tests');
    return { passed: 0, failed: 1, skipped: 0 };
  }
}

async function main(files) {
  checkMachine();
  const missing = installPackages(TEST_PACKAGES);
  if (missing.length > 0 && IN_CI) totals.failed += 1;
  if (missing.length > 0 && !IN_CI) say('tests that need them are skipped, and say so by name');
  installDependencies();
  checkKoffi();
  step('build', build);
  step('type check', () => tool('typescript/bin/tsc', '-p', 'tsconfig.json', '--noEmit'));
  // Biome's binary itself: its wrapper package asks for binaries of every platform.
  step('style check', () => succeeds('node_modules/@biomejs/cli-linux-x64/biome', ['check', '.']));
  say('\n== tests');
  await runTests(files);
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  totals.failed += 1;
  say(error instanceof SetupError ? `FAILED: ${error.message}` : error.stack);
}
const skipped = totals.skipped === 0 ? '' : `, ${totals.skipped} skipped`;
process.exitCode = totals.failed === 0 ? 0 : 1;
process.stdout.write(`\n${totals.passed} passed, ${totals.failed} failed${skipped}\n`);
