// main() of test programs that need a GPU. Without one they say so and exit with 77, which CTest shows as skipped.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstdio>

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (!GTEST_FLAG_GET(list_tests)) {
    int devices = 0;
    const cudaError_t error = cudaGetDeviceCount(&devices);
    if (error != cudaSuccess || devices == 0) {
      std::printf("SKIPPED: no CUDA device to run on (%s)\n",
                  error == cudaSuccess ? "the driver reports none" : cudaGetErrorString(error));
      return 77;
    }
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, 0) == cudaSuccess) {
      std::printf("running on %s, compute capability %d.%d\n", properties.name, properties.major,
                  properties.minor);
    }
  }
  return RUN_ALL_TESTS();
}
