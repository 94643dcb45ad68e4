// Files of PyTorch's torch.save (.pth, .pt, .bin) that hold named tensors. Both forms are read: the ZIP archive that PyTorch
// writes since 1.6, and the stream of pickles before. What is in them beside tensors is refused by name, nothing is run.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/files/pickle.h"
#include "engine/files/tensor_source.h"
#include "engine/files/zip_archive.h"

namespace ddpmts {

/// What a file is by its first bytes; its name says nothing.
enum class TorchForm : std::uint8_t {
  zip,
  stream,
  tar,   ///< PyTorch before 0.1.10, as in resnet18-5c106cde.pth; not read
  none,  ///< no file of PyTorch
};
TorchForm torch_form(const InputFile& file);

/// The tensors of a dictionary name → tensor (a state_dict), or of the one under `state_dict` or `model` in a dictionary
/// of other things. Everything but the tensors' values is read and checked at once; the values when asked for, and then
/// held against their checksum where there is one (ZIP). All errors are FileErrors.
class TorchFile final : public TensorSource {
 public:
  /// Throws FileError naming the opcode, module, entry or tensor that is not taken, and what to do.
  explicit TorchFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const override { return path_; }
  /// "ZIP" or "stream"
  const char* form_name() const { return archive_ ? "ZIP" : "stream"; }

  std::vector<std::byte> bytes(std::string_view name) const override;

 private:
  [[noreturn]] void refuse(Misfit misfit, const std::string& what) const override;

  void open_zip(InputFile file);
  void open_stream(InputFile file);
  /// Finds the dictionary under `root`, and each tensor's place; `storage_offset` gives where a storage's bytes begin.
  void take_tensors(const PickleValue& root,
                    const std::map<std::string, std::uint64_t, std::less<>>& storage_offset);

  std::filesystem::path path_;
  std::optional<ZipArchive> archive_;                          ///< the ZIP form
  std::string storage_folder_;                                 ///< of its entries
  std::optional<InputFile> stream_;                            ///< the stream form
  std::unordered_map<std::string, std::string> storage_keys_;  ///< by tensor
};

}  // namespace ddpmts
