// The functions of cuBLASLt that are used, bound to the opened library, and its objects as owners.
#pragma once

#include <cublasLt.h>

#include <memory>

#include "engine/cuda/libraries.h"

namespace ddpmts::cuda {

/// One pointer a function; made at first use. Throws DeviceError where the library is not there.
struct Cublaslt {
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtDestroy) destroy;
  decltype(&cublasLtGetStatusString) status_string;
  decltype(&cublasLtMatmulDescCreate) operation_create;
  decltype(&cublasLtMatmulDescDestroy) operation_destroy;
  decltype(&cublasLtMatmulDescSetAttribute) operation_set;
  decltype(&cublasLtMatrixLayoutCreate) layout_create;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristics;
  decltype(&cublasLtMatmul) matmul;
};
const Cublaslt& cublaslt();

/// Throws DeviceError unless the call succeeded.
void check_cublaslt(cublasStatus_t status, const char* call, int device);

template <class Opaque, auto Cublaslt::*kDestroy>
struct CublasltDelete {
  void operator()(Opaque* object) const { (cublaslt().*kDestroy)(object); }
};
struct DestroyCublasltHandle {
  void operator()(cublasLtContext* handle) const { cublaslt().destroy(handle); }
};

using CublasltOperation =
    std::unique_ptr<cublasLtMatmulDescOpaque_t,
                    CublasltDelete<cublasLtMatmulDescOpaque_t, &Cublaslt::operation_destroy>>;
using CublasltLayout =
    std::unique_ptr<cublasLtMatrixLayoutOpaque_t,
                    CublasltDelete<cublasLtMatrixLayoutOpaque_t, &Cublaslt::layout_destroy>>;
using CublasltPreference =
    std::unique_ptr<cublasLtMatmulPreferenceOpaque_t,
                    CublasltDelete<cublasLtMatmulPreferenceOpaque_t, &Cublaslt::preference_destroy>>;

}  // namespace ddpmts::cuda
