import { describe, expect, it } from 'vitest';
import { expectGolden } from '../../test/golden.ts';
import { gitProfile } from '../../test/profile-samples.ts';
import { pageIndex, rva } from '../base/brands.ts';
import { toJson } from '../cli/options.ts';
import type { BuiltModule, BuiltSelect, CodeUse } from '../select/model.ts';
import { FUNCTIONS_JSON_VERSION, functionsReport } from './functions.ts';
import { renderFunctions } from './functions-text.ts';

const code = (text: number, touched: number, used: number, functions: number, entered: number): CodeUse => ({
  textPages: text,
  touchedPages: touched,
  usedPages: used,
  functions,
  usedFunctions: entered,
});

function module(
  path: string,
  use: CodeUse,
  hotPages: number,
  stayed: BuiltModule['stayed'] = [],
): BuiltModule {
  return {
    path,
    size: use.textPages * 4096,
    mtimeNs: 1n,
    inode: 2n,
    hot: [rva(0x1000)],
    stayed,
    file: 'file',
    fileSize: 0,
    fileMtimeNs: 0n,
    fileInode: 0n,
    usesOrigin: false,
    stayedPages: 2,
    pages: { dropped: [], added: [], headers: pageIndex(0) },
    figures: {
      textPages: use.textPages,
      hotPages,
      addedReadOnlyPages: 3,
      units: use.functions,
      clonedUnits: use.usedFunctions,
      jumpTables: 1,
      clonedJumpTables: 1,
      patchedReferences: 10,
      patchedRelocations: 2,
      patchedSymbols: 2,
    },
    ...use,
  };
}

const select: BuiltSelect = {
  cold: 'file',
  modules: [
    module('/lib/x86_64-linux-gnu/libc.so.6', code(342, 160, 150, 3300, 420), 36),
    module('/usr/bin/git', code(579, 170, 160, 10_155, 622), 41, [
      { reason: 'a jump table without a bound', count: 3 },
    ]),
  ],
  kept: [
    { path: '/lib64/ld-linux-x86-64.so.2', reason: 'the dynamic loader', textPages: 38 },
    { path: '/lib/libgone.so', reason: 'not there any more', textPages: 0 },
    { path: '/lib/libsmall.so', reason: 'nothing to gain', textPages: 2, code: code(2, 1, 1, 9, 2) },
  ],
};

describe('the report about functions', () => {
  const report = functionsReport(gitProfile(), select);

  it('tells module by module what code is used, and why modules stay', () => {
    expectGolden('report/functions.txt', renderFunctions(report));
  });

  it('is versioned JSON', () => {
    expectGolden('report/functions.json', toJson('functions', FUNCTIONS_JSON_VERSION, report));
  });

  it('adds up: what stays counts with all that is used of it', () => {
    const { totals, modules } = report;
    expect(totals.textPages).toBe(342 + 579 + 38 + 2);
    expect(totals.neededPages).toBe(36 + 2 + 41 + 2 + 38 + 1);
    expect(totals.neededPages).toBe(modules.reduce((sum, row) => sum + row.neededPages, 0));
    expect(totals).toMatchObject({ modules: 5, rewrittenModules: 2, usedFunctions: 1044, addedPages: 6 });
  });

  it('has nothing to divide by where there is no code', () => {
    const empty = functionsReport(gitProfile(), { cold: 'file', modules: [], kept: [] });
    expect(renderFunctions(empty)).toContain('0 modules, 0 of them rewritten');
  });
});
