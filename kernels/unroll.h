// DDPMTS_UNROLL(count) in front of a loop of `count` turns: host and device compilers lay all of them out.
#pragma once

#define DDPMTS_UNROLL_PRAGMA(text) _Pragma(#text)
#if defined(__CUDA_ARCH__)
#define DDPMTS_UNROLL(count) DDPMTS_UNROLL_PRAGMA(unroll)
#elif defined(__CUDACC__)  // nvcc's pass for the host, which knows neither
#define DDPMTS_UNROLL(count)
#else
#define DDPMTS_UNROLL(count) DDPMTS_UNROLL_PRAGMA(GCC unroll count)
#endif
