#include "eval/realism.h"

#include <fmt/format.h>

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <stdexcept>

namespace ddpmts::eval {
namespace {

using Rows = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

void check(const char* what, const FeatureRows& rows, std::int64_t fewest = 2) {
  if (rows.count < fewest || rows.channels < 1) {
    throw std::invalid_argument(fmt::format("{}: {} vectors of {} channels; {} or more are needed", what,
                                            rows.count, rows.channels, fewest));
  }
  if (static_cast<std::int64_t>(rows.values.size()) != rows.count * rows.channels) {
    throw std::invalid_argument(fmt::format("{}: {} values are not {} vectors of {} channels", what,
                                            rows.values.size(), rows.count, rows.channels));
  }
  if (!std::ranges::all_of(rows.values, [](double value) { return std::isfinite(value); })) {
    throw std::invalid_argument(fmt::format("{}: a feature is not finite", what));
  }
}

void check_pair(const char* what, const FeatureRows& a, const FeatureRows& b) {
  check(what, a);
  check(what, b);
  if (a.channels != b.channels) {
    throw std::invalid_argument(
        fmt::format("{}: vectors of {} and {} channels cannot be compared", what, a.channels, b.channels));
  }
}

Rows matrix_of(const FeatureRows& rows) {
  return Eigen::Map<const Rows>(rows.values.data(), rows.count, rows.channels);
}

// A with C = Aᵀ·A for the rows' covariance C; at most `channels` rows. Takes the mean away from the rows.
Rows covariance_root(Rows rows, const Eigen::RowVectorXd& mean) {
  rows.rowwise() -= mean;
  rows /= std::sqrt(static_cast<double>(rows.rows() - 1));
  if (rows.rows() <= rows.cols()) return rows;
  const Eigen::HouseholderQR<Rows> qr(rows);  // (Q·R)ᵀ·(Q·R) = Rᵀ·R
  return qr.matrixQR().topRows(rows.cols()).triangularView<Eigen::Upper>();
}

double frechet(const Rows& a, const Rows& b) {
  const Eigen::RowVectorXd mean_a = a.colwise().mean(), mean_b = b.colwise().mean();
  const Rows root_a = covariance_root(a, mean_a), root_b = covariance_root(b, mean_b);
  const Eigen::MatrixXd product = root_a * root_b.transpose();
  const double overlap = Eigen::BDCSVD<Eigen::MatrixXd>(product).singularValues().sum();
  const double distance =
      (mean_a - mean_b).squaredNorm() + root_a.squaredNorm() + root_b.squaredNorm() - 2 * overlap;
  return std::max(distance, 0.0);
}

// Sum of (x·y/d + 1)³ over all pairs of rows.
double kernel_sum(const Rows& x, const Rows& y) {
  const Eigen::MatrixXd products = x * y.transpose() / static_cast<double>(x.cols());
  return (products.array() + 1).cube().sum();
}

// Mean over pairs of two different rows.
double kernel_mean_within(const Rows& x) {
  const auto n = static_cast<double>(x.rows());
  const double same = (x.rowwise().squaredNorm().array() / static_cast<double>(x.cols()) + 1).cube().sum();
  return (kernel_sum(x, x) - same) / (n * (n - 1));
}

double squared_discrepancy(const Rows& a, const Rows& b) {
  const auto pairs = static_cast<double>(a.rows()) * static_cast<double>(b.rows());
  return kernel_mean_within(a) + kernel_mean_within(b) - 2 * kernel_sum(a, b) / pairs;
}

Rows take(const Rows& rows, std::span<const std::int64_t> which) {
  Rows taken(static_cast<Eigen::Index>(which.size()), rows.cols());
  for (std::size_t i = 0; i < which.size(); ++i) taken.row(static_cast<Eigen::Index>(i)) = rows.row(which[i]);
  return taken;
}

Spread spread_of(const std::vector<double>& values) {
  const auto n = static_cast<double>(values.size());
  Spread spread;
  spread.mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  double squares = 0;
  for (const double value : values) squares += (value - spread.mean) * (value - spread.mean);
  spread.deviation = std::sqrt(squares / (n - 1));
  return spread;
}

struct Draws {
  std::vector<double> frechet_values, kernel_values;

