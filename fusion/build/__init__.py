"""From source to something that runs: the toolchain, the library in this process, the static runner."""
