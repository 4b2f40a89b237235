// Debian packages that the tests use beyond Node, each with what shows that it is there: commands, or
// absolute paths. test/docs.test.ts compares them with what test/programs.ts needs.

/** Without these nothing can be built. */
export const BUILD_PACKAGES = {
  gcc: ['gcc'],
  'libc6-dev': ['/usr/include/stdio.h'],
  'libbrotli-dev': ['/usr/include/brotli/decode.h'],
  binutils: ['ld', 'as', 'readelf', 'objdump'],
};

export const TEST_PACKAGES = {
  ...BUILD_PACKAGES,
  bc: ['bc'],
  coreutils: ['cp', 'mkfifo', 'sort', 'stty'],
  e2fsprogs: ['mkfs.ext4'],
  elfutils: ['eu-readelf', 'eu-elflint'],
  findutils: ['find'],
  'g++': ['g++'],
  gdb: ['gdb'],
  git: ['git'],
  gzip: ['gzip'],
  make: ['make'],
  mawk: ['awk'],
  mount: ['losetup', 'mount', 'umount'],
  'musl-tools': ['musl-gcc'],
  openssl: ['openssl'],
  perl: ['perl'],
  python3: ['/usr/bin/python3'],
  'python3-numpy': ['/usr/lib/python3/dist-packages/numpy/__init__.py'],
  'r-base-core': ['Rscript'],
  sed: ['sed'],
  sqlite3: ['sqlite3'],
  tar: ['tar'],
  tcl: ['tclsh'],
  'util-linux': ['setpriv', 'unshare'],
  vmtouch: ['vmtouch'],
  'xz-utils': ['xz'],
};
