#!/usr/bin/env bash
# What the tests need of the system: qemu runs the aarch64 build, adb talks to the phones' test double, GCC has the
# sanitizers, G++ builds apps in C++, Valgrind sees what is left behind, a JDK runs the Java of apps, Chromium
# shows the reports, PoCL is an OpenCL driver for processors, Oclgrind looks for races, and
# LLVM 19 has llvm-mca, which counts cycles.
# A package that cannot be installed is named in one line; the tests that need it then skip, saying so.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v qemu-aarch64-static >/dev/null || scripts/apt_install.sh "the aarch64 tests" qemu-user-static || true
command -v adb >/dev/null || scripts/apt_install.sh "the tests of attached phones" adb || true
command -v pkill >/dev/null || scripts/apt_install.sh "the tests of attached phones" procps || true
command -v gcc >/dev/null || scripts/apt_install.sh "the sanitizers' tests" gcc libc6-dev || true
command -v g++ >/dev/null || scripts/apt_install.sh "the tests of C++" g++ || true
command -v valgrind >/dev/null || scripts/apt_install.sh "the tests of memory" valgrind libc6-dbg || true
command -v javac >/dev/null || scripts/apt_install.sh "the tests of Java" default-jdk-headless || true
[ -e /etc/OpenCL/vendors/pocl.icd ] || scripts/apt_install.sh "the tests of the GPU" pocl-opencl-icd ocl-icd-libopencl1 || true
[ -e /usr/lib/oclgrind/liboclgrind-rt.so ] || scripts/apt_install.sh "the checks of kernels" oclgrind || true
command -v chromium >/dev/null || scripts/apt_install.sh "the tests of the reports in a browser" chromium || true
command -v llvm-mca-19 >/dev/null || scripts/apt_install.sh "the tests of counted cycles" llvm-19 || true
