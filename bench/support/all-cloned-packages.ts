/** The Debian packages whose libraries are rewritten with every function copied. */
import { lstatSync } from 'node:fs';
import { tool } from './sh.ts';

/** Of every kind: C, C++, Fortran, Rust, hand-written assembly, compilers' runtimes, drivers, plain data. */
export const LIBRARY_PACKAGES: readonly string[] = `
  ibverbs-providers lib2geom1.2.0 libacl1 libaec0 libamd2 libaom3 libapparmor1 libappstream4 libapt-pkg6.0
  libarchive13 libargon2-1 libasm1 libasound2 libaspell15 libassuan0 libasyncns0 libatk-bridge2.0-0
  libatk1.0-0 libatkmm-1.6-1v5 libatm1 libatomic1 libatspi2.0-0 libattr1 libaudit1 libavahi-client3
  libavahi-common3 libavif15 libbinutils libblkid1 libboost-filesystem1.74.0 libboost-iostreams1.74.0
  libboost-program-options1.74.0 libboost-regex1.74.0 libbpf1 libbrotli1 libbsd0 libbtf1 libbz2-1.0 libc6
  libcairo-gobject2 libcairo2 libcairomm-1.0-1v5 libcamd2 libcap-ng0 libcap2 libcbor0.8 libcc1-0
  libccolamd2 libcdr-0.1-1 libcholmod3 libcolamd2 libcolord2 libcom-err2 libcrypt1 libcryptsetup12
  libctf-nobfd0 libctf0 libcups2 libcurl3-gnutls libcurl3-nss libcurl4 libcxsparse3 libdatrie1 libdav1d6
  libdb5.3 libdbus-1-3 libdconf1 libde265-0 libdebconfclient0 libdebuginfod1 libdeflate0
  libdevmapper1.02.1 libdouble-conversion3 libdrm-amdgpu1 libdrm-intel1 libdrm-nouveau2 libdrm-radeon1
  libdrm2 libduktape207 libdw1 libedit2 libegl-mesa0 libegl1 libelf1 libenchant-2-2 libepoxy0
  libevent-2.1-7 libevent-core-2.1-7 libevent-extra-2.1-7 libevent-openssl-2.1-7 libevent-pthreads-2.1-7
  libexpat1 libext2fs2 libfabric1 libfdisk1 libffi8 libfftw3-double3 libfftw3-long3 libfftw3-mpi3
  libfftw3-quad3 libfftw3-single3 libfido2-1 libflac12 libfontconfig1 libfontenc1 libfreetype6 libfribidi0
  libgail18 libgav1-1 libgbm1 libgc1 libgcc-s1 libgcrypt20 libgd3 libgdbm-compat4 libgdbm6
  libgdk-pixbuf-2.0-0 libgfortran5 libgif7 libgirepository-1.0-1 libgl1 libglapi-mesa libgles1 libgles2
  libglib2.0-0 libglibmm-2.4-1v5 libglu1-mesa libglut3.12 libglvnd0 libglx-mesa0 libglx0 libgmp10
  libgmpxx4ldbl libgnutls-dane0 libgnutls-openssl27 libgnutls30 libgnutlsxx30 libgomp1 libgpg-error0
  libgpm2 libgraphite2-3 libgsl27 libgslcblas0 libgspell-1-2 libgssapi-krb5-2 libgstreamer1.0-0 libgtk-3-0
  libgtk2.0-0 libgtkmm-3.0-1v5 libharfbuzz-subset0 libharfbuzz0b libhdf5-openmpi-103-1
  libhdf5-openmpi-cpp-103-1 libhdf5-openmpi-fortran-102 libhdf5-openmpi-hl-100 libhdf5-openmpi-hl-cpp-100
  libhdf5-openmpi-hl-fortran-100 libheif1 libhogweed6 libhunspell-1.7-0 libhwloc15 libhypre-2.26.0
  libibverbs1 libice6 libicu72 libidn2-0 libip4tc2 libipt2 libisl23 libitm1 libjansson4 libjbig0
  libjpeg62-turbo libjq1 libjson-c5 libjsoncpp25 libk5crypto3 libkeyutils1 libklu1 libkmod2 libkrb5-3
  libkrb5support0 libksba8 liblcms2-2 libldap-2.5-0 libldl2 liblerc4 liblqr-1-0 libltdl7 liblz4-1 liblzma5
  libmagic1 libmagick++-6.q16-8 libmagickcore-6.q16-6 libmagickwand-6.q16-6 libmd0 libmetis5 libminizip1
  libmnl0 libmongoose2 libmount1 libmp3lame0 libmpc3 libmpfr6 libmpg123-0 libmumps-5.5 libmunge2
  libncurses6 libncursesw6 libnettle8 libnghttp2-14 libnl-3-200 libnl-route-3-200 libnpth0 libnsl2
  libnspr4 libnss-systemd libnss3 libnuma1 libogg0 libonig5 libopencsd1 libopengl0 libopenh264-7
  libopenjp2-7 libopenmpi3 libopus0 libp11-kit0 libpackagekit-glib2-18 libpam0g libpango-1.0-0
  libpangocairo-1.0-0 libpangoft2-1.0-0 libpangomm-1.4-1v5 libpaper1 libpciaccess0 libpcre2-8-0
  libpcsclite1 libperl5.36 libpetsc-real3.18 libpfm4 libpipeline1 libpixman-1-0 libpkgconf3 libpng16-16
  libpolkit-agent-1-0 libpolkit-gobject-1-0 libpoppler-glib8 libpoppler126 libpotrace0 libpq5 libproc2-0
  libproxy1v5 libpsl5 libpsm-infinipath1 libpsm2-2 libptscotch-7.0 libpulse0 libpython3.11 libquadmath0
  librav1e0 librbio2 librdmacm1 libreadline8 librevenge-0.0-0 librhash0 librsvg2-2 librtmp1 libsasl2-2
  libscalapack-openmpi2.2 libscotch-7.0 libseccomp2 libselinux1 libsemanage2 libsensors5 libsepol2
  libsigc++-2.0-0v5 libslang2 libsliplu1 libsm6 libsmartcols1 libsndfile1 libsodium23 libsoup2.4-1
  libsource-highlight4v5 libspqr2 libsqlite3-0 libss2 libssh2-1 libssl3 libstdc++6 libstemmer0d
  libsuitesparseconfig5 libsuperlu-dist8 libsuperlu5 libsvtav1enc1 libsystemd0 libsz2 libtasn1-6 libtcl8.6
  libthai0 libtiff6 libtinfo6 libtirpc3 libtk8.6 libtrilinos-amesos-13.2 libtrilinos-aztecoo-13.2
  libtrilinos-epetra-13.2 libtrilinos-epetraext-13.2 libtrilinos-galeri-13.2 libtrilinos-ifpack-13.2
  libtrilinos-kokkos-13.2 libtrilinos-ml-13.2 libtrilinos-teuchos-13.2 libtrilinos-trilinosss-13.2
  libtrilinos-triutils-13.2 libtrilinos-zoltan-13.2 libubsan1 libuchardet0 libucx0 libudev1 libumfpack5
  libunbound8 libunistring2 libunwind8 libutempter0 libuuid1 libuv1 libvisio-0.1-1 libvorbis0a
  libvorbisenc2 libwayland-client0 libwayland-cursor0 libwayland-egl1 libwayland-server0 libwebp7
  libwebpdemux2 libwebpmux3 libwpd-0.10-10 libwpg-0.3-3 libx11-6 libx11-xcb1 libx265-199 libxau6 libxaw7
  libxcb-cursor0 libxcb-dri2-0 libxcb-dri3-0 libxcb-glx0 libxcb-image0 libxcb-present0 libxcb-randr0
  libxcb-render-util0 libxcb-render0 libxcb-shape0 libxcb-shm0 libxcb-sync1 libxcb-util1 libxcb-xfixes0
  libxcb-xkb1 libxcb1 libxcomposite1 libxcursor1 libxdamage1 libxdmcp6 libxext6 libxfixes3 libxft2 libxi6
  libxinerama1 libxkbcommon-x11-0 libxkbcommon0 libxkbfile1 libxml2 libxmlb2 libxmlsec1 libxmlsec1-gcrypt
  libxmlsec1-gnutls libxmlsec1-nss libxmlsec1-openssl libxmu6 libxmuu1 libxnvctrl0 libxpm4 libxrandr2
  libxrender1 libxshmfence1 libxslt1.1 libxss1 libxt6 libxtables12 libxtst6 libxv1 libxxf86dga1
  libxxf86vm1 libxxhash0 libyaml-0-2 libyuv0 libz3-4 libzstd1 ocl-icd-libopencl1 zlib1g
`
  .trim()
  .split(/\s+/);

const FOLDER = /^(?:\/usr)?(\/lib\/x86_64-linux-gnu\/[^/]+\.so[^/]*)$/;

/** The libraries of installed packages that stand in the loader's own folder, and their packages' versions. */
export function librariesOf(packages: readonly string[]): {
  readonly libraries: readonly string[];
  readonly versions: Readonly<Record<string, string>>;
} {
  const fields = tool('dpkg-query', '-W', '-f', `\${Package} \${Architecture} \${Version}\\n`, ...packages);
  const versions: Record<string, string> = {};
  const names: string[] = [];
  for (const line of fields.split('\n')) {
    const [name = '', architecture = '', version = ''] = line.split(' ');
    if (architecture !== 'amd64') continue;
    versions[name] = version;
    names.push(`${name}:amd64`);
  }
  const files = tool('dpkg-query', '-L', ...names).split('\n');
  const libraries = files.flatMap((file) => {
    const inLib = FOLDER.exec(file)?.[1];
    return inLib === undefined ? [] : [`/usr${inLib}`];
  });
  return { libraries: [...new Set(libraries)].filter(isFile).toSorted(), versions };
}

const isFile = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false })?.isFile() === true;
