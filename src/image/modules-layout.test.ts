/** TypeScript's modules-layout.ts and C's modules.h say the same. */
import { describe, it } from 'vitest';
import {
  compiledLayout,
  expectNoGap,
  expectSameConstants,
  expectSameFields,
} from '../../test/support/c-layout.ts';
import * as layout from './modules-layout.ts';
import { ENVELOPE } from './plan-layout.ts';

const STRUCTS = { modules_header: layout.MODULES_HEADER, modules_entry: layout.MODULES_ENTRY };

const CONSTANTS = {
  MODULES_MAGIC: layout.MODULES_MAGIC,
  MODULES_VERSION: layout.MODULES_VERSION,
  MODULES_VERSION_PLAIN: layout.MODULES_VERSION_PLAIN,
  MODULES_MAX: layout.MODULES_MAX,
  MODULES_SIZE_MAX: layout.MODULES_SIZE_MAX,
  MODULES_SHOW_AUTO: layout.SHOW_MODES.indexOf('auto'),
  MODULES_SHOW_MOUNTS: layout.SHOW_MODES.indexOf('mounts'),
  MODULES_SHOW_USER_MOUNTS: layout.SHOW_MODES.indexOf('user-mounts'),
  MODULES_SHOW_AUDIT: layout.SHOW_MODES.indexOf('audit'),
  MODULES_SHOW_PLAIN: layout.SHOW_MODES.indexOf('plain'),
  MODULES_SHOW_LAST: layout.SHOW_MODES.length - 1,
  MODULES_COLD_FILE: layout.COLD_MODES.indexOf('file'),
  MODULES_COLD_DENY: layout.COLD_MODES.indexOf('deny'),
  MODULES_COLD_STORE: layout.COLD_MODES.indexOf('store'),
  MODULE_LIBRARY: layout.MODULE_ROLES.indexOf('library'),
  MODULE_PROGRAM: layout.MODULE_ROLES.indexOf('program'),
  MODULE_INTERPRETER: layout.MODULE_ROLES.indexOf('interpreter'),
  MODULE_ROLE: layout.MODULE_ROLE,
  MODULE_USES_ORIGIN: layout.MODULE_USES_ORIGIN,
  MODULE_LINKED: layout.MODULE_LINKED,
  MODULE_BY_ANY_NAME: layout.MODULE_BY_ANY_NAME,
};

describe('the layout of modules.bin', () => {
  const seen = compiledLayout({
    header: 'modules.h',
    structs: STRUCTS,
    constants: Object.keys(CONSTANTS),
  });

  it.each(Object.entries(STRUCTS))('agrees with the compiler on struct %s', (struct, fields) => {
    expectSameFields(seen, struct, fields);
  });

  it('leaves no field out', () => {
    expectNoGap('modules_header', layout.MODULES_HEADER, ENVELOPE.size);
    expectNoGap('modules_entry', layout.MODULES_ENTRY);
  });

  it('agrees on the constants', () => expectSameConstants(seen, CONSTANTS));
});
