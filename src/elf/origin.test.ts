import { expect, it } from 'vitest';
import { mentionsOrigin } from './origin.ts';

it('tells a module that asks for files by its own folder', () => {
  expect(mentionsOrigin(Buffer.from('..\0$ORIGIN/../lib\0'))).toBe(true);
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the loader's
  expect(mentionsOrigin(Buffer.from('/opt:${ORIGIN}\0'))).toBe(true);
  expect(mentionsOrigin(Buffer.from('/usr/lib\0ORIGIN\0'))).toBe(false);
});
