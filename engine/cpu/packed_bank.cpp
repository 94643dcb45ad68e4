// A block is 32 queries by 32 vectors: two tiles of queries, two of vectors, four of products, each tile of 16 rows of 64
// bytes. A tile of products starts as −‖c‖²/2, so that the greatest of all that it becomes, q·c − ‖c‖²/2, is the nearest.
#include "engine/cpu/packed_bank.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/cpu/onednn.h"
#include "kernels/launch.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace ddpmts::cpu {

#if defined(__x86_64__)
namespace {

constexpr std::int64_t kTileRows = 16, kTileChannels = 32, kBlock = 2 * kTileRows;
constexpr std::int64_t kTileElements = kTileRows * kTileChannels;

// Linux hands out the tile registers on request, once per process.
bool tiles_are_ours() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  static const bool granted = dnnl::get_effective_cpu_isa() == dnnl::cpu_isa::avx512_core_amx &&
                              kernels::cpu_isa() == kernels::CpuIsa::avx512 &&
                              syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return granted;
}

struct TileLayout {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t bytes_per_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileLayout) == 64);

// One group of 32 vectors: what their products start from, then for every 32 channels the tiles of its two halves.
struct Group {
  const float* starts;  // [2][16]
  const bf16* tiles;    // [channels / 32][2][16][32]
};

std::size_t group_bytes(std::int64_t channels) {
  return sizeof(float) * kBlock +
         sizeof(bf16) * static_cast<std::size_t>(2 * kTileElements * (channels / kTileChannels));
}

// The running maxima of a block's queries, one vector of 16 bank vectors each, and where something was NaN.
struct Nearest {
  __m512 most[kBlock];
  __mmask16 nan[kBlock];
};

// GCC 12 warns of its own _mm512_max_ps.
__attribute__((target("avx512f"), always_inline)) inline __m512 larger(__m512 a, __m512 b) {
  return _mm512_maskz_max_ps(0xffff, a, b);
}

