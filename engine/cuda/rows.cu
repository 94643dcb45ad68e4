// Rows of channels: padding and narrowing, a convolution's epilogue, sums over rows (contract: device_kernels.h).
// Layout: row-major [rows, channels]; a thread takes 16 bytes of the destination (of f32 in row_sums: 4) where channels
//   and addresses allow, else one element.
// Bytes moved: source and destination once; row_sums reads once and writes slices·channels floats on the way.
// Variants: by element type, vectors or single elements.
#include "engine/cuda/device_kernels.h"
#include "kernels/cuda/vector.cuh"

namespace ddpmts::cuda {
namespace {

using namespace ddpmts::kernels::cuda;

constexpr int kThreads = 256;

template <class Word, int kWidth>
__global__ void __launch_bounds__(kThreads)
    copy_rows_kernel(const Word* src, Word* dst, std::int64_t src_rows, std::int64_t src_columns,
                     std::int64_t dst_columns, std::int64_t count) {
  const std::int64_t first = (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) * kWidth;
  if (first >= count) return;
  // A vector never crosses a row: kWidth divides dst_columns.
  const std::int64_t row = first / dst_columns, column = first - row * dst_columns;
  Word values[kWidth];
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    const bool inside = row < src_rows && column + i < src_columns;
    values[i] = inside ? src[row * src_columns + column + i] : Word{0};
  }
  if constexpr (kWidth == 1) {
    dst[first] = values[0];
  } else {
    uint4 packed;
    __builtin_memcpy(&packed, values, sizeof packed);
    *reinterpret_cast<uint4*>(dst + first) = packed;
  }
}

template <class Word>
void copy_rows_of(const CopyRowsArgs& args, kernels::Stream stream) {
  constexpr int kWidth = static_cast<int>(16 / sizeof(Word));
  const std::int64_t count = args.dst_rows * args.dst_columns;
  const Word* src = static_cast<const Word*>(args.src);
  Word* dst = static_cast<Word*>(args.dst);
  if (args.dst_columns % kWidth == 0 && aligned_to_16(dst)) {
    launch("copy_rows", copy_rows_kernel<Word, kWidth>, blocks_for(count, kThreads * kWidth), kThreads, 0,
           stream, src, dst, args.src_rows, args.src_columns, args.dst_columns, count);
  } else {
    launch("copy_rows", copy_rows_kernel<Word, 1>, blocks_for(count, kThreads), kThreads, 0, stream, src, dst,
           args.src_rows, args.src_columns, args.dst_columns, count);
  }
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    epilogue_kernel(const float* sum, const float* bias, const T* residual, T* y, bool relu,
                    std::int64_t channels, std::int64_t count) {
  const std::int64_t first = (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) * kWidth;
  if (first >= count) return;
  Floats<kWidth> value = load<kWidth>(sum + first);
  if (bias != nullptr) {
    const Floats<kWidth> shift = load<kWidth>(bias + first % channels);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) value[i] += shift[i];
  }
  if (residual != nullptr) {
    const Floats<kWidth> other = load<kWidth>(residual + first);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) value[i] += other[i];
  }
  if (relu) {
#pragma unroll
    for (int i = 0; i < kWidth; ++i)
      value[i] = value[i] > 0.0f ? value[i] : value[i] != value[i] ? value[i] : 0.0f;
  }
  store<kWidth>(y + first, value);
}

constexpr int kSumLanes = 32, kSumRows = 8;

// Block: 32 column vectors × 8 rows. Grid: column tiles × slices × groups.
template <class T, int kWidth>
__global__ void __launch_bounds__(kSumLanes* kSumRows)
    partial_row_sums_kernel(const T* src, float* partials, std::int64_t rows, std::int64_t channels,
                            int slices) {
  __shared__ SharedArray<float, kSumLanes * kSumRows * kWidth> tile;
  const int lane = static_cast<int>(threadIdx.x) % kSumLanes,
            line = static_cast<int>(threadIdx.x) / kSumLanes;
  const std::int64_t column = (std::int64_t{blockIdx.x} * kSumLanes + lane) * kWidth;
  const std::int64_t slice = blockIdx.y, group = blockIdx.z;
  const std::int64_t begin = rows * slice / slices, end = rows * (slice + 1) / slices;
  Floats<kWidth> sum = splat<kWidth>(0.0f);
  if (column < channels) {
    const T* at = src + (group * rows + begin + line) * channels + column;
    for (std::int64_t row = begin + line; row < end; row += kSumRows, at += kSumRows * channels) {
      const Floats<kWidth> value = load<kWidth>(at);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) sum[i] += value[i];
    }
  }
