// How far painted defects are from real ones: distances between two sets of feature vectors.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace ddpmts::eval {

/// values: [count, channels] row by row, one row a defect; finite.
struct FeatureRows {
  std::span<const double> values;
  std::int64_t count = 0;
  std::int64_t channels = 0;
};

/// One defect's vector: the mean of features [height, width, channels] over the positions that the mask [side, side], 0 or not,
/// touches, each weighted with the mask's area there. Pixel (x, y) belongs to position (x·width/side, y·height/side), rounded
/// down. Throws std::invalid_argument when sizes disagree or the mask is empty.
std::vector<double> masked_mean(std::span<const float> features, std::int64_t height, std::int64_t width,
                                std::int64_t channels, std::span<const std::uint8_t> mask, std::int64_t side);

/// Fréchet distance between two normal distributions with the sets' means and covariances (arXiv 1706.08500, eq. 6):
///   |m_a − m_b|² + tr(C_a + C_b − 2·(C_a·C_b)^½),
/// in squared units of the features; 0 for equal sets, never negative. Covariances are divided by count − 1. Sets with
/// fewer rows than channels are fine: tr (C_a·C_b)^½ is the sum of the singular values of A·Bᵀ, where C_a = Aᵀ·A and
/// C_b = Bᵀ·B. Few rows bias it upwards: compare only values that come from equal counts.
/// Throws std::invalid_argument when a set has fewer than two rows, channels or sizes disagree, or a value is not finite.
double frechet_distance(const FeatureRows& a, const FeatureRows& b);

/// Squared maximum mean discrepancy with the kernel (x·y / channels + 1)³, unbiased (arXiv 1801.01401, Sec. 4; the estimator
/// is eq. 3 of Gretton et al., JMLR 13, 2012): its expectation is 0 for sets drawn from one distribution, so that single values
/// can be negative. Throws as above.
double kernel_distance(const FeatureRows& a, const FeatureRows& b);

/// `size` of 0 … count − 1 without repetition, in random order: the same everywhere for the same seed and index. Throws
/// std::invalid_argument unless 0 ≤ size ≤ count.
std::vector<std::int64_t> random_subset(std::uint64_t seed, std::uint64_t index, std::int64_t count,
                                        std::int64_t size);

/// Over the draws of a comparison.
struct Spread {
  double mean = 0;
  double deviation = 0;  ///< standard deviation of single draws, n − 1
};

struct RealismRow {
  Spread frechet, kernel;
};

struct RealismConfig {
  int draws = 20;  ///< ≥ 2
  std::uint64_t seed = 0;
};

struct Realism {
  std::int64_t count = 0;           ///< rows on each side of every distance
  RealismRow real;                  ///< real against other real ones: what painted ones could reach at best
  std::vector<RealismRow> sources;  ///< each source against real ones
};

/// In every draw the real rows are divided at random into two halves. The first is compared with the second, and with as many
/// random rows of each source: `count` is the smallest of half the real rows and each source's rows, the same for all distances,
/// so that what few rows do to them is the same too.
/// Throws std::invalid_argument as above, with fewer than four real rows, two rows of a source, or two draws.
Realism compare_with_real(const FeatureRows& real, std::span<const FeatureRows> sources,
                          const RealismConfig& config = {});

}  // namespace ddpmts::eval
