/* restore.h: what the files of restore share. */
#ifndef WINNOW_RESTORE_H
#define WINNOW_RESTORE_H

#include "elf.h"
#include "share.h"

#define AUX_TYPES 64

/* What the kernel put on the stack. */
struct start {
  u64 *stack; /* argc stands here */
  long argc;
  char **argv;
  char **envp;
  u64 *auxv;
  u64 auxv_size;            /* bytes, AT_NULL included */
  u64 *values[AUX_TYPES];   /* of the auxiliary vector, by type; NULL where there is none */
  int is_traced;            /* or it cannot be said */
  int is_filtered;          /* system calls are, or it cannot be said: then only those are made that loaders make */
};

static inline u64 aux(const struct start *start, unsigned type) {
  return start->values[type] == NULL ? 0 : *start->values[type];
}

/* Whether a call that gives an address gave an error. */
static inline int failed(long result) { return result < 0 && result > -4096; }

/* A head of up to so many bytes is read: that costs less than to map it and unmap it again. */
#define HEAD_SMALL 8192

/* NAME.linked, open. */
struct image {
  int fd;
  int is_filtered; /* as struct start has it */
  const struct linked_header *header; /* the head: mapped, or in `small` */
  u64 mapped;                         /* bytes of it; 0: it is in `small` */
  int is_kept;                        /* it stays mapped */
  u64 small[HEAD_SMALL / 8];
  const struct linked_file *files;
  const struct linked_map *maps;
  const struct linked_fixup *fixups;
  const struct linked_watch *watches;
  const struct linked_slide *slide;           /* NULL: addresses are as they are written */
  const struct linked_slid_page *slid_pages;
  u64 slides[2];                              /* of this start, by LINKED_INTO_…: the head has them already */
  const char *strings;
  struct linked_processor processor; /* of this machine */
  u32 processor_number;              /* the highest byte of cpuid 1 ebx, in place */
};

/* Why an image is not used: LINKED_BAD_…, and of what; `refused` is LINKED_GOOD where nothing speaks against it. */
struct verdict {
  u32 refused;
  u32 index;
};

static inline struct verdict verdict(u32 refused, u64 index) { return (struct verdict){refused, (u32)index}; }

/* Where to go on, and what is in rax then. */
struct jump {
  u64 rax;
  u64 to;
};

void read_processor(struct image *image);
/* What /proc says of this process. */
void read_status(struct start *start);
/* fstat, by a call that the loader makes, too. */
long stat_of(const struct image *image, int fd, struct sys_stat *stat);
/* Whatever it says, image_close comes after it. */
struct verdict image_open(struct image *image, const char *path, const struct start *start);
void image_close(struct image *image);
/* The guards that need nothing but the image and the machine. */
struct verdict check_surroundings(const struct start *start);
/* The environment may name folders for libraries, as it did when the image was built. */
struct verdict check_library_path(const struct image *image, const struct start *start);
struct verdict check_machine(const struct image *image, const struct start *start);
struct verdict check_watches(const struct image *image);
/* `all`: also those that are looked at when they are opened. */
struct verdict check_files(const struct image *image, int all);
/* A string of the image. */
const char *text_at(const struct image *image, u32 at);
/* A folder that is kept open, since the next files stand in it, too; `fd` -1: none. */
struct folder {
  int fd;
  const char *path; /* it is the first `length` bytes of it */
  u64 length;
};
void folder_close(struct folder *folder);
/* Opens a file of the image that is as it was; -1 where it is not. */
int open_file(const struct image *image, struct folder *folder, u32 index);

/* Whether this start has addresses at random. */
int has_random_addresses(const struct start *start);
/* Chooses the slides of this start, where the image has any, and adds them to the addresses of the head. */
struct verdict slide_head(struct image *image, const struct start *start);

/* Maps the image, and puts this process into the state that the loader would have left. It is closed if that is done. */
struct verdict restore_image(struct image *image, struct start *start, struct jump *jump);

/* `linked`: the image's path. Nobody hears whether it was noted. */
void note_miss(const char *linked, const struct start *start, struct verdict found);

/* Maps the dynamic loader that the program names. */
struct jump map_plain_loader(struct start *start);

/*
 * Tells the kernel where the program is, for /proc/PID/stat and auxv. A kernel that refuses it leaves debuggers
 * with the addresses of exec. Under a filter it is not asked.
 */
void tell_kernel(const struct start *start, u64 bias, const struct elf_segment *segments, u64 count);

#endif
