/**
 * Code whose own address is the base of its jump tables.
 *
 * Problem: code that takes an address in its own middle may add any distance to it, and a copy would then
 * come out elsewhere. Hand-written code reaches constants that way.
 * Example: a table `static const int steps[] = { &&a - &&base, &&b - &&base }` and `goto *(&&base + steps[i])`, as
 * in printf: `lea base(%rip), %rsi; lea steps(%rip), %rdx; movslq (%rdx,%rax,4), %rax; add %rsi, %rax; jmp *%rax`.
 * Method: the address is such a base if some read-only data that the code addresses holds distances from it
 * which all lead to instructions of the same piece: four of them or more, and three different ones. Distances within
 * a piece are the same in a copy.
 * Limits: a table that ends and is followed by what could be a distance to code elsewhere proves nothing.
 */
import { rva } from '../base/brands.ts';
import type { ElfImage } from '../elf/image.ts';
import * as spec from '../elf/spec.ts';
import { decodeRange } from '../x86/decode.ts';
import type { CodeMap } from './code-map.ts';
import type { Piece } from './pieces.ts';
import { isLea } from './sweep.ts';

const FEWEST_ENTRIES = 4;
const FEWEST_TARGETS = 3;

/** Whether every address that the piece takes in its own middle is the base of a table of distances within it. */
export function areJumpBases(image: ElfImage, code: CodeMap, piece: Piece): boolean {
  const bases = new Set<number>();
  const tables = new Set<number>();
  let jumps = false;
  let takesItself = false;
  decodeRange(code.bytes(piece.start, piece.end), piece.start, (insn) => {
    const { at, length, flow, ipTarget } = insn;
    if (flow === 'indirect-jump') jumps = true;
    if (ipTarget < 0 || !isLea(code.bytes(at, at + length))) return;
    const isOwn = ipTarget >= piece.start && ipTarget < piece.end;
    if (isOwn && ipTarget === at) takesItself = true;
    if (isOwn && ipTarget !== piece.start) bases.add(ipTarget);
    if (!code.has(ipTarget)) tables.add(ipTarget);
  });
  if (!jumps || takesItself) return false;
  return [...bases].every((base) => [...tables].some((table) => isTable(image, code, piece, base, table)));
}

function isTable(image: ElfImage, code: CodeMap, piece: Piece, base: number, table: number): boolean {
  const segment = image.segmentOf(rva(table));
  const offset = image.offsetOf(rva(table));
  if (segment === undefined || offset === undefined || (segment.flags & spec.PF_W) !== 0) return false;
  const size = segment.offset + segment.fileSize - offset;
  const view = new DataView(image.bytes.buffer, image.bytes.byteOffset + offset, size);
  const targets = new Set<number>();
  for (let at = 0; at + 4 <= size; at += 4) {
    const target = base + view.getInt32(at, true);
    if (!code.isStart(target)) return at / 4 >= FEWEST_ENTRIES && targets.size >= FEWEST_TARGETS;
    if (target < piece.start || target >= piece.end) return false;
    targets.add(target);
  }
  return false;
}
