/** File capabilities: rights that a program's file gives it (capabilities(7)). */
import { libc } from './libc.ts';

const getxattr = libc.func('long getxattr(const char *path, const char *name, void *value, size_t size)');

/** Whether the program gets rights by capabilities of its file (`setcap`), as ping may. */
export const hasFileCapabilities = (path: string): boolean =>
  Number(getxattr(path, 'security.capability', null, 0)) > 0;
