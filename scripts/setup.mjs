// What `npm test` and `npm run demo` do before they start: Debian packages, npm's packages, the build.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const CHECKOUT = join(dirname(fileURLToPath(import.meta.url)), '..');
export const IS_ROOT = process.getuid?.() === 0;

/** Something a person can cure; printed without a stack. */
export class SetupError extends Error {}

/** Talk goes to stderr: stdout is for results. */
export const say = (text) => void process.stderr.write(`${text}\n`);

/** Whether a command is on PATH (or where Debian puts an administrator's), or an absolute path exists. */
export function isThere(need) {
  if (need.startsWith('/')) return existsSync(need);
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  return folders.some((folder) => existsSync(join(folder, need)));
}

/** The packages of `table` (package: what shows that it is there) of which something is missing. */
export function missingPackages(table) {
  return Object.entries(table).flatMap(([name, needs]) => (needs.every(isThere) ? [] : [name]));
}

/** Runs a command with its output shown; whether it ended well. */
export function succeeds(command, args, options = {}) {
  const { env, ...others } = options;
  const done = spawnSync(command, args, {
    cwd: CHECKOUT,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, ...env },
    ...others,
  });
  if (done.error !== undefined) say(`${command}: ${done.error.message}`);
  return done.status === 0;
}

/** Throws a SetupError where this machine or this Node cannot run winnow at all. */
export function checkMachine() {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new SetupError(`winnow runs on Linux x86-64, this is ${process.platform} ${process.arch}`);
  }
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    throw new SetupError(`winnow needs Node 20.19 or newer, this is ${process.versions.node}`);
  }
  // bin/winnow looks for node on PATH; this Node may have been started by its full path.
  if (!isThere('node')) process.env.PATH = `${dirname(process.execPath)}:${process.env.PATH ?? ''}`;
}

/**
 * Installs the packages of `table` that are missing, with apt-get, as root.
 *
 * @returns the names of those that are missing still; the reason and the cure have been said then.
 */
export function installPackages(table) {
  const missing = missingPackages(table);
  if (missing.length === 0) return [];
  const cure = `apt-get install --no-install-recommends ${missing.join(' ')}`;
  if (!IS_ROOT || !isThere('apt-get')) {
    say(`not installed: ${missing.join(', ')}; as root: ${cure}`);
    return missing;
  }
  say(`installing with apt-get: ${missing.join(', ')}`);
  const env = { DEBIAN_FRONTEND: 'noninteractive' };
  // Installing may work with the lists that are there: a failed update alone is no reason to give up.
  if (!succeeds('apt-get', ['-qq', 'update'], { env })) say('apt-get update failed');
  const options = ['-qq', '-y', '--no-install-recommends', '-o', 'Dpkg::Use-Pty=0'];
  // apt-get's stdout is talk too.
  const stdio = ['ignore', 2, 2];
  if (!succeeds('apt-get', ['install', ...options, ...missing], { env, stdio })) {
    // One package that cannot be had must not keep the others away.
    for (const name of missing) succeeds('apt-get', ['install', ...options, name], { env, stdio });
  }
  const left = missingPackages(table);
  if (left.length > 0) say(`could not be installed: ${left.join(', ')}; see apt-get's messages above`);
  return left;
}

/** Whether node_modules holds just what package-lock.json asks for. */
export function dependenciesAreCurrent() {
  try {
    const wanted = packagesOf(join(CHECKOUT, 'package-lock.json'));
    const found = packagesOf(join(CHECKOUT, 'node_modules', '.package-lock.json'));
    const isThere = ([path, { version, optional }]) =>
      found[path] === undefined ? optional === true : found[path].version === version;
    // koffi is the one with a binary: a node_modules of another machine shows there.
    return (
      Object.entries(wanted).every(isThere) && existsSync(join(CHECKOUT, 'node_modules/koffi/package.json'))
    );
  } catch {
    return false;
  }
}

function packagesOf(lockFile) {
  const { packages } = JSON.parse(readFileSync(lockFile, 'utf8'));
  // The checkout itself; npm's own list of what is installed leaves it out.
  return Object.fromEntries(Object.entries(packages).filter(([path]) => path !== ''));
}

/** `npm ci` where node_modules is missing or out of date. */
export function installDependencies() {
  if (dependenciesAreCurrent()) return;
  say('installing the dependencies: npm ci');
  // No package needs its install script: koffi ships its binary. NODE_ENV=production would leave out the
  // compiler.
  const words = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  words.push('--include=dev', '--include=optional');
  const npm = process.env.npm_execpath;
  const stdio = ['ignore', 2, 2];
  const done =
    npm?.endsWith('.js') === true && existsSync(npm)
      ? succeeds(process.execPath, [npm, ...words], { stdio })
      : succeeds('npm', words, { stdio });
  if (!done) throw new SetupError('npm ci failed: its messages stand above');
}

/** Throws where koffi's binary does not load here; without it nothing works. */
export function checkKoffi() {
  const script = "const k = (await import('koffi')).default; k.load(null).func('int getpid()')();";
  if (!succeeds(process.execPath, ['--input-type=module', '-e', script])) {
    throw new SetupError('koffi does not load: remove node_modules and try again; musl is not supported yet');
  }
}

export const build = () => succeeds(process.execPath, ['scripts/build.mjs'], { stdio: ['ignore', 2, 2] });
