// Plain double-precision twins of the operations that several tests need: convolution with its gradients, BatchNorm
// and bilinear resizing.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/primitives.h"

namespace ddpmts::test {

/// Calls f(index of x, index of weight, index of y) for every product that a convolution sums.
template <class F>
void for_each_tap(const ConvShape& s, F&& f) {
  for (std::int64_t n = 0; n < s.n; ++n) {
    for (std::int64_t p = 0; p < s.out_h(); ++p) {
      for (std::int64_t q = 0; q < s.out_w(); ++q) {
        for (std::int64_t r = 0; r < s.r; ++r) {
          for (std::int64_t u = 0; u < s.s; ++u) {
            const std::int64_t i = p * s.stride - s.padding + r * s.dilation;
            const std::int64_t j = q * s.stride - s.padding + u * s.dilation;
            if (i < 0 || i >= s.h || j < 0 || j >= s.w) continue;
            for (std::int64_t k = 0; k < s.k; ++k) {
              for (std::int64_t c = 0; c < s.c; ++c) {
                f(static_cast<std::size_t>(((n * s.h + i) * s.w + j) * s.c + c),
                  static_cast<std::size_t>(((k * s.r + r) * s.s + u) * s.c + c),
                  static_cast<std::size_t>(((n * s.out_h() + p) * s.out_w() + q) * s.k + k));
              }
            }
          }
        }
      }
    }
  }
}

inline std::vector<double> conv_reference(const ConvShape& s, const std::vector<double>& x,
                                          const std::vector<double>& w) {
  std::vector<double> y(static_cast<std::size_t>(s.n * s.out_h() * s.out_w() * s.k));
  for_each_tap(s, [&](std::size_t xi, std::size_t wi, std::size_t yi) { y[yi] += x[xi] * w[wi]; });
  return y;
}

inline std::vector<double> conv_data_gradient(const ConvShape& s, const std::vector<double>& dy,
                                              const std::vector<double>& w) {
  std::vector<double> dx(static_cast<std::size_t>(s.n * s.h * s.w * s.c));
  for_each_tap(s, [&](std::size_t xi, std::size_t wi, std::size_t yi) { dx[xi] += dy[yi] * w[wi]; });
  return dx;
}

inline std::vector<double> conv_weight_gradient(const ConvShape& s, const std::vector<double>& x,
                                                const std::vector<double>& dy) {
  std::vector<double> dw(static_cast<std::size_t>(s.k * s.r * s.s * s.c));
  for_each_tap(s, [&](std::size_t xi, std::size_t wi, std::size_t yi) { dw[wi] += x[xi] * dy[yi]; });
  return dw;
}

/// Sum over everything but the last axis.
inline std::vector<double> channel_sums(const std::vector<double>& values, std::size_t channels) {
  std::vector<double> sums(channels);
  for (std::size_t i = 0; i < values.size(); ++i) sums[i % channels] += values[i];
  return sums;
}

/// γ·(x − mean)/√(variance + ε) + β per channel.
inline std::vector<double> normalize(const std::vector<double>& x, const std::vector<double>& mean,
                                     const std::vector<double>& variance, const std::vector<double>& gamma,
                                     const std::vector<double>& beta, double epsilon = 1e-5) {
  std::vector<double> y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t c = i % mean.size();
    y[i] = gamma[c] * (x[i] - mean[c]) / std::sqrt(variance[c] + epsilon) + beta[c];
  }
  return y;
}

inline std::vector<double> rectified(std::vector<double> values) {
  for (double& v : values) v = std::max(v, 0.0);
  return values;
}

/// [dst][src] weights of a bilinear resize along one axis, half-pixel centres, edges repeated.
inline std::vector<std::vector<double>> bilinear_weights(std::int64_t src, std::int64_t dst) {
  std::vector<std::vector<double>> weights(static_cast<std::size_t>(dst),
                                           std::vector<double>(static_cast<std::size_t>(src)));
  for (std::int64_t i = 0; i < dst; ++i) {
    const double centre =
        (static_cast<double>(i) + 0.5) * static_cast<double>(src) / static_cast<double>(dst);
    const double at = std::clamp(centre - 0.5, 0.0, static_cast<double>(src - 1));
    const auto low = static_cast<std::int64_t>(at);
    const std::int64_t high = std::min(low + 1, src - 1);
    const double part = at - static_cast<double>(low);
    auto& row = weights[static_cast<std::size_t>(i)];
    row[static_cast<std::size_t>(low)] += 1.0 - part;
    row[static_cast<std::size_t>(high)] += part;
  }
  return weights;
}

/// A slice of channels in a bilinear resize [n, src_h, src_w, c] → [n, dst_h, dst_w, total], from channel `offset`.
struct ResizeShape {
  std::int64_t n = 1, src_h = 1, src_w = 1, dst_h = 1, dst_w = 1, c = 1, total = 1, offset = 0;
};

/// Calls f(index of src, index of dst, weight).
template <class F>
void for_each_resize_tap(const ResizeShape& s, F&& f) {
  const auto rows = bilinear_weights(s.src_h, s.dst_h);
  const auto columns = bilinear_weights(s.src_w, s.dst_w);
  for (std::int64_t n = 0; n < s.n; ++n) {
    for (std::int64_t p = 0; p < s.dst_h; ++p) {
      for (std::int64_t q = 0; q < s.dst_w; ++q) {
        for (std::int64_t i = 0; i < s.src_h; ++i) {
          for (std::int64_t j = 0; j < s.src_w; ++j) {
            const double weight = rows[static_cast<std::size_t>(p)][static_cast<std::size_t>(i)] *
                                  columns[static_cast<std::size_t>(q)][static_cast<std::size_t>(j)];
            if (weight == 0.0) continue;
            for (std::int64_t c = 0; c < s.c; ++c) {
              f(static_cast<std::size_t>(((n * s.src_h + i) * s.src_w + j) * s.c + c),
                static_cast<std::size_t>(((n * s.dst_h + p) * s.dst_w + q) * s.total + s.offset + c), weight);
            }
          }
        }
      }
    }
  }
}

}  // namespace ddpmts::test
