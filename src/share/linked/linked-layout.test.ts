/** TypeScript's linked-layout.ts and C's share.h say the same. */
import { describe, expect, it } from 'vitest';
import {
  compiledLayout,
  expectNoGap,
  expectSameConstants,
  expectSameFields,
} from '../../../test/support/c-layout.ts';
import { ENVELOPE } from '../../base/envelope.ts';
import * as layout from './linked-layout.ts';

const STRUCTS = {
  linked_processor: layout.PROCESSOR,
  linked_header: layout.LINKED_HEADER,
  linked_file: layout.LINKED_FILE,
  linked_map: layout.LINKED_MAP,
  linked_fixup: layout.LINKED_FIXUP,
  linked_watch: layout.LINKED_WATCH,
  linked_slide: layout.LINKED_SLIDE,
  linked_slid_page: layout.LINKED_SLID_PAGE,
  linked_answer: layout.LINKED_ANSWER,
};

/** Structs and tables in structs. */
const NESTED = new Set(['linked_header', 'linked_answer', 'linked_slid_page']);

const upper = (name: string): string => name.toUpperCase().replaceAll('-', '_');

const CONSTANTS = {
  LINKED_MAGIC: layout.LINKED_MAGIC,
  LINKED_VERSION: layout.LINKED_VERSION,
  LINKED_VERSION_FIXED: layout.LINKED_VERSION_FIXED,
  LINKED_HEAD_MAX: layout.LINKED_HEAD_MAX,
  LINKED_FILES_MAX: layout.LINKED_FILES_MAX,
  LINKED_MAPS_MAX: layout.LINKED_MAPS_MAX,
  LINKED_FIXUPS_MAX: layout.LINKED_FIXUPS_MAX,
  LINKED_WATCHES_MAX: layout.LINKED_WATCHES_MAX,
  LINKED_FROM_PAGES: layout.LINKED_FROM_PAGES,
  LINKED_FROM_NOTHING: layout.LINKED_FROM_NOTHING,
  LINKED_FROM_PROGRAM: layout.LINKED_FROM_PROGRAM,
  LINKED_NOT_MAPPED: layout.LINKED_NOT_MAPPED,
  LINKED_JOINED: layout.LINKED_JOINED,
  LINKED_UNSET: layout.LINKED_UNSET,
  LINKED_SLID: layout.LINKED_SLID,
  LINKED_ABSENT: layout.LINKED_ABSENT,
  LINKED_UNCHANGED: layout.LINKED_UNCHANGED,
  LINKED_NOTE_TYPE: layout.LINKED_NOTE_TYPE,
  LINKED_NOTE_PATH: layout.LINKED_NOTE_PATH,
  PROT_READ: layout.PROT_READ,
  PROT_WRITE: layout.PROT_WRITE,
  PROT_EXEC: layout.PROT_EXEC,
  ...Object.fromEntries(
    Object.entries(layout.FIX_UP_KINDS).map(([kind, number]) => [`LINKED_${upper(kind)}`, number]),
  ),
  ...Object.fromEntries(
    Object.entries(layout.SLID_INTO).map(([into, number]) => [`LINKED_INTO_${upper(into)}`, number]),
  ),
  ...Object.fromEntries(
    layout.REFUSALS.map((name, number) => [
      number === 0 ? 'LINKED_GOOD' : `LINKED_BAD_${upper(name)}`,
      number,
    ]),
  ),
};

describe('the layout of NAME.linked', () => {
  const seen = compiledLayout({
    header: 'share.h',
    structs: STRUCTS,
    constants: Object.keys(CONSTANTS),
    values: {
      note: `__builtin_strcmp(LINKED_NOTE_NAME, "${layout.LINKED_NOTE_NAME}")`,
    },
  });

  it.each(Object.entries(STRUCTS))('agrees with the compiler on struct %s', (struct, fields) => {
    expectSameFields(seen, struct, fields);
  });

  it('leaves no field out', () => {
    for (const [struct, fields] of Object.entries(STRUCTS)) {
      if (!NESTED.has(struct)) expectNoGap(struct, fields);
    }
    const { size, words, ...page } = layout.LINKED_SLID_PAGE;
    expectNoGap('linked_slid_page', { ...page, size: words });
    expect(size).toBe(words + 64);
    const { size: _, processor, ...rest } = layout.LINKED_HEADER;
    const before = Object.fromEntries(Object.entries(rest).filter(([, at]) => at < processor));
    expectNoGap('linked_header', { ...before, size: processor }, ENVELOPE.size);
    const after = Object.fromEntries(Object.entries(rest).filter(([, at]) => at > processor));
    expectNoGap(
      'linked_header',
      { ...after, size: layout.LINKED_HEADER.size },
      processor + layout.PROCESSOR.size,
    );
    expect(layout.LINKED_HEADER_SIZE_1).toBe(layout.LINKED_HEADER.library_path);
    expect(layout.LINKED_ANSWER.processor + layout.PROCESSOR.size).toBe(layout.LINKED_ANSWER.size);
  });

  it('agrees on the constants', () => {
    expectSameConstants(seen, CONSTANTS);
    expect(seen.get('note')).toBe(0n);
  });
});
