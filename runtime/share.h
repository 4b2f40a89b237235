/*
 * share.h: NAME.linked, a program after linking and relocation, which winnow build writes and which restore.c
 * maps in place of running the dynamic loader.
 *
 * Little-endian, x86-64. The TypeScript side is src/share/linked/linked-layout.ts; a test compares both, field by
 * field. Rules for a change: as for plan.bin (plan.h), with which it shares the envelope and its checksum.
 *
 *     head    linked_header, files, maps, fix-ups, watches, slide, strings read at every start
 *     pages   from `pages_offset` on, page-aligned: what linking made      mapped
 *
 * The tables lie one after another in this order without gaps, each 8-byte aligned; offsets of strings are
 * counted from the start of the strings, which end with a zero byte. Addresses are final: the builder placed
 * everything. What restore.c finds other than it is written here sends it to the plain dynamic loader.
 *
 * Version 3 has what follows from the flag LINKED_SLID, without which version 2 is written: each start adds two slides of its
 * choice to all addresses of the head, one to those of the program and one to all others, and to the words of the pages that are listed.
 * Version 4 is version 3 with the flag LINKED_PAGE_IN.
 */
#ifndef WINNOW_SHARE_H
#define WINNOW_SHARE_H

#include "plan.h"

#define LINKED_MAGIC 0x4e4c776f6e6e6977ull /* the bytes "winnowLN" */
#define LINKED_VERSION 4u
#define LINKED_VERSION_SLID 3u  /* without LINKED_PAGE_IN */
#define LINKED_VERSION_FIXED 2u /* without a slide */
#define LINKED_HEAD_MAX (1u << 20)
#define LINKED_FILES_MAX 4096u
#define LINKED_MAPS_MAX 32768u
#define LINKED_FIXUPS_MAX 256u
#define LINKED_WATCHES_MAX 8192u

/* Where a map's bytes come from, beside the index of a file. */
#define LINKED_FROM_PAGES 0xffffffffu   /* this file; `offset` counts from its start */
#define LINKED_FROM_NOTHING 0xfffffffeu /* anonymous zeros */
#define LINKED_FROM_PROGRAM 0xfffffffdu /* moved from where the kernel mapped the program; `offset` is an RVA of it */

/* What the loader and the resolvers of IFUNCs choose by. */
struct linked_processor {
  u32 leaf1_eax; /* cpuid 1; of ebx only the lower three bytes, the highest is the processor's number */
  u32 leaf1_ebx;
  u32 leaf1_ecx;
  u32 leaf1_edx;
  u32 leaf7_ebx; /* cpuid 7.0 */
  u32 leaf7_ecx;
  u32 leaf7_edx;
  u32 reserved; /* 0 */
  u64 xcr0;     /* 0 where the processor has no xgetbv */
};

struct linked_header {
  struct plan_envelope envelope; /* head_checksum covers the head; the pages have page_checksum */
  u64 pages_offset;              /* head_size rounded up to pages */
  u64 pages_size;
  u64 pages_checksum; /* for `winnow verify` and `image show`; too much to read at a start */

  /* The program as it is in the image. */
  u64 start;          /* `_dl_start_user` of the dynamic loader: where it goes on once it has relocated itself and all else */
  u64 entry;          /* AT_ENTRY, also in rax at `start` */
  u64 phdr;           /* AT_PHDR */
  u64 base;           /* AT_BASE */
  u64 program_at;     /* load bias of the program */
  u64 program_phdr;   /* RVA of its program headers: AT_PHDR - this is the bias the kernel gave it */
  u64 program_first;  /* its lowest page, as an RVA */
  u64 program_size;   /* from there to the end of its highest page */
  u64 program_sum;    /* plan_checksum over what its copy begins with, headers and notes: its lowest segment, at most to the end of the page, whole words */

  /* What the loader would have told the kernel. */
  u64 thread_pointer; /* arch_prctl(ARCH_SET_FS) */
  u64 tid_at;         /* set_tid_address */
  u64 robust_at;      /* set_robust_list; 0: none */
  u64 robust_size;
  u64 rseq_at;        /* rseq; 0: none */
  u32 rseq_size;
  u32 rseq_signature;

