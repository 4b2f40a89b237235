/** What an open is for, by its flags. */

const O_ACCMODE = 3;
const O_CREAT = 0o100;
const O_TRUNC = 0o1000;
const O_DIRECTORY = 0o200000;
const O_PATH = 0o10000000;

const isOfContent = (flags: number): boolean => (flags & (O_DIRECTORY | O_PATH)) === 0;
const mayWrite = (flags: number): boolean => (flags & O_ACCMODE) !== 0 || (flags & (O_CREAT | O_TRUNC)) !== 0;

/** For writing to a file, or to make one. */
export const isWritingOpen = (flags: number): boolean => isOfContent(flags) && mayWrite(flags);
/** For reading a file's content, and nothing else. */
export const isReadOnlyOpen = (flags: number): boolean => isOfContent(flags) && !mayWrite(flags);
