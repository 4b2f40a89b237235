/** The ELF header: the first 64 bytes, and the counts that stand in section header 0 when they are large. */
import { type FileOffset, type Rva, rva } from '../base/brands.ts';
import type { ElfBytes } from './bytes.ts';
import { elfError } from './errors.ts';
import { machineName } from './machines.ts';
import * as spec from './spec.ts';

export interface ElfHeader {
  readonly osAbi: number;
  readonly abiVersion: number;
  /** `e_type`: ET_EXEC, ET_DYN, ET_REL or ET_CORE. */
  readonly type: number;
  readonly machine: number;
  readonly entry: Rva;
  readonly flags: number;
  readonly headerSize: number;
  readonly segmentsAt: FileOffset;
  readonly segmentCount: number;
  readonly sectionsAt: FileOffset;
  readonly sectionCount: number;
  /** Index of the section that names the sections; 0 where there is none. */
  readonly namesSection: number;
}

const PART = 'ELF header';

/** Reads and checks the ELF header. @throws E_NOT_ELF, E_ELF_TRUNCATED, _CLASS, _DATA, _MACHINE, _HEADER, _VALUE. */
export function readHeader(file: ElfBytes): ElfHeader {
  checkIdent(file);
  const view = file.view(0, spec.EHDR_SIZE, PART);
  const fail = (what: string): never => {
    throw elfError('E_ELF_HEADER', { path: file.path, part: PART, what });
  };
  const machine = view.getUint16(18, true);
  if (machine !== spec.EM_X86_64) {
    throw elfError('E_ELF_MACHINE', {
      path: file.path,
      part: PART,
      what: `the file is for ${machineName(machine)}, not for x86-64`,
      hint: 'winnow works on x86-64 programs',
    });
  }
  if (view.getUint32(20, true) !== spec.EV_CURRENT) fail(`e_version is ${view.getUint32(20, true)}, not 1`);
  const segmentsAt = file.offset(view, 32, 'e_phoff', PART);
  const sectionsAt = file.offset(view, 40, 'e_shoff', PART);
  const phentsize = view.getUint16(54, true);
  const shentsize = view.getUint16(58, true);
  const counts = readCounts(file, view, sectionsAt);
  if (counts.segmentCount > 0 && phentsize !== spec.PHDR_SIZE) fail(`e_phentsize is ${phentsize}, not 56`);
  if (sectionsAt > 0 && shentsize !== spec.SHDR_SIZE) fail(`e_shentsize is ${shentsize}, not 64`);
  return {
    osAbi: view.getUint8(spec.EI_OSABI),
    abiVersion: view.getUint8(spec.EI_ABIVERSION),
    type: view.getUint16(16, true),
    machine,
    entry: rva(file.u64(view, 24, 'e_entry', PART)),
    flags: view.getUint32(48, true),
    headerSize: view.getUint16(52, true),
    segmentsAt,
    sectionsAt,
    ...counts,
  };
}

function checkIdent(file: ElfBytes): void {
  const { bytes, path } = file;
  if (bytes[0] !== 0x7f || bytes[1] !== 0x45 || bytes[2] !== 0x4c || bytes[3] !== 0x46) {
    throw elfError('E_NOT_ELF', {
      path,
      what: 'this is no ELF file',
      hint: 'name a program or a shared library',
    });
  }
  file.range(0, spec.EHDR_SIZE, PART);
  const fail = (code: string, what: string, hint?: string): never => {
    throw elfError(code, { path, part: PART, what, ...(hint === undefined ? {} : { hint }) });
  };
  const elfClass = bytes[spec.EI_CLASS];
  const hint = 'winnow works on 64-bit little-endian ELF files for x86-64';
  if (elfClass === spec.ELFCLASS32) fail('E_ELF_CLASS', 'this is a 32-bit ELF file', hint);
  if (elfClass !== spec.ELFCLASS64) fail('E_ELF_CLASS', `EI_CLASS is ${elfClass}, no class of ELF`, hint);
  const data = bytes[spec.EI_DATA];
  if (data === spec.ELFDATA2MSB) fail('E_ELF_DATA', 'this is a big-endian ELF file', hint);
  if (data !== spec.ELFDATA2LSB) fail('E_ELF_DATA', `EI_DATA is ${data}, no byte order of ELF`, hint);
  const version = bytes[spec.EI_VERSION];
  if (version !== spec.EV_CURRENT) fail('E_ELF_HEADER', `EI_VERSION is ${version}, not 1`);
}

function readCounts(
  file: ElfBytes,
  view: DataView,
  sectionsAt: FileOffset,
): Pick<ElfHeader, 'segmentCount' | 'sectionCount' | 'namesSection'> {
  const e_phnum = view.getUint16(56, true);
  const e_shnum = view.getUint16(60, true);
  const e_shstrndx = view.getUint16(62, true);
  if (sectionsAt === 0) return { segmentCount: e_phnum, sectionCount: 0, namesSection: 0 };
  const large = e_phnum === spec.PN_XNUM || e_shnum === 0 || e_shstrndx === spec.SHN_XINDEX;
  if (!large) return { segmentCount: e_phnum, sectionCount: e_shnum, namesSection: e_shstrndx };
  const part = 'section header 0';
  const first = file.view(sectionsAt, spec.SHDR_SIZE, part);
  return {
    segmentCount: e_phnum === spec.PN_XNUM ? first.getUint32(44, true) : e_phnum,
    sectionCount: e_shnum === 0 ? file.u64(first, 32, 'sh_size', part) : e_shnum,
    namesSection: e_shstrndx === spec.SHN_XINDEX ? first.getUint32(40, true) : e_shstrndx,
  };
}
