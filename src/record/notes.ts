/** What a person should know about a recording: a closed list, with stable codes. */
import type { Note } from '../profile/model.ts';

export const notes = {
  noFilter: (wanted: boolean): Note => ({
    code: 'N_NO_LOOKUPS',
    text: wanted
      ? 'the kernel or the container refused the seccomp filter: path look-ups, files that were read and not mapped, and what programs used that went on to another by execve are not in the profile; pages are rounded up to 64 KiB'
      : 'recorded without the filter, as asked: path look-ups, files that were read and not mapped, and what programs used that went on to another by execve are not in the profile; pages are rounded up to 64 KiB',
  }),
  setUid: (): Note => ({
    code: 'N_SET_UID',
    text: 'the program is set-uid or has file capabilities: recorded without the filter, and while it is traced it runs without its extra rights; record it as root for all of it',
  }),
  setUidChild: (programs: readonly string[]): Note => ({
    code: 'N_SET_UID_CHILD',
    text: `set-uid programs ran without their extra rights while being recorded: ${programs.join(', ')}; record as root, or with --no-filter`,
  }),
  faultAround: (): Note => ({
    code: 'N_FAULT_AROUND',
    text: 'fault-around could not be switched off (Linux 6.7 is needed): pages are rounded up to 64 KiB',
  }),
  sandboxed: (images: number): Note => ({
    code: 'N_SANDBOXED',
    text: `${images} process image(s) have seccomp filters of their own and were left alone: their pages are rounded up to 64 KiB`,
  }),
  lost: (images: number): Note => ({
    code: 'N_LOST',
    text: `the memory of ${images} process image(s) was gone before it could be looked at`,
  }),
  leftRunning: (pids: readonly number[]): Note => ({
    code: 'N_LEFT_RUNNING',
    text: `left running: ${pids.join(', ')}; the pages used up to then are in the profile`,
  }),
} as const;
