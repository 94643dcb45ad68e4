// The segmentation head (arXiv 2211.11317 Sec. 3.3): two residual blocks, ASPP and a classifier on the
// normalised products of teacher and student features. At 256×256 the ancestor's 256 channels cost 31.3 GMAC
// an image; 64 cost 2.6.
#pragma once

#include "layers/aspp.h"
#include "layers/basic_block.h"

namespace ddpmts {

enum class HeadSize { s, m, l };

/// 64, 128 or 256.
std::int64_t channels_of(HeadSize size);
/// Throws Error on anything but "s", "m", "l".
HeadSize parse_head_size(const std::string& text);
const char* name_of(HeadSize size);

class SegmentationHead {
 public:
  static constexpr std::int64_t kInputChannels = 64 + 128 + 256;

  SegmentationHead(const ParameterScope& scope, HeadSize size);

  /// Makes the output layer's starting weights small. By fan_out its one channel would start with logits near ±10, whose
  /// gradients drown the student's for hundreds of steps.
  void start_output_small();

  /// product [N,h,w,448] → logits [N,h,w,1].
  Tensor logits(const Tensor& product, Mode mode) const;

 private:
  BasicStage residual_;
  Aspp aspp_;
  ConvNorm hidden_;
  ParameterPtr output_weight_, output_bias_;
};

}  // namespace ddpmts
