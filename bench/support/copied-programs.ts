/** Real programs to be run with every function of every module copied. Each is a script that bash runs. */
import { join } from 'node:path';
import { REPOSITORY } from './winnow.ts';

export interface CopiedProgram {
  readonly name: string;
  /** What is special about it for copied code. */
  readonly kind: string;
  /** Debian packages. */
  readonly packages: readonly string[];
  /** Runs once, in the folder `$BIN`. */
  readonly setup?: string;
  /** Runs in an empty folder. Its output must be the same each time. */
  readonly script: string;
}

const FIXTURES = join(REPOSITORY, 'test', 'fixtures', 'all-cloned');

export const COPIED_PROGRAMS: readonly CopiedProgram[] = [
  {
    name: 'core',
    kind: 'signals, setjmp, jump tables, vfork, cancelled threads, TLS models, IFUNC, dlopen and dlclose',
    packages: ['gcc', 'libc6-dev'],
    setup: `gcc -O2 -w -pthread -o core ${FIXTURES}/core.c -ldl; gcc -O2 -shared -fPIC -o plugin.so ${FIXTURES}/plugin.c`,
    script: 'for i in 1 2 3 4 5; do $BIN/core $BIN/plugin.so; echo $?; done',
  },
  {
    name: 'musl',
    kind: 'the same with musl, whose libc is its loader',
    packages: ['musl-tools'],
    setup: `musl-gcc -O2 -w -pthread -o core ${FIXTURES}/core.c; musl-gcc -O2 -shared -fPIC -o plugin.so ${FIXTURES}/plugin.c`,
    script: 'for i in 1 2 3 4 5; do $BIN/core $BIN/plugin.so; echo $?; done',
  },
  {
    name: 'unwinding',
    kind: 'C++ exceptions, across threads too; cancelled threads; coroutines',
    packages: ['g++'],
    setup: `g++ -O2 -pthread -o unwinding ${FIXTURES}/unwinding.cc`,
    script: 'for i in 1 2 3; do $BIN/unwinding; done',
  },
  {
    name: 'git',
    kind: 'a tree of short processes',
    packages: ['git'],
    script: `export HOME=$PWD GIT_AUTHOR_DATE='2024-01-01 12:00 +0000' GIT_COMMITTER_DATE='2024-01-01 12:00 +0000'
git init -q -b main r; cd r; git config user.name A; git config user.email a@example.org
for i in $(seq 60); do seq $i $((i * 7)) > f$((i % 13)); git add -A; git commit -qm c$i; done
git log --stat | sha256sum; git branch b HEAD~20; git checkout -q b; echo x > new; git add new; git commit -qm n
git merge -q main -m merge; git rebase -q main; git blame f3 | sha256sum; git gc -q; git fsck; git grep -c 7 | tail -3
git diff main~5 | sha256sum; git archive HEAD | sha256sum; git status; git stash list; git log --graph --oneline | tail -3`,
  },
  {
    name: 'compilers',
    kind: 'cc1, cc1plus, as, ld on real sources',
    packages: ['gcc', 'g++', 'binutils'],
    script: `for f in launch prefetch show target watcher keeper; do gcc -std=c11 -O2 -ffreestanding -c -o $f.o ${REPOSITORY}/runtime/$f.c; done
gcc -O3 -march=x86-64-v3 -w -g -c -o core.o ${FIXTURES}/core.c; g++ -O2 -g -c -o u.o ${FIXTURES}/unwinding.cc
ld -r -o all.o launch.o show.o; objdump -d all.o | sha256sum; nm u.o | wc -l; sha256sum *.o; gcc -c /nowhere.c; echo $?`,
  },
  {
    name: 'openssl',
    kind: 'hand-written assembly chosen by the processor',
    packages: ['openssl'],
    script: `seq 200000 > data; for d in md5 sha1 sha256 sha512 sha3-256 blake2b512 sm3 ripemd160; do openssl dgst -$d data; done
for c in aes-128-cbc aes-256-gcm aes-256-ctr chacha20 camellia-256-cbc des-ede3-cbc; do
openssl enc -$c -K 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff -iv 00112233445566778899aabbccddeeff -in data 2>/dev/null | sha256sum; done
openssl genpkey -algorithm RSA -out key 2>/dev/null; openssl dgst -sha256 -sign key -out s data; openssl dgst -sha256 -prverify key -signature s data
for a in ED25519 X25519 ED448; do openssl genpkey -algorithm $a -out k; openssl pkey -in k -noout && echo ok; done
openssl ecparam -name prime256v1 -genkey -noout -out e; openssl dgst -sha256 -sign e -out s data; openssl dgst -sha256 -prverify e -signature s data
openssl req -x509 -key key -subj /CN=a -days 10 -out c; openssl verify -CAfile c c; rm key k e s c
openssl speed -seconds 1 -bytes 4096 sha256 aes-256-cbc > /dev/null 2>&1; echo $?; openssl prime 1000003`,
  },
  {
    name: 'sqlite3',
    kind: 'an interpreter of its own bytes',
    packages: ['sqlite3'],
    script: `sqlite3 d.db "create table t(a integer primary key, b text, c real);
with recursive n(i) as (select 1 union all select i+1 from n where i<20000) insert into t select i, hex(i*7919 % 10007), i*0.37 from n;
create index x on t(b); select count(*), sum(c), max(b) from t; select b, count(*) from t group by substr(b,1,2) order by 2 desc limit 5;
update t set c = c*2 where b like '3%'; delete from t where a % 7 = 0; vacuum; select json_group_array(a) from (select a from t order by b limit 5);
select avg(c) over (order by a rows 3 preceding) from t limit 3; pragma integrity_check;"; sha256sum d.db; sqlite3 d.db .dump | sha256sum; sqlite3 d.db 'select nothing'; echo $?`,
  },
  {
    name: 'perl',
    kind: 'longjmp on each die, modules by dlopen',
    packages: ['perl'],
    script: `perl -MList::Util=sum,shuffle -MDigest::SHA=sha256_hex -MStorable=freeze,thaw -MPOSIX -MEncode -MTime::Local -e '
my %h; for (1..20000) { my $k = substr(sha256_hex($_),0,3); $h{$k}++; } print scalar(keys %h), "\\n";
my $n = 0; for (1..5000) { eval { die {n=>$_} if $_ % 3 == 0; $n += 1; 1 } or $n += $@->{n}; } print "$n\\n";
my $t = thaw(freeze(\\%h)); print sum(values %$t), "\\n"; my $s = "abc" x 1000; my $c = () = $s =~ /(?<=a)b(?=c)/g; print "$c\\n";
print join(",", map { sprintf "%.3f", $_ } (sin 1, exp 1, 2**0.5)), strftime("%Y", gmtime 0), "\\n"; print length(encode("UTF-16", "\\x{263a}" x 10)), "\\n";
local $SIG{ALRM} = sub { die "alarm\\n" }; eval { alarm 1; 1 while 1; }; print $@; print sort { $a <=> $b } map { $_ * 7 % 11 } 1..10; print "\\n"; system "true"; print $?, qx(echo hi);'`,
  },
  {
    name: 'bash',
    kind: 'forks without exec, traps',
    packages: ['bc', 'mawk', 'sed', 'xz-utils', 'gzip'],
    script: `f() { local n=$1; ((n < 2)) && echo $n || echo $(( $(f $((n-1))) + $(f $((n-2))) )); }; f 9
trap 'echo usr1' USR1; kill -USR1 $$; trap 'echo bye' EXIT; declare -A m; for i in {1..500}; do m[$((i % 37))]+=$i; done; echo "\${#m[@]} \${m[5]}"
seq 5000 | sort -R --random-source=/etc/passwd | sort -n | awk '{s+=$1} END {print s}'; echo 'scale=50; 4*a(1)' | bc -l; seq 20000 | xz -9 | xz -d | sha256sum
seq 20000 | gzip -n | sha256sum; [[ abc123 =~ ^([a-z]+)([0-9]+)$ ]] && echo "\${BASH_REMATCH[2]}"; printf '%s\\n' {z..a} | tr a-z A-Z | paste -sd, ; (exit 7); echo $?; sleep 0.1 & wait $!; echo $?
sed -E 's/(.)(.)/\\2\\1/g' <<< abcdef; cat < <(echo sub); coproc cat; echo co >&\${COPROC[1]}; read -u \${COPROC[0]} x; echo $x`,
  },
  {
    name: 'python',
    kind: 'computed goto, a program with fixed addresses, ctypes, threads',
    packages: ['python3', 'python3-numpy'],
    script: `cat > p.py <<'END'
import ctypes, decimal, hashlib, json, math, random, re, sqlite3, struct, subprocess, sys, threading, zlib, collections, itertools, asyncio
import numpy
random.seed(1)
class A:
    __slots__ = ('x',)
    def __init__(self, x): self.x = x
    def __add__(self, o): return A(self.x + o.x)
print(sum((A(i) for i in range(5000)), A(0)).x, sorted(random.random() for _ in range(1000))[500])
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
print(fib(20), math.factorial(100), decimal.Decimal(2).sqrt(), re.sub(r'(\\w)(\\d)', r'\\2\\1', 'a1b2' * 5))
def gen():
    try:
        while True: yield (yield)
    except GeneratorExit: return
n = 0
for i in range(3000):
    try: {}[i]
    except KeyError as e: n += e.args[0]
print(n, json.dumps(json.loads(json.dumps({'a': [1, 2.5, None, 'x' * 10]}))), zlib.crc32(b'abc' * 1000), struct.pack('<dq', 1.5, -2))
cmp = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))(lambda a, b: a[0] - b[0])
v = (ctypes.c_int * 10)(*range(10, 0, -1)); ctypes.CDLL(None).qsort(v, 10, 4, cmp); print(list(v))
c = sqlite3.connect(':memory:'); c.create_function('f', 1, lambda x: x * 2); print(c.execute('select f(21)').fetchone())
ts = [threading.Thread(target=lambda: hashlib.sha256(b'x' * 100000).hexdigest()) for _ in range(8)]; [t.start() for t in ts]; [t.join() for t in ts]
print(subprocess.run(['sh', '-c', 'echo out; exit 3'], capture_output=True))
a = numpy.arange(10000.0).reshape(100, 100) % 17 + numpy.eye(100); print(numpy.linalg.det(a / 10).round(3), numpy.fft.fft(a[0]).sum().round(6), (a @ a).sum(), numpy.sort(a, axis=None)[5000])
async def m(): return sum(await asyncio.gather(*[asyncio.sleep(0.001, i) for i in range(50)]))
print(asyncio.run(m()))
try: numpy.linalg.inv(numpy.zeros((2, 2)))
except numpy.linalg.LinAlgError as e: print(e)
sys.exit(4)
END
/usr/bin/python3 p.py; echo $?`,
  },
  {
    name: 'R',
    kind: 'Fortran, BLAS, longjmp on each error',
    packages: ['r-base-core'],
    script: `Rscript -e 'set.seed(1); x <- matrix(rnorm(10000), 100); print(summary(lm(x[,1] ~ x[,2:10]))); print(svd(x)$d[1:5]); print(det(solve(x)))
n <- 0; for (i in 1:2000) n <- n + tryCatch(if (i %% 3 == 0) stop("e") else 1, error = function(e) 10); print(n); print(regmatches("a1b22", gregexpr("[0-9]+", "a1b22")))
print(tapply(mtcars$mpg, mtcars$cyl, mean)); print(optim(c(1, 1), function(p) sum((p - 3)^2))$value < 1e-4); print(fft(1:8)); print(integrate(dnorm, -2, 2)); f <- function(n) if (n < 2) n else f(n-1) + f(n-2); print(f(18)); print(system("echo hi", intern = TRUE)); stop("end")' ; echo $?`,
  },
];
