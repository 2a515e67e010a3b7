"""From blocks to OpenCL: one or two kernels a block, every shape a constant."""
