// Builds winnow: TypeScript to dist/, the C runtime to dist/runtime/ with its checksums.
// usage: node scripts/build.mjs [--runtime-only]
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const out = join(root, 'dist', 'runtime');

/** The launcher in front of linked programs: an ELF interpreter, at any address, without relocations. */
const RESTORE = [
  'page-in.c',
  'page-in-calls.c',
  'restore.c',
  'restore-files.c',
  'restore-group.c',
  'restore-guards.c',
  'restore-map.c',
  'restore-misses.c',
  'restore-move.c',
  'restore-page-in.c',
  'restore-plain.c',
  'restore-slide.c',
  'restore-state.c',
];

/** Each program of the runtime with its sources: static, without libc. */
const PROGRAMS = {
  launch: ['launch.c', 'linked-programs.c', 'prefetch.c', 'prelinked-programs.c', 'show.c', 'target.c'],
  stub: ['stub.c'],
  keeper: ['keeper.c'],
  watcher: ['watcher.c'],
  'start-cost': ['start-cost.c'],
  'read-rate': ['read-rate.c'],
};

const EVERY_AUDIT = ['audit-exec.c', 'audit-start.c', 'audit-symbols.c', 'target.c'];
const AUDIT = ['audit.c', 'audit-names.c', 'audit-storage.c', ...EVERY_AUDIT];

/** Libraries of the runtime, for winnow's own process and for programs that it starts: no libc either. */
const LIBRARIES = {
  'wake.so': ['wake.c', 'look-ups.c'],
  'audit.so': AUDIT,
  'prelink.so': ['prelink.c', ...EVERY_AUDIT],
};

/** The audit object of images whose unused code is denied or stored. */
const DEMAND = [...AUDIT, 'demand.c', 'demand-load.c', 'demand-report.c', 'demand-signals.c'];

/** The recorder's part inside programs. */
const INSIDE = [
  'inside.c',
  'inside-log.c',
  'inside-pages.c',
  'inside-reads.c',
  'inside-sight.c',
  'inside-sites.c',
  'audit-storage.c',
  ...EVERY_AUDIT,
];

const LIBRARY_FLAGS = [
  '-std=c11',
  '-Os',
  '-Wall',
  '-Wextra',
  '-Werror',
  '-shared',
  '-fPIC',
  '-nostdlib',
  '-ffreestanding',
  '-fno-stack-protector',
  '-fno-asynchronous-unwind-tables',
  '-fno-builtin',
  '-fvisibility=hidden',
  '-fcf-protection=none',
  '-Wl,--build-id=none',
  '-Wl,-z,defs',
  '-Wl,-z,noexecstack',
  '-Wl,-z,norelro',
  '-Wl,-z,noseparate-code',
  '-s',
];

/** Debian's static decoder, whose functions stay inside. */
const DEMAND_FLAGS = ['-DWINNOW_DEMAND', '-mno-red-zone', '-Wl,--exclude-libs,ALL', '-Wl,--gc-sections'];
const DEMAND_LIBRARIES = ['-l:libbrotlidec.a', '-l:libbrotlicommon.a'];

const CC_FLAGS = [
  '-std=c11',
  '-Os',
  '-Wall',
  '-Wextra',
  '-Werror',
  '-static',
  '-nostdlib',
  '-nostartfiles',
  '-ffreestanding',
  '-fno-stack-protector',
  '-fno-asynchronous-unwind-tables',
  '-fno-builtin',
  '-fno-pie',
  '-no-pie',
  '-fcf-protection=none',
  '-mno-red-zone',
  '-Wl,--build-id=none',
  '-Wl,-z,noexecstack',
  '-Wl,-z,norelro',
  '-Wl,--gc-sections',
  '-Wl,-z,noseparate-code',
  '-ffunction-sections',
  '-s',
];

const RESTORE_FLAGS = [
  ...CC_FLAGS.filter((flag) => !['-static', '-fno-pie', '-no-pie'].includes(flag)),
  '-fPIE',
  '-static-pie',
  '-fvisibility=hidden',
  '-fno-strict-aliasing',
  '-fno-jump-tables',
  '-mgeneral-regs-only', // vector registers stay as the kernel left them
  '-Wl,-T,runtime/restore.ld',
];

function run(command, args) {
  const done = spawnSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
  if (done.error?.code === 'ENOENT')
    fail(`${command} is not installed`, 'apt-get install gcc libc6-dev libbrotli-dev');
  if (done.status !== 0)
    fail(
      `${command} failed`,
      'read its messages above; it needs the packages gcc, libc6-dev and libbrotli-dev',
    );
}

function fail(what, next) {
  process.stderr.write(`build: ${what}\n  next:  ${next}\n`);
  process.exit(1);
}

function buildRuntime() {
  mkdirSync(out, { recursive: true });
  const checksums = {};
  const all = [
    ...Object.entries(PROGRAMS).map((entry) => [...entry, CC_FLAGS]),
    ...Object.entries(LIBRARIES).map((entry) => [...entry, LIBRARY_FLAGS]),
    ['inside.so', INSIDE, [...LIBRARY_FLAGS, '-DWINNOW_INSIDE', '-mno-red-zone', '-mgeneral-regs-only']],
    ['restore', RESTORE, RESTORE_FLAGS],
    ['demand.so', DEMAND, [...LIBRARY_FLAGS, ...DEMAND_FLAGS], DEMAND_LIBRARIES],
  ];
  for (const [name, sources, flags, libraries = []] of all) {
    const target = join(out, name);
    const temporary = `${target}.${process.pid}`;
    try {
      const files = sources.map((source) => join('runtime', source));
      run(process.env.CC ?? 'gcc', [...flags, '-o', temporary, ...files, ...libraries]);
      renameSync(temporary, target);
    } finally {
      rmSync(temporary, { force: true });
    }
    checksums[name] = {
      sha256: createHash('sha256').update(readFileSync(target)).digest('hex'),
      size: statSync(target).size,
    };
  }
  writeFileSync(join(out, 'checksums.json'), `${JSON.stringify(checksums, null, 2)}\n`);
}

if (!existsSync(join(root, 'node_modules', 'typescript')))
  fail('the dependencies are not installed', 'npm ci');
buildRuntime();
if (!process.argv.includes('--runtime-only'))
  run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json']);
