// Vector accesses: up to 16 bytes of f32 or bf16 in one instruction, converted to f32 at the door.
#pragma once

#include "kernels/cuda/launch.cuh"

namespace ddpmts::kernels::cuda {

/// Elements of T in 16 bytes: 4 f32, 8 bf16.
template <class T>
constexpr int kVector = static_cast<int>(16 / sizeof(T));

/// N numbers in registers. Index with compile-time constants (unrolled loops) only.
template <int N>
struct Floats {
  float v[N];
  __device__ __forceinline__ float& operator[](int i) { return v[i]; }
  __device__ __forceinline__ float operator[](int i) const { return v[i]; }
};

template <int N>
__device__ __forceinline__ Floats<N> splat(float x) {
  Floats<N> f;
#pragma unroll
  for (int i = 0; i < N; ++i) f[i] = x;
  return f;
}

namespace detail {

template <int kBytes>
struct WordOf;
template <>
struct WordOf<2> {
  using Type = unsigned short;
};
template <>
struct WordOf<4> {
  using Type = unsigned;
};
template <>
struct WordOf<8> {
  using Type = uint2;
};
template <>
struct WordOf<16> {
  using Type = uint4;
};

/// N elements of T as the widest words that hold them.
template <int N, class T>
struct Words {
  static constexpr int kBytes = static_cast<int>(N * sizeof(T));
  static constexpr int kWordBytes = kBytes % 16 == 0 ? 16 : kBytes % 8 == 0 ? 8 : kBytes % 4 == 0 ? 4 : 2;
  using Word = typename WordOf<kWordBytes>::Type;
  static constexpr int kCount = kBytes / kWordBytes;
  Word word[kCount];
};

}  // namespace detail

/// The alignment, in bytes, that load<N, T> and store<N, T> need.
template <int N, class T>
constexpr int kAlignmentOf = detail::Words<N, T>::kWordBytes;

/// p[0 … N) in as few instructions as there are. p is aligned to kAlignmentOf<N, T>.
template <int N, class T>
__device__ __forceinline__ Floats<N> load(const T* p) {
  using Words = detail::Words<N, T>;
  Words words;
#pragma unroll
  for (int i = 0; i < Words::kCount; ++i) words.word[i] = reinterpret_cast<const typename Words::Word*>(p)[i];
  T elements[N];
  __builtin_memcpy(elements, &words, sizeof elements);
  Floats<N> f;
#pragma unroll
  for (int i = 0; i < N; ++i) f[i] = to_float(elements[i]);
  return f;
}

/// p[0 … N) = f, rounded to T. p is aligned to kAlignmentOf<N, T>.
template <int N, class T>
__device__ __forceinline__ void store(T* p, const Floats<N>& f) {
  using Words = detail::Words<N, T>;
  T elements[N];
#pragma unroll
  for (int i = 0; i < N; ++i) elements[i] = from_float<T>(f[i]);
  Words words;
  __builtin_memcpy(&words, elements, sizeof elements);
#pragma unroll
  for (int i = 0; i < Words::kCount; ++i) reinterpret_cast<typename Words::Word*>(p)[i] = words.word[i];
}

/// p[0 … n), 0 ≤ n ≤ N, the rest 0: for tails and unaligned arrays, one element at a time.
template <int N, class T>
__device__ __forceinline__ Floats<N> load_upto(const T* p, std::int64_t n) {
  Floats<N> f;
#pragma unroll
  for (int i = 0; i < N; ++i) f[i] = i < n ? to_float(p[i]) : 0.0f;
  return f;
}
template <int N, class T>
__device__ __forceinline__ void store_upto(T* p, const Floats<N>& f, std::int64_t n) {
#pragma unroll
  for (int i = 0; i < N; ++i) {
    if (i < n) p[i] = from_float<T>(f[i]);
  }
}

/// Elements [first, first + N) of flat arrays, or those of them that there are: in whole vectors where all are there and the
/// arrays are aligned, else one by one.
template <int N>
struct Stretch {
  std::int64_t first;
  int size;    ///< elements, at most N
  bool whole;  ///< N of them, aligned

  template <class T>
  __device__ __forceinline__ Floats<N> read(const T* p) const {
    return whole ? load<N>(p + first) : load_upto<N>(p + first, size);
  }
  template <class T>
  __device__ __forceinline__ void write(T* p, const Floats<N>& f) const {
    if (whole) {
      store<N>(p + first, f);
    } else {
      store_upto<N>(p + first, f, size);
    }
  }
};

template <int N>
__device__ __forceinline__ Stretch<N> stretch_of(std::int64_t first, std::int64_t count, bool aligned) {
  const int size = static_cast<int>(smaller(count - first, std::int64_t{N}));
  return Stretch<N>{first, size, aligned && size == N};
}

/// Calls body(stretch) for what one of `members` threads has of [0, count): N elements, then N of the others' each further on.
template <int N, class Body>
__device__ __forceinline__ void for_each_stretch(int member, int members, std::int64_t count, bool aligned,
                                                 Body body) {
  for (std::int64_t first = member * N; first < count; first += members * N) {
    body(stretch_of<N>(first, count, aligned));
  }
}

/// Whether all pointers are multiples of 16 bytes (null is).
template <class... Pointers>
__host__ __device__ inline bool aligned_to_16(const Pointers*... pointers) {
  return ((reinterpret_cast<std::uintptr_t>(pointers) | ...) & 15u) == 0;
}

}  // namespace ddpmts::kernels::cuda
