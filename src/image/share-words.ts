/** Why a program starts by its own loader, in words. */
import type { Answer } from '../share/linked/restore-answer.ts';

export const REFUSED: Readonly<Record<Answer['refused'], string>> = {
  good: '',
  environment: 'LD_LIBRARY_PATH is another one, or another LD_…, GLIBC_TUNABLES or MALLOC_… is set',
  secure: 'it runs with the rights of another user',
  kernel: 'the kernel says something else of the machine',
  stack: 'the limit of the stack (ulimit -s) is another one, and not an ordinary one',
  processor: 'the processor is another one',
  vdso: 'the kernel has another vDSO',
  image: 'the linked image is missing or damaged, or others could have written it',
  program: 'the program has changed',
  file: 'a module has changed',
  watch: 'something has changed where libraries are looked for',
  address: 'its addresses are taken',
  call: 'the kernel refuses a call that the loader makes',
  debugger: 'a debugger has started it',
  filter: 'a seccomp filter may not let it have addresses of its own',
};
