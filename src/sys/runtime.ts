/** Where the compiled C runtime is. */
import { fileURLToPath } from 'node:url';

/** A file of the C runtime: `dist/runtime/NAME`, from dist/src/sys as from src/sys. */
export function runtimeFile(name: string): string {
  const here = fileURLToPath(import.meta.url);
  const root = here.includes('/dist/') ? '../../runtime/' : '../../dist/runtime/';
  return fileURLToPath(new URL(`${root}${name}`, import.meta.url));
}