  /* The vDSO: above all maps. Where it is not moved to vdso_at, words that point into it are fix-ups. */
  u64 vdso_at;       /* where these words have it; 0: the image knows none */
  u64 vdso_lead;     /* bytes of data pages before it */
  u64 vdso_size;
  u64 vdso_checksum; /* plan_checksum over its bytes */

  /* The machine it was linked on. What differs sends to the plain loader. */
  u64 hwcap;         /* AT_HWCAP */
  u64 hwcap2;        /* AT_HWCAP2 */
  u64 minsigstksz;   /* AT_MINSIGSTKSZ; 0: none */
  u64 stack_limit;   /* soft RLIMIT_STACK */
  u32 clock_tick;    /* AT_CLKTCK */
  u32 page_size;     /* AT_PAGESZ */
  struct linked_processor processor;

  u32 file_count;
  u32 map_count;
  u32 fixup_count;
  u32 watch_count;
  u32 strings_size;  /* bytes, a multiple of 8, the last byte 0 */
  u32 flags;         /* LINKED_JOINED, LINKED_SLID, LINKED_PAGE_IN */
  u32 library_path;  /* string: LD_LIBRARY_PATH as it was when the program was linked; LINKED_UNSET: not set */
  u32 reserved;      /* 0 */
};
#define LINKED_UNSET 0xffffffffu

/*
 * Maps may lie over another one that shows pages, an area: pages of the area with their own protection, or zeros. Those that
 * are not writable are there for the fix-ups in them, and are left out where none is written.
 */
#define LINKED_JOINED 1u

/* Addresses are the lowest ones: struct linked_slide and its pages stand between watches and strings. */
#define LINKED_SLID 2u

/* With LINKED_SLID: a start may leave words of read-only pages to the first instruction that touches them (page-in.c). */
#define LINKED_PAGE_IN 4u

/* How far a start may slide: a multiple of the unit, less than `places` units. */
struct linked_slide {
  u64 program_unit; /* bytes, whole pages */
  u64 program_places; /* 1: it has one place */
  u64 unit; /* of all that is not the program's */
  u64 places;
  u32 page_count; /* they follow */
  u32 reserved; /* 0 */
};

/*
 * Words of 8 bytes of one page that hold addresses. Ascending by address and `into`, each page within a map of this file's pages
 * that is no area. Words that are not aligned, or go over the end of their page, are fix-ups.
 */
struct linked_slid_page {
  u64 at;
  u32 into; /* what the addresses are of: LINKED_INTO_… */
  u32 reserved; /* 0 */
  u64 words[8]; /* a bit for each, the lowest of the first is the page's first word */
};
#define LINKED_INTO_PROGRAM 0u
#define LINKED_INTO_REST 1u

/* A module whose clean pages are mapped, or which must only be unchanged. */
struct linked_file {
  u32 path; /* absolute */
  u32 flags; /* LINKED_… */
  u64 size;
  i64 mtime_sec;
  u32 mtime_nsec;
  u32 device; /* st_dev: the loader knows its modules by device and inode, when one is opened by another name */
  u64 inode;
};
#define LINKED_NOT_MAPPED 1u /* nothing of it is mapped: only checked */

/* Ascending by address, without overlap, but for what lies over an area: it follows the area. */
struct linked_map {
  u64 at;
  u64 size;
  u64 offset;
  u32 from;       /* index of a file, or LINKED_FROM_… */
  u32 protection; /* PROT_… */
};

