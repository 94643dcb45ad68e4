// What is said where something that CUDA needs is missing, too old, or there.
#include "engine/cuda/availability.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace ddpmts::cuda {
namespace {

CudaStatus complete() {
  CudaStatus status;
  status.runtime = 13000;
  status.driver = 13010;
  status.gpus = {{"NVIDIA H200", 9, 0, 132, std::size_t{141} << 30, 1980000, 3201000},
                 {"NVIDIA T4", 7, 5, 40, std::size_t{15} << 30, 0, 0}};
  status.cudnn = {true, "", "libcudnn.so.9", 91900};
  status.cublaslt = {true, "", "libcublasLt.so.13", 130002};
  return status;
}

void expect_parts(const std::string& line, const std::vector<std::string>& parts) {
  for (const std::string& part : parts)
    EXPECT_NE(line.find(part), std::string::npos) << "'" << line << "' lacks " << part;
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 0) << line;
}

TEST(Availability, NothingIsMissingWhereAllIsThere) {
  EXPECT_TRUE(missing_parts(complete()).empty());
  EXPECT_EQ(refusal(complete(), 0), "");
  EXPECT_EQ(refusal(complete(), 1), "");
  expect_parts(describe(complete(), 0),
               {"NVIDIA H200", "sm_90", "132 multiprocessors up to 1980 MHz", "141.0 GiB up to 3201 MHz",
                "CUDA 13.0", "13.1", "cuDNN 9.19.0", "cuBLASLt 13.0.2"});
}

TEST(Availability, NamesTheDriverThatIsNotThere) {
  CudaStatus status = complete();
  status.driver = 0;
  status.gpus.clear();
  status.no_gpus_because = "CUDA driver version is insufficient for CUDA runtime version";
  ASSERT_EQ(missing_parts(status).size(), 1u);
  expect_parts(refusal(status, 0), {"cuda:0", "no NVIDIA driver", "13.0", "--device cpu"});
}

TEST(Availability, NamesTheDriverThatIsTooOld) {
  CudaStatus status = complete();
  status.driver = 12040;
  status.gpus.clear();
  ASSERT_EQ(missing_parts(status).size(), 1u);
  expect_parts(refusal(status, 0), {"CUDA up to 12.4", "CUDA 13.0 or later"});
  status.driver = 13000;  // an older minor version of the same CUDA is enough
  status.runtime = 13020;
  status.gpus = complete().gpus;
  EXPECT_TRUE(missing_parts(status).empty());
}

TEST(Availability, NamesTheGpuThatIsNotThere) {
  CudaStatus status = complete();
  status.gpus.clear();
  status.no_gpus_because = "no CUDA-capable device is detected";
  expect_parts(refusal(status, 0), {"no GPU was found", "no CUDA-capable device"});
  expect_parts(refusal(complete(), 2), {"there is no cuda:2", "2 GPUs"});
  expect_parts(refusal(complete(), -1), {"there is no cuda:-1"});
}

TEST(Availability, NamesLibrariesWithTheVersionsNeededAndFound) {
  CudaStatus status = complete();
  status.cudnn = {false, "libcudnn.so.9: cannot open shared object file", "libcudnn.so.9", 0};
  status.cublaslt.version = 110902;
  ASSERT_EQ(missing_parts(status).size(), 2u);
  expect_parts(refusal(status, 0), {"cuDNN 9.1.0 or later", "cannot open shared object",
                                    "cuBLASLt 11.9.2 was found", "12.0.0 or later"});
  status = complete();
  status.cudnn.version = 90000;
  expect_parts(refusal(status, 0), {"cuDNN 9.0.0 was found and 9.1.0 or later is needed"});
}

TEST(Availability, SaysEverythingAtOnce) {
  CudaStatus status;
  status.runtime = 13000;
  status.cudnn.error = status.cublaslt.error = "not here";
  EXPECT_EQ(missing_parts(status).size(), 3u);
  expect_parts(refusal(status, 0), {"driver", "cuDNN", "cuBLASLt"});
}

TEST(Availability, SaysHowToBuildForAnotherGpu) {
  expect_parts(no_kernels_text(complete().gpus[1], 1),
               {"cuda:1", "NVIDIA T4", "sm_75", "cmake --preset cuda"});
}

TEST(Availability, ThisMachineAnswersWithoutThrowing) {
  const CudaStatus& status = cuda_status();
  EXPECT_GE(status.runtime, 12000);
  if (status.gpus.empty()) {
    expect_parts(refusal(status, 0), {"cuda:0 cannot be used"});
  }
  if (status.cudnn.open) {
    EXPECT_GE(status.cudnn.version, 90000u);
    EXPECT_LT(status.cudnn.version, 100000u);
  } else {
    EXPECT_FALSE(status.cudnn.error.empty());
  }
  if (status.cublaslt.open) {
    EXPECT_GE(status.cublaslt.version, 120000u);
  }
}

TEST(Availability, AMissingFunctionIsNamed) {
  if (!cuda_status().cudnn.open) GTEST_SKIP() << cuda_status().cudnn.error;
  EXPECT_NE(library_symbol(Library::cudnn, "cudnnCreate"), nullptr);
  try {
    library_symbol(Library::cudnn, "cudnnNoSuchFunction");
    FAIL() << "nothing was thrown";
  } catch (const std::exception& e) {
    expect_parts(e.what(), {"libcudnn.so.9", "cudnnNoSuchFunction"});
  }
}

}  // namespace
}  // namespace ddpmts::cuda
