// What the CUDA kernels share. It is put before each of them when it is compiled.