/* A word that every start writes anew. Ascending by address, each within one map that is no area. */
#define LINKED_STACK_GUARD 1u      /* the first 8 bytes of AT_RANDOM, the lowest byte zero */
#define LINKED_POINTER_GUARD 2u    /* the second 8 bytes of AT_RANDOM */
#define LINKED_ARGC 3u             /* u32 or u64 by `size` */
#define LINKED_ARGV 4u             /* address of argv[0]'s pointer */
#define LINKED_ENVP 5u             /* address of the environment's first pointer */
#define LINKED_AUXV 6u             /* address of the auxiliary vector */
#define LINKED_RANDOM 7u           /* AT_RANDOM */
#define LINKED_PLATFORM 8u         /* AT_PLATFORM */
#define LINKED_EXECFN 9u           /* AT_EXECFN */
#define LINKED_STACK_START 10u     /* the stack pointer at the program's entry: address of argc */
#define LINKED_BREAK 11u           /* what brk(0) says */
#define LINKED_TID 12u             /* what set_tid_address says */
#define LINKED_SECURE_IDS 13u      /* reserved: AT_UID and the like are checked, not stored */
#define LINKED_CPU_NUMBER 14u      /* cpuid 1 ebx: the byte of the processor's number, in the highest byte of a u32 */
#define LINKED_IN_VDSO 15u         /* how far the vDSO is from vdso_at is added to the word of 8 bytes */
#define LINKED_SLID_PROGRAM 17u    /* the program's slide is added to the word of 8 bytes */
#define LINKED_SLID_REST 18u       /* the slide of all else is */
#define LINKED_THREAD_STACK 16u    /* soft RLIMIT_STACK rounded up to pages; images with it start under other limits, too */

struct linked_fixup {
  u64 at;
  u32 kind;
  u32 size; /* 4 or 8 */
};

/* A path that decided where the loader found something. */
#define LINKED_ABSENT 1u    /* does not exist */
#define LINKED_UNCHANGED 2u /* file or folder: inode, size (of files) and times as here */
struct linked_watch {
  u32 path;
  u32 kind;
  u64 size; /* 0 for folders */
  i64 mtime_sec;
  u32 mtime_nsec;
  u32 reserved; /* 0 */
  u64 inode;
};

/*
 * The note in restore's copy that stands in an image: where the image is. A copy in which it is empty starts
 * every program plainly.
 */
#define LINKED_NOTE_NAME "winnow"
#define LINKED_NOTE_TYPE 0x4e4cu
#define LINKED_NOTE_PATH 4096u /* bytes of the descriptor: an absolute path ended by a zero byte */

/*
 * Why an image is not used: what restore.c found first. In front of a program it says nothing and runs the plain
 * loader. Run as a program, `restore [NAME.linked]` writes a linked_answer to its standard output.
 */
#define LINKED_GOOD 0u
#define LINKED_BAD_ENVIRONMENT 1u /* LD_LIBRARY_PATH is another one; or another LD_…, GLIBC_TUNABLES or MALLOC_… is set */
#define LINKED_BAD_SECURE 2u      /* AT_SECURE */
#define LINKED_BAD_KERNEL 3u      /* AT_HWCAP, AT_HWCAP2, AT_MINSIGSTKSZ, AT_PAGESZ, AT_CLKTCK */
#define LINKED_BAD_STACK 4u       /* soft RLIMIT_STACK */
#define LINKED_BAD_PROCESSOR 5u
#define LINKED_BAD_VDSO 6u
#define LINKED_BAD_IMAGE 7u       /* missing, of another version, damaged, or others may write it */
#define LINKED_BAD_PROGRAM 8u     /* the program that the kernel mapped is another */
#define LINKED_BAD_FILE 9u        /* `index`: of the file that is missing or has changed */
#define LINKED_BAD_WATCH 10u      /* `index`: of the path that is there, is missing or has changed */
#define LINKED_BAD_ADDRESS 11u    /* `index`: of the map whose range is taken, or for which there is no memory; or how many there are, where the vDSO is below them */
#define LINKED_BAD_CALL 12u       /* the kernel refused a call that the loader makes */
#define LINKED_BAD_DEBUGGER 13u   /* a debugger has started it: its breakpoints stand where the kernel put the program */
#define LINKED_BAD_FILTER 14u     /* a seccomp filter may kill who makes a call that loaders do not make */
struct linked_answer {
  u32 refused; /* LINKED_GOOD or LINKED_BAD_… */
  u32 index;
  struct linked_processor processor; /* of this machine */
};

#endif
