/**
 * Many starts from an image after linking, with the kernel's random addresses as they are: none may fail. A start that the kernel
 * sends elsewhere (an address is taken) is a plain one, and counted as such.
 *
 * Each start says of itself where its loader is; from an image that is the image's address. Two start at once, so
 * that more than one processor is used.
 */
import { execFile } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describeMachine, type Machine } from '../src/bench/machine.ts';
import { renderMachine } from '../src/bench/terminal.ts';
import { CopiedImage } from './support/copied-image.ts';
import { badUsage, COMMON_OPTIONS, exitCodeOf, parseSuiteArgs } from './support/main.ts';
import { markdownTable } from './support/markdown.ts';
import { ENVIRONMENT, installMissing } from './support/programs.ts';
import { replaceBlock, writeJson } from './support/report-files.ts';
import { REPOSITORY } from './support/winnow.ts';

const USAGE = `usage: npm run bench:share-starts -- [options]      (as root; five minutes)
  --starts N       of the small program; of python3 a tenth of it (default 10000)
  --json FILE      where the results go (default bench/results/share-starts.json for all starts)
  --no-install     do not install missing Debian packages
`;
const ALL = 10_000;
const AT_ONCE = 2;
const SMALL = `#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void) {
  char line[4096];
  int linked = 0;
  FILE *maps = fopen("/proc/self/maps", "r");
  while (fgets(line, sizeof line, maps)) linked |= strstr(line, ".linked") != NULL;
  fclose(maps);
  char *memory = malloc(100000);
  memset(memory, 1, 100000);
  printf("%s %d\\n", linked ? "linked" : "plain", sched_getcpu());
  return 7;
}
`;
const PYTHON = `import json, os, threading
maps = open('/proc/self/maps').read()
thread = threading.Thread(target=json.dumps, args=([1],)); thread.start(); thread.join()
print('linked' if '.linked' in maps else 'plain', min(os.sched_getaffinity(0)))
raise SystemExit(7)
`;
const STATUS = 7;

interface StartsResult {
  readonly program: string;
  readonly starts: number;
  readonly linked: number;
  readonly plain: number;
  readonly processors: readonly string[];
  /** What failed starts said. */
  readonly failures: readonly string[];
}

process.exitCode = await exitCodeOf(() => main(process.argv.slice(2)));

async function main(args: readonly string[]): Promise<number> {
  const { values } = parseSuiteArgs(
    { args: [...args], options: { ...COMMON_OPTIONS, starts: { type: 'string', default: String(ALL) } } },
    USAGE,
  );
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const starts = Number(values.starts);
  if (!Number.isInteger(starts) || starts < 10)
    throw badUsage(`--starts takes a whole number from 10 on, not ${values.starts}`, USAGE);
  if (!values['no-install']) installMissing(['gcc', 'libc6-dev', 'python3']);
  const randomize = readFileSync('/proc/sys/kernel/randomize_va_space', 'utf8').trim();
  const results = [
    await startMany('a small program', starts, (folder) => [join(folder, 'bin', 'small')]),
    await startMany('python3, with a thread', Math.floor(starts / 10), () => [
      '/usr/bin/python3',
      '-c',
      PYTHON,
    ]),
  ];
  const machine = { ...describeMachine([]), devices: [] };
  const report = { date: new Date().toISOString(), machine, randomize, results };
  const whole = starts === ALL;
  const json = values.json ?? (whole ? join(REPOSITORY, 'bench', 'results', 'share-starts.json') : undefined);
  if (json !== undefined) writeJson(resolve(json), 'bench-share-starts', report);
  const text = render(report);
  if (whole) replaceBlock(join(REPOSITORY, 'docs', 'measurements.md'), 'share-starts', text);
  process.stdout.write(text);
  for (const failure of results.flatMap(({ failures }) => failures)) process.stdout.write(`${failure}\n`);
  return results.every(({ failures }) => failures.length === 0) ? 0 : 1;
}

async function startMany(
  program: string,
  starts: number,
  argvIn: (folder: string) => readonly string[],
): Promise<StartsResult> {
  const folder = mkdtempSync('/var/lib/winnow-bench-');
  try {
    chmodSync(folder, 0o755);
    const [file = '', ...words] = argvIn(folder);
    const image = new CopiedImage('starts', folder, [file, ...words]);
    writeFileSync(join(folder, 'small.c'), SMALL);
    image.setUp('gcc -O2 -o small ../small.c');
    image.buildLinked();
    const launch = join(folder, 'store', 'images', 'starts', 'launch');
    const counted = { linked: 0, plain: 0 };
    const processors = new Set<string>();
    const failures: string[] = [];
    let left = starts;
    const worker = async (): Promise<void> => {
      while (left-- > 0) {
        const { status, stdout, stderr } = await startOnce(launch, words);
        const [, how, processor] = /^(linked|plain) (\d+)\n$/.exec(stdout) ?? [];
        if (status === STATUS && stderr === '' && (how === 'linked' || how === 'plain')) {
          counted[how] += 1;
          if (processor !== undefined) processors.add(processor);
        } else failures.push(`${program}: ${status} ${stdout} ${stderr}`.slice(0, 500));
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    return { program, starts, ...counted, processors: [...processors].sort(), failures };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function startOnce(launch: string, words: readonly string[]) {
  return new Promise<{ status: number | string; stdout: string; stderr: string }>((done) => {
    const options = { env: ENVIRONMENT, timeout: 60_000 };
    const child = execFile(launch, [...words], options, (_error, stdout, stderr) =>
      done({ status: child.exitCode ?? child.signalCode ?? 'not started', stdout, stderr }),
    );
  });
}

function render({
  date,
  machine,
  randomize,
  results,
}: {
  date: string;
  machine: Machine;
  randomize: string;
  results: StartsResult[];
}): string {
  const rows = results.map(({ program, starts, linked, plain, failures }) => [
    program,
    ...[starts, linked, plain, failures.length].map(String),
  ]);
  const text = `Measured ${date.slice(0, 10)} with \`npm run bench:share-starts\`, kernel.randomize_va_space ${randomize}.\n\n\`\`\`\n${renderMachine(machine)}\`\`\`\n\n`;
  return `${text}${markdownTable(['', 'starts', 'from the image', 'plainly', 'failed'], rows)}`;
}
