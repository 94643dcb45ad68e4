// The libraries that are opened at first use, so that this program starts where there is no NVIDIA software at all.
#pragma once

#include <string>

namespace ddpmts::cuda {

enum class Library { cudnn, cublaslt, nvrtc };

/// What came of opening a library.
struct LibraryStatus {
  bool open = false;
  std::string error;        ///< the loader's reason when it is not
  std::string name;         ///< the file name that was opened, or those that were tried
  std::size_t version = 0;  ///< as the library counts: cuDNN 91900, cuBLASLt 130000 (0 for NVRTC)
};

/// Opens it at the first call; never throws.
const LibraryStatus& library_status(Library library);

/// Address of a function; throws DeviceError when the library is not there or lacks it.
void* library_symbol(Library library, const char* function);

}  // namespace ddpmts::cuda
