/* elf.h: what the runtime reads of ELF files, in the words of the specification. */
#ifndef WINNOW_ELF_H
#define WINNOW_ELF_H

#include "sys.h"

#define ET_EXEC 2
#define ET_DYN 3
#define EM_X86_64 62
#define PT_LOAD 1
#define PT_INTERP 3
#define PT_PHDR 6
#define PT_TLS 7
#define PF_X 1u
#define PF_W 2u
#define PF_R 4u

struct elf_header {
  u8 ident[16];
  u16 type;
  u16 machine;
  u32 version;
  u64 entry;
  u64 phoff;
  u64 shoff;
  u32 flags;
  u16 ehsize;
  u16 phentsize;
  u16 phnum;
  u16 rest[3];
};

struct elf_segment {
  u32 type;
  u32 flags;
  u64 offset;
  u64 vaddr;
  u64 paddr;
  u64 filesz;
  u64 memsz;
  u64 align;
};

/* 64-bit, little-endian, x86-64, of segments as above. */
static inline int elf_is_ours(const struct elf_header *elf) {
  static const u8 ident[] = {0x7f, 'E', 'L', 'F', 2, 1};
  for (unsigned i = 0; i < sizeof ident; i++)
    if (elf->ident[i] != ident[i]) return 0;
  return elf->machine == EM_X86_64 && elf->phentsize == sizeof(struct elf_segment);
}

static inline int elf_protection(u32 flags) {
  return (flags & PF_R ? PROT_READ : 0) | (flags & PF_W ? PROT_WRITE : 0) | (flags & PF_X ? PROT_EXEC : 0);
}

#endif
