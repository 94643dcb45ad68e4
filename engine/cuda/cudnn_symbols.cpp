// The functions of cuDNN (and of NVRTC, which one engine inside cudnn-frontend names) that this program refers to, each
// bound to the opened library at its first call. They stand where the linker would else put -lcudnn -lnvrtc.
#include <cudnn.h>
#include <nvrtc.h>

#include "engine/cuda/libraries.h"

#define DDPMTS_BIND_LATE(library, Result, name, parameters, arguments)            \
  extern "C" Result name parameters {                                             \
    static const auto function = reinterpret_cast<decltype(&name)>(               \
        ::ddpmts::cuda::library_symbol(::ddpmts::cuda::Library::library, #name)); \
    return function arguments;                                                    \
  }
#define DDPMTS_CUDNN(Result, name, parameters, arguments) \
  DDPMTS_BIND_LATE(cudnn, Result, name, parameters, arguments)
#define DDPMTS_NVRTC(name, parameters, arguments) \
  DDPMTS_BIND_LATE(nvrtc, nvrtcResult, name, parameters, arguments)

DDPMTS_CUDNN(size_t, cudnnGetVersion, (), ())
DDPMTS_CUDNN(const char*, cudnnGetErrorString, (cudnnStatus_t status), (status))
DDPMTS_CUDNN(void, cudnnGetLastErrorString, (char* message, size_t size), (message, size))
DDPMTS_CUDNN(cudnnStatus_t, cudnnCreate, (cudnnHandle_t * handle), (handle))
DDPMTS_CUDNN(cudnnStatus_t, cudnnDestroy, (cudnnHandle_t handle), (handle))
DDPMTS_CUDNN(cudnnStatus_t, cudnnSetStream, (cudnnHandle_t handle, cudaStream_t stream), (handle, stream))
DDPMTS_CUDNN(cudnnStatus_t, cudnnGetStream, (cudnnHandle_t handle, cudaStream_t* stream), (handle, stream))
DDPMTS_CUDNN(cudnnStatus_t, cudnnBackendCreateDescriptor,
             (cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t* descriptor), (type, descriptor))
DDPMTS_CUDNN(cudnnStatus_t, cudnnBackendDestroyDescriptor, (cudnnBackendDescriptor_t descriptor),
             (descriptor))
DDPMTS_CUDNN(cudnnStatus_t, cudnnBackendFinalize, (cudnnBackendDescriptor_t descriptor), (descriptor))
DDPMTS_CUDNN(cudnnStatus_t, cudnnBackendSetAttribute,
             (cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
              cudnnBackendAttributeType_t type, int64_t count, const void* elements),
             (descriptor, name, type, count, elements))
DDPMTS_CUDNN(cudnnStatus_t, cudnnBackendGetAttribute,
             (cudnnBackendDescriptor_t const descriptor, cudnnBackendAttributeName_t name,
              cudnnBackendAttributeType_t type, int64_t asked, int64_t* count, void* elements),
             (descriptor, name, type, asked, count, elements))
DDPMTS_CUDNN(cudnnStatus_t, cudnnBackendExecute,
             (cudnnHandle_t handle, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack),
             (handle, plan, pack))

DDPMTS_NVRTC(nvrtcCreateProgram,
             (nvrtcProgram * program, const char* source, const char* name, int count,
              const char* const* headers, const char* const* names),
             (program, source, name, count, headers, names))
DDPMTS_NVRTC(nvrtcDestroyProgram, (nvrtcProgram * program), (program))
DDPMTS_NVRTC(nvrtcCompileProgram, (nvrtcProgram program, int count, const char* const* options),
             (program, count, options))
DDPMTS_NVRTC(nvrtcGetCUBINSize, (nvrtcProgram program, size_t* size), (program, size))
DDPMTS_NVRTC(nvrtcGetCUBIN, (nvrtcProgram program, char* cubin), (program, cubin))
DDPMTS_NVRTC(nvrtcGetProgramLogSize, (nvrtcProgram program, size_t* size), (program, size))
DDPMTS_NVRTC(nvrtcGetProgramLog, (nvrtcProgram program, char* log), (program, log))
