/** C programs that are made of switches of many shapes, and what the compiler's own assembly says of their tables. */

/** Numbers that look random and are the same every time (xorshift). */
function numbers(seed: number): (below: number) => number {
  let state = seed * 2654435761 + 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const TYPES = ['int', 'unsigned', 'long', 'unsigned char', 'short', 'unsigned long'] as const;

/** A program that prints what its functions make of many numbers. */
export function switchProgram(seed: number): string {
  const next = numbers(seed);
  const count = 6 + next(6);
  const functions = Array.from({ length: count }, (_, i) => switchFunction(i, next));
  const calls = Array.from({ length: count }, (_, i) => `sum = sum * 31 + f${i}(i, i * ${1 + next(7)});`);
  return `#include <stdio.h>
#include <stdlib.h>
volatile long seen;
static __attribute__((cold, noinline)) long rare(long x) { seen += x; return x ^ 0x55; }
static __attribute__((noinline)) void die(long x) { printf("%ld\\n", x); exit(3); }
${functions.join('\n')}
int main(void) {
  unsigned long sum = 0;
  for (long i = 0; i < 3000; i++) { ${calls.join(' ')} }
  printf("%lu %ld\\n", sum, seen);
  return 42;
}
`;
}

function switchFunction(index: number, next: (below: number) => number): string {
  const type = TYPES[next(TYPES.length)] ?? 'int';
  const cases = 5 + next(30);
  const isTotal = next(3) === 0;
  const shape = next(3);
  const own = `__attribute__((noinline)) long f${index}(long a, long b) {\n  long r = b, n = 0;\n`;
  const selector = isTotal ? `(unsigned long)a % ${cases}` : `a % ${cases * 2} - ${next(4)}`;
  const last = isTotal ? 'default: __builtin_unreachable();' : `default: r += ${next(99)}; break;`;
  const body = switchOf(`(${type})(${selector})`, cases, isTotal, index, next) + last;
  if (shape === 0) return `${own}  switch (${body.trim()}\n  }\n  return r;\n}`;
  if (shape === 1)
    return `${own}  do {\n  switch (${body}\n  }\n  a = (a * 5 + r) & 0xfff;\n  } while (++n < 6);\n  return r;\n}`;
  const inner = switchOf(`(unsigned long)r % 9`, 9, true, index, next);
  return `${own}  while (n++ < 4) {\n  switch (${body}\n  }\n  seen += rare(n);\n  a += r & 7;\n  switch (${inner}default: __builtin_unreachable();\n  }\n  }\n  return r;\n}`;
}

function switchOf(
  selector: string,
  cases: number,
  isTotal: boolean,
  index: number,
  next: (below: number) => number,
): string {
  const rows: string[] = [];
  for (let i = 0; i < cases; i++)
    if (isTotal || next(8) > 0) rows.push(`  case ${i}: ${statement(index, next)}`);
  return `${selector}) {\n${rows.join('\n')}\n  break;\n  `;
}

function statement(index: number, next: (below: number) => number): string {
  const k = next(1000);
  switch (next(9)) {
    case 0:
      return `return r + ${k};`;
    case 1:
      return `r = rare(r + ${k}); break;`;
    case 2:
      return `if (r == 0x7ff000000000 + ${k}) die(r); r ^= ${k};`;
    case 3:
      return index > 0 && next(4) === 0 ? `r += f${next(index)}(r & 63, a); break;` : `r += ${k}; break;`;
    case 4:
      return `r = r * ${k} + a; break;`;
    case 5:
      return `r -= a > ${k} ? b : ${k}; break;`;
    case 6:
      return `seen += r; r = r < ${k}; break;`;
    case 7:
      return `r = (r >> 3) | ${k}; /* on */`;
    default:
      return `n += r & 1; break;`;
  }
}

/** How many entries each jump table has that GCC writes, in the order of the assembly. */
export function tablesIn(assembly: string): number[] {
  const tables: number[] = [];
  let size = 0;
  for (const line of assembly.split('\n')) {
    if (/^\s+\.(?:long\s+\.L\d+-\.L\d+|quad\s+\.L\d+)$/.test(line)) size++;
    else if (size > 0) {
      tables.push(size);
      size = 0;
    }
  }
  return tables;
}
