/** What passes through a recording unchanged: streams, surroundings, the terminal. */
import { execFileSync, spawnSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Scene, WINNOW } from './record-scene.ts';

const scene = new Scene();
afterAll(() => scene.close());

describe.each<[string, readonly string[]]>([
  ['from inside', []],
  ['traced', ['--traced']],
  ['light', ['--quick']],
])('%s', (_how, mode) => {
  describe('streams', () => {
    it('passes stdin, stdout and stderr', () => {
      const done = scene.record(['sh', '-c', 'cat; echo to-stderr >&2'], {
        input: 'a\0b\nc',
        options: ['-q', ...mode],
      });
      expect([done.stdout, done.stderr, done.status]).toEqual(['a\0b\nc', 'to-stderr\n', 0]);
    });

    it('keeps talk out of stdout', () => {
      const done = scene.record(['echo', 'hello'], { options: mode });
      expect(done.stdout).toBe('hello\n');
      expect(done.stderr).toMatch(/^winnow: recorded it( lightly)?: 1 process image/);
    });

    it('lets the reader of a pipe go', () => {
      const store = scene.newStore();
      const line = `yes | "${WINNOW}" record -q ${mode.join(' ')} --store "${store}" -- head -n 1; "${WINNOW}" record -q ${mode.join(' ')} --store "${store}" -- yes | head -n 1`;
      expect(spawnSync('sh', ['-c', line], { encoding: 'utf8', timeout: 20_000 }).stdout).toBe('y\ny\n');
    });

    it('never makes them non-blocking', () => {
      const flags = scene.c(
        'flags',
        `int main() { for (int i = 0; i < 3; i++) printf("%d", !!(fcntl(i, F_GETFL) & O_NONBLOCK)); puts(""); return 0; }`,
      );
      const line = `("${WINNOW}" record -q ${mode.join(' ')} --store "${scene.newStore()}" -- "${flags}"; "${flags}") 2>&1 | cat`;
      expect(spawnSync('sh', ['-c', line], { encoding: 'utf8', input: '' }).stdout).toBe('000\n000\n');
    });
  });

  describe('surroundings', () => {
    let self = '';
    let caller = '';
    beforeAll(() => {
      self = scene.c('self', SELF);
      caller = scene.c('caller', CALLER);
    });

    const strange = (...command: readonly string[]) => {
      const done = spawnSync(caller, command, {
        encoding: 'utf8',
        cwd: scene.folder,
        env: ENV,
        timeout: 20_000,
      });
      expect(done.stderr).toBe('');
      return done.stdout;
    };

    it('sees what it sees without winnow', () => {
      const plain = strange('/usr/bin/env', '-i', 'A=1', `PATH=${process.env.PATH}`, self, 'é', '', 'a b');
      const recorded = strange(
        ...['/usr/bin/env', '-i', 'A=1', `PATH=${process.env.PATH}`],
        ...[WINNOW, 'record', '-q', ...mode, '--store', scene.newStore(), '--', self, 'é', '', 'a b'],
      );
      expect(plain).toContain('NOFILE 77');
      expect(recorded).toBe(plain);
    });

    it('keeps argv[0] as it was typed', () => {
      execFileSync('ln', ['-sf', self, scene.path('other-name')]);
      expect(scene.record(['./other-name'], { options: mode }).stdout).toContain('argv ./other-name\n');
    });
  });

  describe('terminal', () => {
    /** Runs a Python script that has the master of a pseudo-terminal; prints what it finds. */
    const onTerminal = (script: string): string => {
      const done = spawnSync('python3', ['-c', PTY + script], {
        encoding: 'utf8',
        timeout: 25_000,
        cwd: scene.folder,
        env: { ...process.env, WINNOW, MODE: mode.join(' '), STORE: scene.newStore() },
      });
      return `${done.stdout}${done.stderr}`;
    };

    it('is a terminal, and stays as the program left it', () => {
      expect(
        onTerminal(`
start(rec + ['sh', '-c', 'test -t 0 && test -t 1 && test -t 2 && stty -echo -icanon && stty -a'])
wait()
attributes = termios.tcgetattr(master)[3]
print('left', bool(attributes & termios.ECHO), bool(attributes & termios.ICANON))
`),
      ).toContain('left False False');
    });

    it('Ctrl-C ends the program, and winnow by the same signal', () => {
      expect(
        onTerminal(`
start(rec + ['sh', '-c', 'echo ready; exec sleep 20'])
expect('ready')
os.write(master, b'\\x03')
status = wait()
print('ended', os.WIFSIGNALED(status) and os.WTERMSIG(status))
`),
      ).toContain('ended 2');
    });

    it('Ctrl-C is left to a program that handles it', () => {
      expect(
        onTerminal(`
start(rec + ['sh', '-c', 'trap "echo caught" INT; echo ready; read x; read x; echo got $x'])
expect('ready')
os.write(master, b'\\x03')
expect('caught')
time.sleep(2.5)
os.write(master, b'one\\n')
os.write(master, b'two\\n')
expect('got')
print('ended', os.WEXITSTATUS(wait()))
`),
      ).toContain('ended 0');
    });

    it('Ctrl-Z stops the job, and fg goes on with it', () => {
      expect(
        onTerminal(`
start(['sh', '-m'])
os.write(master, (' '.join(quote(w) for w in rec + ['sh', '-c', 'echo rea""dy; read x; echo "got $x"; exit 5']) + '\\n').encode())
expect('ready')
os.write(master, b'\\x1a')
expect('Stopped')
os.write(master, b'echo sh""ell; fg\\n')
expect('shell')
time.sleep(0.5)
os.write(master, b'word\\n')
expect('got word')
os.write(master, b'echo sta""tus $?; exit\\n')
expect('status 5')
print('all seen')
`),
      ).toContain('all seen');
    });

    it('a program with a handler of its own for Ctrl-Z', () => {
      scene.file(
        'suspend.py',
        `import os, signal, sys
def stop(*_):
    print('tidied', flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
    print('back', flush=True)
signal.signal(signal.SIGTSTP, stop)
print('rea' + 'dy', flush=True)
print('line', sys.stdin.readline(), flush=True)
`,
      );
      expect(
        onTerminal(`
start(['sh', '-m'])
os.write(master, (' '.join(quote(w) for w in rec + ['python3', 'suspend.py']) + '\\n').encode())
expect('ready')
os.write(master, b'\\x1a')
expect('tidied')
expect('Stopped')
os.write(master, b'fg\\n')
expect('back')
os.write(master, b'word\\n')
expect('line word')
print('all seen')
`),
      ).toContain('all seen');
    });

    it('a background job that reads the terminal is stopped', () => {
      expect(
        onTerminal(`
start(['sh', '-m'])
os.write(master, (' '.join(quote(w) for w in rec + ['cat']) + ' &\\n').encode())
ask(b'jobs\\n', 'Stopped')
os.write(master, b'fg\\n')
time.sleep(0.5)
os.write(master, b'wo""rd\\n\\x04')
expect('wo""rd')
expect('wo""rd')
print('all seen')
`),
      ).toContain('all seen');
    });
  });
});

