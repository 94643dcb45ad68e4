#include "models/segmentation_head.h"

namespace ddpmts {

std::int64_t channels_of(HeadSize size) { return size == HeadSize::s ? 64 : size == HeadSize::m ? 128 : 256; }

const char* name_of(HeadSize size) { return size == HeadSize::s ? "s" : size == HeadSize::m ? "m" : "l"; }

HeadSize parse_head_size(const std::string& text) {
  for (const HeadSize size : {HeadSize::s, HeadSize::m, HeadSize::l}) {
    if (text == name_of(size)) return size;
  }
  throw_error("unknown head size '{}': expected s, m or l", text);
}

SegmentationHead::SegmentationHead(const ParameterScope& scope, HeadSize size)
    : residual_(scope.child("residual"), kInputChannels, channels_of(size)),
      aspp_(scope.child("aspp"), channels_of(size)),
      hidden_(scope.child("classifier"), "conv1", "bn1", channels_of(size), channels_of(size), 3),
      output_weight_(
          scope.child("classifier").child("conv2").parameter("weight", {1, 1, 1, channels_of(size)})),
      output_bias_(scope.child("classifier").child("conv2").parameter("bias", {1})) {}

void SegmentationHead::start_output_small() {
  constexpr float kShare = 0.1f;
  std::vector<float> weight = output_weight_->value().to_floats();
  for (float& w : weight) w *= kShare;
  output_weight_->value().copy_from(Tensor::from_host<float>(output_weight_->shape(), weight));
  output_weight_->changed();
}

Tensor SegmentationHead::logits(const Tensor& product, Mode mode) const {
  const Tensor context = aspp_.forward(residual_.forward(product, mode), mode);
  return conv2d(hidden_.forward(context, mode, true), output_weight_, output_bias_, {});
}

}  // namespace ddpmts
