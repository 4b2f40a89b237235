/** Loads iced-x86 when code is first decoded: its 2 MB of WebAssembly take 58 ms, which most commands save. */
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
let loaded: typeof import('iced-x86') | undefined;

export function iced(): typeof import('iced-x86') {
  if (loaded === undefined) {
    const module: typeof import('iced-x86') = require('iced-x86');
    loaded = module;
  }
  return loaded;
}
