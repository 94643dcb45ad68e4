#include "engine/cuda/libraries.h"

#include <dlfcn.h>

#include <vector>

#include "engine/error.h"

namespace ddpmts::cuda {
namespace {

struct OpenLibrary {
  void* handle = nullptr;
  LibraryStatus status;
};

// Newest first. The interfaces used here are the same in each of them.
std::vector<const char*> file_names(Library library) {
  switch (library) {
    case Library::cudnn:
      return {"libcudnn.so.9"};
    case Library::cublaslt:
      return {"libcublasLt.so.13", "libcublasLt.so.12"};
    case Library::nvrtc:
      return {"libnvrtc.so.13", "libnvrtc.so.12"};
  }
  return {};
}

OpenLibrary open_library(Library library) {
  OpenLibrary result;
  for (const char* name : file_names(library)) {
    result.handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    result.status.name += (result.status.name.empty() ? "" : ", ") + std::string(name);
    if (result.handle == nullptr) {
      const char* reason = dlerror();
      result.status.error +=
          (result.status.error.empty() ? "" : "; ") + std::string(reason != nullptr ? reason : "?");
      continue;
    }
    result.status.open = true;
    result.status.error.clear();
    result.status.name = name;
    const char* version = library == Library::cudnn      ? "cudnnGetVersion"
                          : library == Library::cublaslt ? "cublasLtGetVersion"
                                                         : nullptr;
    if (version != nullptr) {
      if (void* symbol = dlsym(result.handle, version)) {
        result.status.version = reinterpret_cast<std::size_t (*)()>(symbol)();
      }
    }
    break;
  }
  return result;
}

// Never closed: plans and handles live until the program ends.
const OpenLibrary& opened(Library library) {
  switch (library) {
    case Library::cudnn: {
      static const auto* cudnn = new OpenLibrary(open_library(Library::cudnn));
      return *cudnn;
    }
    case Library::cublaslt: {
      static const auto* cublaslt = new OpenLibrary(open_library(Library::cublaslt));
      return *cublaslt;
    }
    case Library::nvrtc:
      break;
  }
  static const auto* nvrtc = new OpenLibrary(open_library(Library::nvrtc));
  return *nvrtc;
}

}  // namespace

const LibraryStatus& library_status(Library library) { return opened(library).status; }

void* library_symbol(Library library, const char* function) {
  const OpenLibrary& from = opened(library);
  if (from.handle == nullptr) {
    throw_error<DeviceError>("{} cannot be opened ({}): install it, or put its folder on LD_LIBRARY_PATH",
                             from.status.name, from.status.error);
  }
  void* symbol = dlsym(from.handle, function);
  if (symbol == nullptr) {
    throw_error<DeviceError>("{} (version {}) has no function {}: another version is needed",
                             from.status.name, from.status.version, function);
  }
  return symbol;
}

}  // namespace ddpmts::cuda
