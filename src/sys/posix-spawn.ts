/** posix_spawn(3) and its file actions, for the two that start programs: `spawn.ts` and `start.ts`. */
import { libc } from './libc.ts';

export const posixSpawn = libc.func(
  'int posix_spawn(_Out_ int *pid, const char *path, void *actions, void *attr, const char **argv, const char **envp)',
);
export const actionsInit = libc.func('int posix_spawn_file_actions_init(void *actions)');
export const actionsDestroy = libc.func('int posix_spawn_file_actions_destroy(void *actions)');
export const actionsDup2 = libc.func('int posix_spawn_file_actions_adddup2(void *actions, int from, int to)');
export const actionsChdir = libc.func(
  'int posix_spawn_file_actions_addchdir_np(void *actions, const char *path)',
);
/** Room for posix_spawn_file_actions_t: glibc's takes 80 bytes on x86-64. */
export const ACTIONS_SIZE = 256;
