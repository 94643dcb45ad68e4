# Whether the CUDA device is built, for which GPUs, and with which cudnn-frontend.
#
# DDPMTS_CUDA=ON wants it, OFF does without, AUTO takes it where nvcc, cuDNN's headers and cudnn-frontend are there.
# Nothing of NVIDIA's but the CUDA runtime (static) is linked: cuDNN and cuBLASLt are opened at first use, so a CUDA build
# starts on a machine without any of them.
set(DDPMTS_CUDNN_FRONTEND_VERSION 1.32.0)  # fetched by scripts/setup.sh, which holds its checksum

# Errors of CUDA calls name the file that called. Only there: on every command line it would keep ccache from serving another checkout.
set(DDPMTS_SHORT_FILE_NAMES -fmacro-prefix-map=${CMAKE_SOURCE_DIR}/=)

set(DDPMTS_CUDA_ENABLED OFF)
set(DDPMTS_CUDA_LACKS "")
if(NOT DDPMTS_CUDA MATCHES "^(ON|OFF|AUTO)$")
  message(FATAL_ERROR "DDPMTS_CUDA is '${DDPMTS_CUDA}': expected ON, OFF or AUTO")
endif()
if(DDPMTS_CUDA STREQUAL "OFF")
  return()
endif()

# The GPU that is here, or Hopper; all supported ones for a release, with PTX for what comes after.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  if(DDPMTS_ALL_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80-real 86-real 89-real 90-real 100-real 120-real 120-virtual)
  else()
    execute_process(COMMAND nvidia-smi -L RESULT_VARIABLE no_gpu OUTPUT_VARIABLE gpus ERROR_QUIET)
    if(no_gpu EQUAL 0 AND gpus MATCHES "GPU 0")
      set(CMAKE_CUDA_ARCHITECTURES native)
    else()
      set(CMAKE_CUDA_ARCHITECTURES 90-real)
    endif()
  endif()
endif()

include(CheckLanguage)
check_language(CUDA)
if(CMAKE_CUDA_COMPILER)
  enable_language(CUDA)
  if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know that nvcc has C++20
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  endif()
  find_package(CUDAToolkit REQUIRED)
  find_path(CUDNN_INCLUDE_DIR cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
  if(NOT CUDNN_INCLUDE_DIR)
    list(APPEND DDPMTS_CUDA_LACKS "cuDNN's headers (Debian: cudnn9-cuda-13, or set -DCUDNN_INCLUDE_DIR)")
  endif()
else()
  list(APPEND DDPMTS_CUDA_LACKS "nvcc (put it on PATH, or set -DCMAKE_CUDA_COMPILER)")
endif()
find_path(CUDNN_FRONTEND_INCLUDE_DIR cudnn_frontend.h
  HINTS ${CMAKE_SOURCE_DIR}/.deps/cudnn_frontend-${DDPMTS_CUDNN_FRONTEND_VERSION}/include)
if(NOT CUDNN_FRONTEND_INCLUDE_DIR)
  list(APPEND DDPMTS_CUDA_LACKS
    "cudnn-frontend ${DDPMTS_CUDNN_FRONTEND_VERSION} (`make setup` fetches it, or set -DCUDNN_FRONTEND_INCLUDE_DIR)")
endif()

if(DDPMTS_CUDA_LACKS)
  list(JOIN DDPMTS_CUDA_LACKS ", " DDPMTS_CUDA_LACKS)
  if(DDPMTS_CUDA STREQUAL "ON")
    message(FATAL_ERROR "DDPMTS_CUDA=ON, and not found: ${DDPMTS_CUDA_LACKS}")
  endif()
  message(STATUS "Without CUDA; not found: ${DDPMTS_CUDA_LACKS}")
else()
  set(DDPMTS_CUDA_ENABLED ON)
  message(STATUS "With CUDA ${CMAKE_CUDA_COMPILER_VERSION} for ${CMAKE_CUDA_ARCHITECTURES}")
endif()