__attribute__((target("amx-tile,amx-bf16,avx512f"))) void search_group(const Group& group,
                                                                       std::int64_t channels,
                                                                       const bf16* queries,
                                                                       Nearest& nearest) {
  _tile_loadd(0, group.starts, 0);
  _tile_loadd(1, group.starts + kTileRows, 0);
  _tile_loadd(2, group.starts, 0);
  _tile_loadd(3, group.starts + kTileRows, 0);
  const auto stride = static_cast<long>(channels * static_cast<std::int64_t>(sizeof(bf16)));
  const bf16* tiles = group.tiles;
  // The vectors stream past the first cache, where the queries stay: both together would not fit (17 % faster).
  for (std::int64_t c = 0; c < channels; c += kTileChannels, tiles += 2 * kTileElements) {
    _tile_loadd(4, queries + c, stride);
    _tile_stream_loadd(6, tiles, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_stream_loadd(7, tiles + kTileElements, 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, queries + kTileRows * channels + c, stride);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  alignas(64) float products[4][kTileRows][kTileRows];
  _tile_stored(0, products[0], 64);
  _tile_stored(1, products[1], 64);
  _tile_stored(2, products[2], 64);
  _tile_stored(3, products[3], 64);
  for (std::int64_t half = 0; half < 2; ++half) {
    for (std::int64_t i = 0; i < kTileRows; ++i) {
      const __m512 left = _mm512_load_ps(products[2 * half][i]),
                   right = _mm512_load_ps(products[2 * half + 1][i]);
      const std::int64_t row = half * kTileRows + i;
      nearest.nan[row] =
          static_cast<__mmask16>(nearest.nan[row] | _mm512_cmp_ps_mask(left, right, _CMP_UNORD_Q));
      nearest.most[row] = larger(nearest.most[row], larger(left, right));
    }
  }
}

// Queries [32, channels] against all groups.
__attribute__((target("amx-tile,amx-bf16,avx512f"))) void search_block(const std::byte* packed,
                                                                       std::int64_t groups,
                                                                       std::int64_t channels,
                                                                       const bf16* queries, float* most,
                                                                       bool* nan) {
  Nearest nearest;
  for (std::int64_t i = 0; i < kBlock; ++i) {
    nearest.most[i] = _mm512_set1_ps(-HUGE_VALF);
    nearest.nan[i] = 0;
  }
  for (std::int64_t g = 0; g < groups; ++g) {
    const std::byte* const group = packed + static_cast<std::size_t>(g) * group_bytes(channels);
    search_group({reinterpret_cast<const float*>(group),
                  reinterpret_cast<const bf16*>(group + sizeof(float) * kBlock)},
                 channels, queries, nearest);
  }
  for (std::int64_t i = 0; i < kBlock; ++i) {
    alignas(64) float lanes[kTileRows];
    _mm512_store_ps(lanes, nearest.most[i]);
    most[i] = *std::max_element(lanes, lanes + kTileRows);
    nan[i] = nearest.nan[i] != 0;
  }
}

__attribute__((target("amx-tile"))) void configure_tiles() {
  static constexpr TileLayout layout;
  _tile_loadconfig(&layout);
}

__attribute__((target("amx-tile"))) void release_tiles() { _tile_release(); }

}  // namespace

bool PackedBank::possible(DType type, std::int64_t channels) {
  return type == DType::bf16 && channels % kTileChannels == 0 && tiles_are_ours();
}

PackedBank::PackedBank(const bf16* vectors, std::span<const float> norms, std::int64_t channels)
    : count_(static_cast<std::int64_t>(norms.size())), channels_(channels) {
  const std::int64_t groups = (count_ + kBlock - 1) / kBlock;
  packed_ = Buffer(Device{}, static_cast<std::size_t>(groups) * group_bytes(channels));
  std::memset(packed_.data(), 0, packed_.bytes());
  for (std::int64_t i = 0; i < groups * kBlock; ++i) {
    std::byte* const group = static_cast<std::byte*>(packed_.data()) +
                             static_cast<std::size_t>(i / kBlock) * group_bytes(channels);
    const std::int64_t half = i % kBlock / kTileRows, column = i % kTileRows;
    // What fills the last group up is farther than anything.
    reinterpret_cast<float*>(group)[i % kBlock] =
        i < count_ ? -0.5f * norms[static_cast<std::size_t>(i)] : -HUGE_VALF;
    if (i >= count_) continue;
    bf16* const tiles = reinterpret_cast<bf16*>(group + sizeof(float) * kBlock);
    for (std::int64_t c = 0; c < channels; ++c) {  // rows of a tile hold pairs of channels, one pair a vector
      bf16* const tile = tiles + (c / kTileChannels * 2 + half) * kTileElements;
      tile[c % kTileChannels / 2 * kTileChannels + 2 * column + c % 2] = vectors[i * channels + c];
    }
  }
}

void PackedBank::distances(std::int64_t rows, const bf16* queries, const float* row_norms,
                           float* distance) const {
  const auto* const packed = static_cast<const std::byte*>(packed_.data());
  const std::int64_t groups = (count_ + kBlock - 1) / kBlock;
  const std::int64_t rest = rows % kBlock;
  const Buffer last(Device{},
                    sizeof(bf16) * static_cast<std::size_t>(kBlock * channels_));  // filled up with zeros
  if (rest > 0) {
    std::memset(last.data(), 0, last.bytes());
    std::memcpy(last.data(), queries + (rows - rest) * channels_,
                sizeof(bf16) * static_cast<std::size_t>(rest * channels_));
  }
#pragma omp parallel
  {
    configure_tiles();
#pragma omp for schedule(static)
    for (std::int64_t first = 0; first < rows; first += kBlock) {
      const std::int64_t count = std::min(kBlock, rows - first);
      float most[kBlock];
      bool nan[kBlock];
      search_block(packed, groups, channels_,
                   count == kBlock ? queries + first * channels_ : static_cast<const bf16*>(last.data()),
                   most, nan);
      for (std::int64_t i = 0; i < count; ++i) {
        const float squared = row_norms[first + i] - 2.0f * most[i];
        distance[first + i] = nan[i] ? std::nanf("") : std::sqrt(squared < 0.0f ? 0.0f : squared);
      }
    }
    release_tiles();
  }
}

#else

bool PackedBank::possible(DType, std::int64_t) { return false; }
PackedBank::PackedBank(const bf16*, std::span<const float>, std::int64_t) {
  throw_error("a packed bank needs AMX, which this processor cannot have");
}
void PackedBank::distances(std::int64_t, const bf16*, const float*, float*) const {}

#endif

}  // namespace ddpmts::cpu