const ENV = { PATH: process.env.PATH ?? '/usr/bin:/bin' };

const PTY = `
import os, pty, sys, time, select, termios
from shlex import quote
rec = [os.environ['WINNOW'], 'record', '-q'] + os.environ['MODE'].split() + ['--store', os.environ['STORE'], '--']
seen = ''
def start(words):
    global child, master
    child, master = pty.fork()
    if child == 0: os.execvp(words[0], words)
def pump(timeout):
    global seen
    if not select.select([master], [], [], timeout)[0]: return True
    try: data = os.read(master, 4096)
    except OSError: return False
    seen += data.decode(errors='replace')
    return data != b''
def expect(text):
    global seen
    end = time.time() + 10
    while text not in seen:
        if time.time() > end or not pump(0.1): sys.exit('no ' + text + ' in ' + repr(seen))
    seen = seen[seen.index(text) + len(text):]
def ask(line, text):
    end = time.time() + 10
    while text not in seen and time.time() < end:
        os.write(master, line)
        for i in range(5): pump(0.1)
    expect(text)
def wait():
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done: return status
        pump(0.05)
`;

/** Prints all that a program can see of its surroundings. */
const SELF = `
int main(int argc, char **argv) {
  char text[4096];
  for (int i = 0; i < argc; i++) printf("argv %s\\n", argv[i]);
  for (char **e = environ; *e; e++) printf("env %s\\n", *e);
  for (int r = 0; r < RLIM_NLIMITS; r++) { struct rlimit l; getrlimit(r, &l);
    printf("%s %lu %lu\\n", r == RLIMIT_NOFILE ? "NOFILE" : "limit", l.rlim_cur, l.rlim_max); }
  FILE *status = fopen("/proc/self/status", "r");
  while (fgets(text, sizeof text, status))
    if (!strncmp(text, "Sig", 3) || !strncmp(text, "Shd", 3) || !strncmp(text, "Umask", 5) || !strncmp(text, "Cpus", 4)
        || !strncmp(text, "Cap", 3) || !strncmp(text, "NoNew", 5) || !strncmp(text, "Threads", 7)) if (strncmp(text, "SigQ", 4)) fputs(text, stdout);
  fclose(status);
  for (int fd = 0; fd < 1024; fd++) { char name[64]; sprintf(name, "/proc/self/fd/%d", fd);
    int n = readlink(name, text, sizeof text); if (n < 0) continue;
    if (strncmp(text, "pipe:", 5) && strncmp(text, "socket:", 7)) printf("fd %d %.*s flags %x\\n", fd, n, text, fcntl(fd, F_GETFL));
    else printf("fd %d flags %x\\n", fd, fcntl(fd, F_GETFL)); }
  printf("cwd %s nice %d scheduler %d session leader %d group leader %d child %d\\n", getcwd(text, sizeof text),
    getpriority(PRIO_PROCESS, 0), sched_getscheduler(0), getsid(0) == getpid(), getpgrp() == getpid(), waitpid(-1, 0, WNOHANG));
  return 0;
}`;

/** Starts a command in strange surroundings. */
const CALLER = `
int main(int argc, char **argv) {
  struct rlimit l; getrlimit(RLIMIT_NOFILE, &l); l.rlim_cur = 77; setrlimit(RLIMIT_NOFILE, &l);
  getrlimit(RLIMIT_CORE, &l); l.rlim_cur = 0; setrlimit(RLIMIT_CORE, &l);
  sigset_t s; sigemptyset(&s); sigaddset(&s, SIGTERM); sigaddset(&s, SIGUSR2); sigaddset(&s, SIGINT); sigaddset(&s, 40);
  sigprocmask(SIG_SETMASK, &s, 0);
  signal(SIGHUP, SIG_IGN); signal(SIGQUIT, SIG_IGN); signal(SIGXFSZ, SIG_IGN);
  umask(027); nice(5);
  int fd = open("/dev/null", O_RDONLY); dup2(fd, 7); dup2(fd, 12); dup2(fd, 33); close(fd);
  execvp(argv[1], argv + 1); return 1;
}`;
