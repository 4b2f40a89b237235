/** Assembly, analysed: what tests ask of it. */
import type { ElfImage } from '../../src/elf/image.ts';
import { readElf } from '../../src/elf/read.ts';
import { analyseModule, breakpointsOf } from '../../src/rewrite/analyse.ts';
import { type ModuleAnalysis, REFERENCE_ADDRESS, type Unit } from '../../src/rewrite/model.ts';
import { addressOf, unitOfSymbol, type Workshop } from './asm.ts';

export class AnalysisScene {
  readonly image: ElfImage;
  readonly analysis: ModuleAnalysis;

  constructor(image: ElfImage) {
    const analysis = analyseModule(image);
    if ('kind' in analysis) throw new Error(analysis.reason);
    this.image = image;
    this.analysis = analysis;
  }

  at(name: string): number {
    return addressOf(this.image, name);
  }

  unit(name: string): Unit {
    return unitOfSymbol(this.image, this.analysis, name);
  }

  /** Why the unit of a symbol stays. */
  kept(name: string): string | undefined {
    return this.unit(name).kept;
  }

  /** Where a unit's references lead: `branch 0x1234`. */
  references(name: string): string[] {
    const { start, end } = this.unit(name);
    const { field, target, kind } = this.analysis.references;
    return [...field.keys()]
      .filter((i) => (field[i] ?? 0) >= start && (field[i] ?? 0) < end)
      .map(
        (i) => `${kind[i] === REFERENCE_ADDRESS ? 'address' : 'branch'} 0x${(target[i] ?? 0).toString(16)}`,
      );
  }

  breakpoints(): readonly number[] {
    return breakpointsOf(this.analysis);
  }
}

export const sceneOf = (workshop: Workshop, assembly: string, options?: readonly string[]): AnalysisScene =>
  new AnalysisScene(workshop.library(`.text\n${assembly}`, options));

/** The same file with some bytes changed. */
export function edited(image: ElfImage, edit: (view: DataView) => void): ElfImage {
  const bytes = Uint8Array.from(image.bytes);
  edit(new DataView(bytes.buffer));
  return readElf(bytes, `${image.path} (edited)`);
}

/** As sstrip leaves it: no section headers. */
export const withoutSections = (image: ElfImage): ElfImage =>
  edited(image, (view) => {
    view.setBigUint64(40, 0n, true);
    view.setUint16(60, 0, true);
    view.setUint16(62, 0, true);
  });
