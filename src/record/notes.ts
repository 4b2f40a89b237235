/** What a person should know about a recording: a closed list, with stable codes. */
import { PARTLY_INSIDE } from '../profile/learn.ts';
import type { Note } from '../profile/model.ts';

const NO_FILTER = {
  asked: 'recorded without the filter, as asked',
  refused: 'the kernel or the container refused the seccomp filter',
  'no-light':
    'a light recording without the filter, which the kernel (before Linux 6.7) or the container refused',
} as const;

export const notes = {
  noFilter: (why: 'asked' | 'refused' | 'no-light'): Note => ({
    code: 'N_NO_LOOKUPS',
    text: `${NO_FILTER[why]}: path look-ups, files that were read and not mapped, and what programs used that went on to another by execve are not in the profile; pages are rounded up to 64 KiB`,
  }),
  noFunctions: (): Note => ({
    code: 'N_NO_FUNCTIONS',
    text: 'without the filter nobody tells of modules that are mapped: no functions were recorded',
  }),
  setUid: (): Note => ({
    code: 'N_SET_UID',
    text: 'the program is set-uid or has file capabilities: recorded without the filter, and while it is traced it runs without its extra rights; record it as root for all of it',
  }),
  setUidChild: (programs: readonly string[]): Note => ({
    code: 'N_SET_UID_CHILD',
    text: `set-uid programs ran without their extra rights while being recorded: ${programs.join(', ')}; record as root, or with --no-filter`,
  }),
  light: (): Note => ({
    code: 'N_LIGHT',
    text: 'a light recording: path look-ups and files that were read and not mapped are not in it; pages are rounded up to 64 KiB and more',
  }),
  unseenEnds: (processes: number): Note => ({
    code: 'N_UNSEEN_END',
    text: `${processes} process(es) ended by a signal, or without exit_group, while they were recorded lightly: the pages of their last images are not in the profile`,
  }),
  partlyInside: (programs: readonly string[], lost: number, unseenEnds: number): Note => ({
    code: PARTLY_INSIDE,
    text: [
      ...(programs.length > 0 ? [`seen from outside only, or in part: ${programs.join(', ')}`] : []),
      ...(unseenEnds > 0
        ? [`${unseenEnds} process(es) ended by a signal before their pages could be seen`]
        : []),
      ...(lost > 0 ? [`${lost} entries of the log found no room`] : []),
      'the next recording is traced',
    ].join('; '),
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
