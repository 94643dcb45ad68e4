// How scores are put in order: floats become integers that sort the same way, and a radix sort orders them.
// Shared by the metrics; not for callers.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

namespace ddpmts::eval {

/// An integer that is lower the higher the score, so that ascending keys are descending scores. -0 and +0
/// share a key, infinities have theirs at the ends. score must not be NaN.
inline std::uint32_t descending_key(float score) {
  const auto bits = std::bit_cast<std::uint32_t>(score + 0.0f);  // -0 + 0 is +0
  const std::uint32_t ascending = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return ~ascending;
}

/// The score that has this key.
inline float score_of_key(std::uint32_t key) {
  const std::uint32_t ascending = ~key;
  return std::bit_cast<float>((ascending & 0x80000000u) != 0 ? ascending & 0x7fffffffu : ~ascending);
}

/// Sorts by a 32-bit key, ascending: least significant digit first, three passes of 11 bits. A pass in which
/// all items share the digit is skipped. key_of: item -> std::uint32_t. Needs as much memory again as the
/// items take.
template <class Item, class KeyOf>
void sort_by_key(std::vector<Item>& items, KeyOf key_of) {
  constexpr std::size_t few = 4096;  // below this, clearing the histograms costs more than comparing
  if (items.size() < few) {
    std::sort(items.begin(), items.end(),
              [&](const Item& a, const Item& b) { return key_of(a) < key_of(b); });
    return;
  }
  constexpr int digit_bits = 11;
  constexpr std::size_t buckets = std::size_t{1} << digit_bits;
  constexpr std::uint32_t digit_mask = buckets - 1;
  std::vector<std::array<std::size_t, buckets>> counts(3);
  for (const Item& item : items) {
    const std::uint32_t key = key_of(item);
    for (int pass = 0; pass < 3; ++pass) ++counts[pass][(key >> (pass * digit_bits)) & digit_mask];
  }
  std::vector<Item> other(items.size());
  for (int pass = 0; pass < 3; ++pass) {
    auto& start = counts[pass];
    if (std::find(start.begin(), start.end(), items.size()) != start.end()) continue;
    std::size_t sum = 0;
    for (std::size_t& entry : start) {
      const std::size_t count = entry;
      entry = sum;
      sum += count;
    }
    for (const Item& item : items) other[start[(key_of(item) >> (pass * digit_bits)) & digit_mask]++] = item;
    items.swap(other);
  }
}

/// Walks two sorted lists from the highest score down and calls visit(key, first_end, second_end) once for
/// each distinct key: items [0, first_end) of the first list and [0, second_end) of the second have this
/// score or a higher one. Stops when visit returns false.
template <class First, class Second, class FirstKey, class SecondKey, class Visit>
void walk_thresholds(std::span<const First> first, std::span<const Second> second, FirstKey first_key,
                     SecondKey second_key, Visit visit) {
  std::size_t i = 0;
  std::size_t j = 0;
  while (i < first.size() || j < second.size()) {
    std::uint32_t key = 0xffffffffu;
    if (i < first.size()) key = first_key(first[i]);
    if (j < second.size()) key = std::min(key, second_key(second[j]));
    while (i < first.size() && first_key(first[i]) == key) ++i;
    while (j < second.size() && second_key(second[j]) == key) ++j;
    if (!visit(key, i, j)) return;
  }
}

}  // namespace ddpmts::eval
