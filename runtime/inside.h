/*
 * inside.h: what the recorder and its part inside the program (inside.so) tell each other: the file `sites` that says where
 * in the loader and in libc system calls return, and the file `log` of what was seen. src/sys/inside-layout.ts is compared
 * with it field by field by a test. Both sides are of one build; the version tells a log of another apart all the same.
 */
#ifndef WINNOW_INSIDE_H
#define WINNOW_INSIDE_H

#include "sys.h"

#define INSIDE_MAGIC 0x656469736e697777ull /* "wwinside" */
#define INSIDE_VERSION 2u
#define INSIDE_CHUNK 65536u
#define INSIDE_CHUNKS_MAX 4096u
#define INSIDE_SITES_MAX 112u
#define INSIDE_MODULES_MAX 2u
#define INSIDE_DESCRIPTORS 256u
/* First argument of a userfaultfd call that is none: a word with the watcher. */
#define INSIDE_WORD 0x77696e6eu
/* A userfaultfd to keep for its process comes as a message with its descriptor, to the socket `keep`. */
#define INSIDE_REGISTER 1u /* (start, end) register a mapping that was made later */

/* What stands at a site, which becomes a jump. */
#define SITE_RESULT 0u        /* cmp $0xfffffffffffff000, %rax, behind a system call */
#define SITE_RESULT_STRICT 1u /* cmp $0xfffffffffffff001, %rax */
#define SITE_RESULT_SHORT 2u  /* cmp $0xfffff000, %eax */
#define SITE_MUNMAP 3u        /* mov $11, %eax, before one */
#define SITE_SYSCALL 4u       /* the beginning of libc's syscall(): mov %rdi, %rax; mov %rsi, %rdi */
#define SITE_SYSCALL_END 5u   /* the cmp in it: not changed, jumped over */
#define SITE_EXIT 6u          /* the beginning of libc's _exit */

struct inside_site {
  u64 rva;
  u32 call; /* number of the system call */
  u32 kind;
};

struct inside_module {
  u64 device, inode, bytes;
  i64 seconds;
  u64 nanoseconds; /* of its last change */
  u32 first, count; /* its sites, ascending */
};

struct inside_sites {
  u64 magic;
  u32 version;
  u32 modules_count;
  struct inside_module modules[INSIDE_MODULES_MAX]; /* the loader, libc */
  struct inside_site sites[INSIDE_SITES_MAX];
};

/* At the start of the log; chunks follow, the first one at INSIDE_CHUNK. */
struct inside_header {
  u64 magic;
  u32 version;
  u32 chunk;    /* the one that is being filled, from 1 */
  u64 sequence; /* of the next entry */
  u32 lost;     /* entries for which there was no room, or no way to it */
  u32 watcher;  /* its process id */
};

/* At the start of a chunk; entries follow. */
struct inside_chunk {
  u32 used; /* bytes, with this; may be more than there are */
  u32 padding;
};

#define ENTRY_STARTED 1u /* a program: `first` is where its vDSO lies; folder, program, LD_LIBRARY_PATH, words, each ended by 0 */
#define ENTRY_FORKED 2u  /* a child of process `second`; `first` as above */
#define ENTRY_CALL 3u    /* `first` is the folder's descriptor, `second` the flags; the path */
#define ENTRY_EXEC 4u    /* about to be tried; the path */
#define ENTRY_PIECE 5u   /* read [first, second) of what entry `result` opened */
#define ENTRY_TABLE 6u   /* INSIDE_DESCRIPTORS of struct inside_reading, which change */
#define ENTRY_HELD 7u    /* descriptor `result` was open at the start; its path */
#define ENTRY_UNSEEN 8u  /* `first`: why this process is seen in part only */
/* The number of a look is that of its first entry, whose `result` is 0; the others have it there. */
#define ENTRY_MAPS 9u    /* a piece of /proc/self/maps */
#define ENTRY_PAGES 10u  /* struct page_region of PAGEMAP_SCAN, some */
#define ENTRY_SEEN 11u   /* ends a look of process `result` at itself: `call` is why, `first` 256 times the look's number, with a status, `second` the time, `by_loader` the parent */
#define ENTRY_DUPLICATED 12u /* descriptor `result` is `first` from now on */
#define SEEN_EXIT 1u
#define SEEN_EXEC 2u
#define SEEN_LOOK 4u /* before files are unmapped */
#define SEEN_EXEC_BORROWED 3u /* the memory is the parent's: vfork */
#define UNSEEN_PLACES 1u /* libc is another, or could not be changed */
#define UNSEEN_PAGES 2u  /* no userfaultfd, or nobody to keep it */
#define UNSEEN_SANDBOX 3u

#define ENTRY_MARK 0x77690000u

struct inside_entry {
  u32 size; /* of all of it, a multiple of 8 */
  u32 kind; /* ENTRY_MARK | one of the above */
  u64 sequence;
  u32 process;
  u32 call;
  i64 result;
  u64 first;
  u64 second;
  u32 length; /* of the path that follows */
  u32 by_loader;
};

/* A descriptor of a file that is being read: [from, at) of what entry `opened` opened. */
struct inside_reading {
  u64 opened; /* 0: none */
  u64 from;
  u64 at;
};

#endif