  void add(const Rows& a, const Rows& b) {
    frechet_values.push_back(frechet(a, b));
    kernel_values.push_back(squared_discrepancy(a, b));
  }
  RealismRow row() const { return {spread_of(frechet_values), spread_of(kernel_values)}; }
};

}  // namespace

std::vector<double> masked_mean(std::span<const float> features, std::int64_t height, std::int64_t width,
                                std::int64_t channels, std::span<const std::uint8_t> mask,
                                std::int64_t side) {
  if (static_cast<std::int64_t>(features.size()) != height * width * channels ||
      static_cast<std::int64_t>(mask.size()) != side * side) {
    throw std::invalid_argument(
        fmt::format("masked mean: {} features of [{}, {}, {}] and a mask of {} pixels, {} a side",
                    features.size(), height, width, channels, mask.size(), side));
  }
  std::vector<double> area(static_cast<std::size_t>(height * width));
  for (std::int64_t y = 0; y < side; ++y) {
    for (std::int64_t x = 0; x < side; ++x) {
      if (mask[static_cast<std::size_t>(y * side + x)] == 0) continue;
      area[static_cast<std::size_t>(y * height / side * width + x * width / side)] += 1;
    }
  }
  const double total = std::accumulate(area.begin(), area.end(), 0.0);
  if (total == 0) throw std::invalid_argument("masked mean: the mask is empty");
  std::vector<double> mean(static_cast<std::size_t>(channels));
  for (std::size_t cell = 0; cell < area.size(); ++cell) {
    if (area[cell] == 0) continue;
    const auto here = features.subspan(cell * mean.size(), mean.size());
    for (std::size_t c = 0; c < mean.size(); ++c)
      mean[c] += area[cell] / total * static_cast<double>(here[c]);
  }
  return mean;
}

double frechet_distance(const FeatureRows& a, const FeatureRows& b) {
  check_pair("Fréchet distance", a, b);
  return frechet(matrix_of(a), matrix_of(b));
}

double kernel_distance(const FeatureRows& a, const FeatureRows& b) {
  check_pair("kernel distance", a, b);
  return squared_discrepancy(matrix_of(a), matrix_of(b));
}

std::vector<std::int64_t> random_subset(std::uint64_t seed, std::uint64_t index, std::int64_t count,
                                        std::int64_t size) {
  if (size < 0 || size > count) {
    throw std::invalid_argument(fmt::format("random subset: {} of {}", size, count));
  }
  // The standard fixes this generator's numbers, but not those of its shuffles and distributions.
  std::mt19937_64 random(seed ^ (index * 0x9e3779b97f4a7c15u));
  std::vector<std::int64_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  for (std::int64_t i = 0; i < size; ++i) {
    const auto other = static_cast<std::size_t>(i) + random() % static_cast<std::uint64_t>(count - i);
    std::swap(order[static_cast<std::size_t>(i)], order[other]);
  }
  order.resize(static_cast<std::size_t>(size));
  return order;
}

Realism compare_with_real(const FeatureRows& real, std::span<const FeatureRows> sources,
                          const RealismConfig& config) {
  check("real defects", real, 4);
  if (config.draws < 2) {
    throw std::invalid_argument(
        fmt::format("realism: a spread needs two draws or more, not {}", config.draws));
  }
  Realism result;
  result.count = real.count / 2;
  std::vector<Rows> source_rows;
  for (const FeatureRows& source : sources) {
    check_pair("a source's defects", real, source);
    result.count = std::min(result.count, source.count);
    source_rows.push_back(matrix_of(source));
  }
  const Rows real_rows = matrix_of(real);
  Draws real_draws;
  std::vector<Draws> draws(sources.size());
  const auto half = static_cast<std::size_t>(result.count);
  for (int draw = 0; draw < config.draws; ++draw) {
    const auto index = static_cast<std::uint64_t>(draw) * (sources.size() + 1);
    const std::vector<std::int64_t> both = random_subset(config.seed, index, real.count, 2 * result.count);
    const Rows first = take(real_rows, std::span(both).first(half));
    real_draws.add(first, take(real_rows, std::span(both).last(half)));
    for (std::size_t s = 0; s < draws.size(); ++s) {
      const std::vector<std::int64_t> some =
          random_subset(config.seed, index + 1 + s, sources[s].count, result.count);
      draws[s].add(first, take(source_rows[s], some));
    }
  }
  result.real = real_draws.row();
  for (const Draws& source : draws) result.sources.push_back(source.row());
  return result;
}

}  // namespace ddpmts::eval
