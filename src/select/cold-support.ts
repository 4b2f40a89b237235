/**
 * Whether unused code can be brought, or let through, in the programs of a profile: the handler of SIGSEGV must stay the
 * audit object's, and no mask may keep the signal from it (runtime/demand-signals.c).
 */
import { basename } from 'node:path';
import { WinnowError } from '../base/errors.ts';
import type { ElfImage } from '../elf/image.ts';
import { readElfFile } from '../elf/read.ts';
import type { ModuleUse } from './model.ts';
import { hostPath, type SelectContext } from './plan.ts';

/** `mov $number, %eax; syscall` */
const callOf = (number: number): Buffer => Buffer.from([0xb8, number, 0, 0, 0, 0x0f, 0x05]);
const RT_SIGACTION = callOf(13);
const RT_SIGPROCMASK = callOf(14);

/** @throws WinnowError E_COLD_UNSUPPORTED */
export function checkColdSupport(uses: readonly ModuleUse[], context: SelectContext): void {
  if (context.cold === 'file' || (context.cold === 'deny' && context.onMiss !== 'log')) return;
  for (const { path } of uses) {
    const isLibc = path.endsWith('/libc.so.6');
    if (!isLibc && !context.programs.includes(path)) continue;
    const reason = whyNot(path, context, isLibc);
    if (reason === undefined) continue;
    throw new WinnowError({
      code: 'E_COLD_UNSUPPORTED',
      kind: 'unsupported',
      what: reason,
      where: path,
      next: 'leave unused code where it is: --cold file',
    });
  }
}

function whyNot(path: string, context: SelectContext, isLibc: boolean): string | undefined {
  const image = readable(hostPath(path, context.root));
  if (image === undefined) return undefined;
  if (image.sections.some(({ name }) => name === '.go.buildinfo'))
    return 'Go’s runtime takes SIGSEGV for itself, past the C library';
  if (context.onMiss === 'log' && context.programs.includes(path) && !opensAuditObject(image, context))
    return 'its loader opens no audit object (static, or of another C library): unused code could not be let through';
  if (!isLibc) return undefined;
  const isFound = ['__libc_sigaction', 'sigaction'].some((name) => hasCall(image, name, RT_SIGACTION));
  return isFound && hasCall(image, 'pthread_sigmask', RT_SIGPROCMASK)
    ? undefined
    : 'this C library makes its calls about signals in a way that winnow does not know';
}

/** A loader that was executed by its name has none of its own. */
const opensAuditObject = ({ interp, path }: ElfImage, { loaders }: SelectContext): boolean =>
  loaders.includes(path) || (interp !== undefined && /^ld-linux-x86-64\.so/.test(basename(interp)));

/** What is gone or damaged is told for each module. */
function readable(path: string): ElfImage | undefined {
  try {
    return readElfFile(path);
  } catch (error) {
    if (error instanceof WinnowError) return undefined;
    throw error;
  }
}

function hasCall(image: ElfImage, function_: string, call: Buffer): boolean {
  return image.symbols.some(({ name, rva, size }) => {
    if (name !== function_ || rva === undefined) return false;
    const offset = image.offsetOf(rva);
    return offset !== undefined && Buffer.from(image.bytes.subarray(offset, offset + size)).includes(call);
  });
}
