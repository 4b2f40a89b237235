/**
 * Arguments without what changes from run to run, so that the processes of two runs can be matched.
 *
 * Problem: `as -o /tmp/ccAb12.o /tmp/ccXy99.s` has other names each time. Method: names under temporary
 * folders, UUIDs, long hexadecimal and long decimal numbers become `*`; what tells arguments apart
 * (`-O2`, `x86_64`, the extension) stays. Limits: random names outside temporary folders stay; two
 * processes that differ in a long number only are taken for the same.
 */

const MAX_ARGUMENTS = 64;
const MAX_CHARACTERS = 256;

const TEMPORARY =
  /(?:(?<![\w.-])|(?<=^-[A-Za-z]))((?:\/private)?\/(?:var\/tmp|tmp|dev\/shm|run\/user\/[^/\s:,;='"]+)\/)([^/\s:,;='"]+)/g;
const UUID = /(?<![0-9a-z])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![0-9a-z])/gi;
const HEX = /(?<![0-9a-z])(?:0x[0-9a-f]{4,}|(?=[a-f]*[0-9])[0-9a-f]{8,})(?![0-9a-z])/gi;
const NUMBER = /[0-9]{4,}/g;

function withoutTemporaryName(_match: string, folder: string, name: string): string {
  const extension = /\.[A-Za-z][A-Za-z0-9+]{0,7}$/.exec(name)?.[0] ?? '';
  return `${folder}*${extension}`;
}

function oncePerPattern(argument: string): string {
  const shape = argument
    .replace(TEMPORARY, withoutTemporaryName)
    .replace(UUID, '*')
    .replace(HEX, '*')
    .replace(NUMBER, '*');
  return shape.length > MAX_CHARACTERS ? `${shape.slice(0, MAX_CHARACTERS - 1)}*` : shape;
}

function argumentShape(argument: string): string {
  let shape = oncePerPattern(argument.slice(0, 4 * MAX_CHARACTERS));
  // What one pattern or the cut leaves may begin to fit another. Each step shortens or removes digits.
  for (let next = oncePerPattern(shape); next !== shape; next = oncePerPattern(shape)) shape = next;
  return shape;
}

/**
 * The shape of argv: at most 64 arguments of at most 256 characters; more are one `*`. The shape of a
 * shape is itself.
 */
export function argvShape(argv: readonly string[]): string[] {
  const shape = argv.slice(0, MAX_ARGUMENTS).map(argumentShape);
  if (argv.length > MAX_ARGUMENTS) shape[MAX_ARGUMENTS - 1] = '*';
  return shape;
}