#pragma unroll
  for (int i = 0; i < kWidth; ++i) tile[(line * kWidth + i) * kSumLanes + lane] = sum[i];
  __syncthreads();
  if (line != 0 || column >= channels) return;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    float total = 0.0f;
    for (int other = 0; other < kSumRows; ++other) {
      const float part = tile[(other * kWidth + i) * kSumLanes + lane];
      total += part;
    }
    partials[(group * slices + slice) * channels + column + i] = total;
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    final_row_sums_kernel(const float* partials, T* dst, std::int64_t count, std::int64_t channels,
                          int slices, float scale) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= count) return;
  const std::int64_t group = i / channels, channel = i - group * channels;
  float total = 0.0f;
  for (int slice = 0; slice < slices; ++slice)
    total += partials[(group * slices + slice) * channels + channel];
  dst[i] = from_float<T>(scale * total);
}

// Four-byte accesses: 64 bf16 channels fill a warp.
template <class T>
constexpr int kSumWidth = static_cast<int>(4 / sizeof(T));

}  // namespace

void copy_rows(const CopyRowsArgs& args, kernels::Stream stream) {
  if (args.element_bytes == 2) {
    copy_rows_of<std::uint16_t>(args, stream);
  } else {
    copy_rows_of<std::uint32_t>(args, stream);
  }
}

void epilogue(const EpilogueArgs& args, kernels::Stream stream) {
  const std::int64_t count = args.rows * args.channels;
  kernels::with_float_type(args.type, [&](auto zero) {
    using T = decltype(zero);
    const T* residual = static_cast<const T*>(args.residual);
    T* y = static_cast<T*>(args.y);
    if (args.channels % kVector<T> == 0 && aligned_to_16(args.sum, args.bias, residual, y)) {
      launch("conv_epilogue", epilogue_kernel<T, kVector<T>>, blocks_for(count, kThreads * kVector<T>),
             kThreads, 0, stream, args.sum, args.bias, residual, y, args.relu, args.channels, count);
    } else {
      launch("conv_epilogue", epilogue_kernel<T, 1>, blocks_for(count, kThreads), kThreads, 0, stream,
             args.sum, args.bias, residual, y, args.relu, args.channels, count);
    }
  });
}

std::int64_t row_sum_slices(const RowSumsArgs& args) {
  // Enough blocks for every multiprocessor to hold a few, and no slice so short that its block does little.
  constexpr std::int64_t kBlocksPerMultiprocessor = 4, kRowsPerSlice = 64;
  const std::int64_t tiles =
      ceil_div(args.channels, std::int64_t{kSumLanes}) * larger(args.groups, std::int64_t{1});
  const std::int64_t wanted =
      ceil_div(multiprocessor_count() * kBlocksPerMultiprocessor, larger(tiles, std::int64_t{1}));
  return larger(std::int64_t{1}, smaller(wanted, ceil_div(args.rows, kRowsPerSlice)));
}

void row_sums(const RowSumsArgs& args, kernels::Stream stream) {
  const int slices = static_cast<int>(row_sum_slices(args));
  kernels::with_float_type(args.type, [&](auto zero) {
    using T = decltype(zero);
    const T* src = static_cast<const T*>(args.src);
    const auto start = [&](auto kernel, int width) {
      const dim3 grid(blocks_for(args.channels, kSumLanes * width), static_cast<unsigned>(slices),
                      static_cast<unsigned>(args.groups));
      launch("row_sums", kernel, grid, kSumLanes * kSumRows, 0, stream, src, args.partials, args.rows,
             args.channels, slices);
    };
    if (args.channels % kSumWidth<T> == 0 && aligned_to_16(src)) {
      start(partial_row_sums_kernel<T, kSumWidth<T>>, kSumWidth<T>);
    } else {
      start(partial_row_sums_kernel<T, 1>, 1);
    }
  });
  const std::int64_t count = args.groups * args.channels;
  kernels::with_float_type(args.dst_type, [&](auto zero) {
    using T = decltype(zero);
    launch("row_sums_total", final_row_sums_kernel<T>, blocks_for(count, kThreads), kThreads, 0, stream,
           args.partials, static_cast<T*>(args.dst), count, args.channels, slices, args.scale);
  });
}

#if !defined(DDPMTS_CUDA_SHIM)
bool kernels_fit_current_device() {
  cudaFuncAttributes attributes{};
  const bool fits = cudaFuncGetAttributes(&attributes, final_row_sums_kernel<float>) == cudaSuccess;
  if (!fits) cudaGetLastError();
  return fits;
}
#endif

}  // namespace ddpmts::cuda
