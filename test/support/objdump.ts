/** Instructions as objdump tells them. */
import { execFileSync } from 'node:child_process';

export interface ToldInstruction {
  readonly length: number;
  /** Mnemonic and operands, without the address that a pc-relative operand leads to. */
  readonly text: string;
  /** The address that a direct branch or a rip-relative operand leads to. */
  readonly target: number | undefined;
  /** The target is a rip-relative operand's. */
  readonly isAddress: boolean;
}

/** Every instruction of the file's code by its address. */
export function instructionsBy(path: string): ReadonlyMap<number, ToldInstruction> {
  const out = execFileSync('objdump', ['-d', '-w', '--insn-width=16', path], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  const told = new Map<number, ToldInstruction>();
  for (const line of out.split('\n')) {
    const [, at, bytes, words] = /^\s*([0-9a-f]+):\t((?:[0-9a-f]{2} )+)\s*\t?(.*)$/.exec(line) ?? [];
    if (at === undefined || bytes === undefined || words === undefined) continue;
    told.set(Number.parseInt(at, 16), { length: bytes.trim().split(' ').length, ...parse(words.trim()) });
  }
  return told;
}

function parse(words: string): Omit<ToldInstruction, 'length'> {
  const [text = '', address] = words.split(/\s+#\s+/);
  if (address !== undefined && text.includes('(%rip)')) {
    const target = Number.parseInt(address, 16);
    return { text: text.replace(/-?0x[0-9a-f]+\(%rip\)/, '(%rip)'), target, isAddress: true };
  }
  const branch =
    /^((?:bnd |notrack |rep |data16 |rex.W |addr32 )*(?:j|call|loop|xbegin)[a-z,]*)\s+([0-9a-f]+)/.exec(text);
  if (branch === null) return { text: text.trim(), target: undefined, isAddress: false };
  return { text: branch[1] ?? '', target: Number.parseInt(branch[2] ?? '', 16), isAddress: false };
}
