#include "engine/files/torch_file.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <set>

namespace ddpmts {
namespace {

using StorageOffsets = std::map<std::string, std::uint64_t, std::less<>>;

/// A stream begins with the pickle of its magic number, 0x1950a86a20f9469cfc6c, then that of its version, 1001.
constexpr std::array<unsigned char, 15> kStreamMagic = {0x80, 2,    0x8a, 10,   0x6c, 0xfc, 0x9c, 0x46,
                                                        0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};
constexpr std::array<unsigned char, 4> kZipMagic = {'P', 'K', 3, 4};
constexpr std::array<unsigned char, 5> kTarMagic = {'u', 's', 't', 'a', 'r'};
constexpr std::uint64_t kTarMagicAt = 257;
constexpr std::int64_t kStreamVersion = 1001;

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what) {
  throw FileError(fmt::format("cannot use {}: {}", in_quotes(path), what), path);
}

template <std::size_t N>
bool has_bytes(const InputFile& file, std::uint64_t at, const std::array<unsigned char, N>& expected) {
  std::array<unsigned char, N> found{};
  if (file.size() < at + N) return false;
  file.read(at, std::as_writable_bytes(std::span(found)));
  return found == expected;
}

/// The value under a text key; null when there is none. Throws when there are two.
const PickleValue* entry_of(const PickleDict& dict, std::string_view key, const std::filesystem::path& path) {
  const PickleValue* found = nullptr;
  for (const auto& [name, value] : dict.items) {
    const std::string* text = text_of(*name);
    if (text == nullptr || *text != key) continue;
    if (found != nullptr) fail(path, fmt::format("the name {} occurs twice in it", in_quotes(key)));
    found = value;
  }
  return found;
}

/// The dictionary of tensors: the root, or what it holds under one of two names.
const PickleDict& tensor_dict(const PickleValue& root, const std::filesystem::path& path) {
  const auto* dict = std::get_if<PickleDict>(&root.content);
  if (dict == nullptr) {
    fail(path, fmt::format("it holds {}, a dictionary of tensors was expected; save a model's state_dict()",
                           kind_of(root)));
  }
  const PickleDict* inner = nullptr;
  for (const char* key : {"state_dict", "model"}) {
    const PickleValue* value = entry_of(*dict, key, path);
    const auto* candidate = value == nullptr ? nullptr : std::get_if<PickleDict>(&value->content);
    if (candidate == nullptr) continue;
    if (inner != nullptr) fail(path, "it holds both 'state_dict' and 'model'; save one of them alone");
    inner = candidate;
  }
  return inner != nullptr ? *inner : *dict;
}

std::uint64_t bytes_of(const PickleStorage& storage) {
  return static_cast<std::uint64_t>(storage.count) * size_of(storage.type);  // checked where it was read
}

}  // namespace

TorchForm torch_form(const InputFile& file) {
  if (has_bytes(file, 0, kZipMagic)) return TorchForm::zip;
  if (has_bytes(file, 0, kStreamMagic)) return TorchForm::stream;
  if (has_bytes(file, kTarMagicAt, kTarMagic)) return TorchForm::tar;
  return TorchForm::none;
}

TorchFile::TorchFile(const std::filesystem::path& path) : path_(path) {
  InputFile file(path);
  switch (torch_form(file)) {
    case TorchForm::zip:
      open_zip(std::move(file));
      return;
    case TorchForm::stream:
      open_stream(std::move(file));
      return;
    case TorchForm::tar:
      fail(path,
           "it is in the tar form of PyTorch before 0.1.10; load it with a current PyTorch and save its "
           "state_dict() anew, or take a newer file, such as resnet18-f37072fd.pth instead of "
           "resnet18-5c106cde.pth");
    case TorchForm::none:
      break;
  }
  fail(path, "it is no file of PyTorch's torch.save; check that it is the right file and whole");
}

void TorchFile::refuse(Misfit, const std::string& what) const { fail(path_, what); }

std::vector<std::byte> TorchFile::bytes(std::string_view name) const {
  const TensorInfo& tensor = info(name);
  if (stream_) {
    std::vector<std::byte> out(tensor.bytes);
    stream_->read(tensor.offset, out);
    return out;
  }
  const ZipEntry& record = *archive_->find(storage_folder_ + storage_keys_.at(tensor.name));
  const std::vector<std::byte> all = archive_->read(record);
  const auto begin = all.begin() + static_cast<std::ptrdiff_t>(tensor.offset - record.offset);
  return {begin, begin + static_cast<std::ptrdiff_t>(tensor.bytes)};
}

void TorchFile::open_zip(InputFile file) {
  archive_.emplace(std::move(file));
  // Everything lies in one folder, which is named after the file or "archive".
  std::string folder;
  for (const ZipEntry& entry : archive_->entries()) {
    const std::string top = entry.name.substr(0, entry.name.find('/') + 1);
    if (top.size() < 2 || (!folder.empty() && top != folder)) {
      fail(path_,
           fmt::format("its ZIP entry {} is not in {}; this is no file of PyTorch", in_quotes(entry.name),
                       folder.empty() ? "a folder" : "the folder " + in_quotes(folder)));
    }
    folder = top;
  }
  if (archive_->find(folder + "constants.pkl") != nullptr) {
    fail(path_, "it is a TorchScript program, which has code in it; save the model's state_dict() instead");
  }
  if (const ZipEntry* order = archive_->find(folder + "byteorder"); order != nullptr) {
    constexpr std::string_view kLittle = "little";
    if (order->bytes != kLittle.size() ||
        std::memcmp(archive_->read(*order).data(), kLittle.data(), kLittle.size()) != 0) {
      fail(path_, "its byte order is not 'little'; save it anew on a little-endian machine");
    }
  }
  const ZipEntry* data = archive_->find(folder + "data.pkl");
  if (data == nullptr)
    fail(path_, "this ZIP archive has no data.pkl; it was not written by PyTorch's torch.save");
  if (data->bytes > Pickle::kMaxBytes) {
    fail(path_,
         fmt::format("its data.pkl has {} bytes, at most {} are taken", data->bytes, Pickle::kMaxBytes));
  }
  const std::vector<std::byte> program = archive_->read(*data);
  const Pickle pickle(program, PickleForm::zip, path_, "data.pkl");
  if (pickle.consumed() != program.size()) {
    fail(path_,
         fmt::format("its data.pkl goes on for {} bytes after its end", program.size() - pickle.consumed()));
  }
  storage_folder_ = folder + "data/";
  StorageOffsets offsets;
  for (const auto& [key, storage] : pickle.storages()) {
    const std::string name = storage_folder_ + key;
    const ZipEntry* record = archive_->find(name);
    if (record == nullptr)
      fail(path_, fmt::format("it lacks the entry {} that its data.pkl names", in_quotes(name)));
    if (record->bytes != bytes_of(storage)) {
      fail(path_, fmt::format("its entry {} has {} bytes, {} elements of type {} need {}", in_quotes(name),
                              record->bytes, storage.count, name_of(storage.type), bytes_of(storage)));
    }
    offsets.emplace(key, record->offset);
  }
  take_tensors(pickle.root(), offsets);
}

void TorchFile::open_stream(InputFile file) {
  // Five pickles, then each storage: its number of elements (i64), its elements.
  std::vector<std::byte> head(std::min<std::uint64_t>(file.size(), Pickle::kMaxBytes));
  file.read(0, head);
  std::size_t at = kStreamMagic.size();
  const auto next = [&](std::string_view what) {
    Pickle pickle(std::span<const std::byte>(head).subspan(at), PickleForm::stream, path_, what);
    at += pickle.consumed();
    return pickle;
  };
  const Pickle version = next("its version");
  const auto* number = std::get_if<std::int64_t>(&version.root().content);
  if (number == nullptr || *number != kStreamVersion) {
    fail(path_,
         fmt::format("its version is {}, {} was expected",
                     number == nullptr ? kind_of(version.root()) : std::to_string(*number), kStreamVersion));
  }
  const Pickle system = next("its description of the machine");
  const auto* properties = std::get_if<PickleDict>(&system.root().content);
  const PickleValue* little = properties == nullptr ? nullptr : entry_of(*properties, "little_endian", path_);
  const bool* is_little = little == nullptr ? nullptr : std::get_if<bool>(&little->content);
  if (is_little == nullptr || !*is_little) {
    fail(path_, "its byte order is not little-endian; save it anew on a little-endian machine");
  }
  const Pickle object = next("its dictionary");
  const Pickle keys = next("its list of storages");
  const auto* list = std::get_if<PickleList>(&keys.root().content);
  if (list == nullptr) fail(path_, fmt::format("its list of storages is {}", kind_of(keys.root())));

  StorageOffsets offsets;
  std::uint64_t offset = at;
  for (const PickleValue* item : list->items) {
    const std::string* key = text_of(*item);
    const auto found = key == nullptr ? object.storages().end() : object.storages().find(*key);
    if (found == object.storages().end()) {
      fail(path_, fmt::format("its list of storages holds {}, which its dictionary does not name",
                              key == nullptr ? kind_of(*item) : in_quotes(*key)));
    }
    const PickleStorage& storage = found->second;
    std::int64_t count = 0;
    file.read(offset, std::as_writable_bytes(std::span(&count, 1)));
    offset += sizeof(count);
    if (count != storage.count) {
      fail(path_, fmt::format("its storage {} has {} elements, its dictionary says {}", in_quotes(*key),
                              count, storage.count));
    }
    if (bytes_of(storage) > file.size() - offset) {
      fail(path_,
           fmt::format(
               "its storage {} needs {} bytes at byte {}, the file has {}; it is cut short, copy it again",
               in_quotes(*key), bytes_of(storage), offset, file.size()));
    }
    if (!offsets.emplace(*key, offset).second) {
      fail(path_, fmt::format("its storage {} occurs twice", in_quotes(*key)));
    }
    offset += bytes_of(storage);
  }
  for (const auto& [key, storage] : object.storages()) {
    if (!offsets.contains(key)) fail(path_, fmt::format("its storage {} is missing", in_quotes(key)));
  }
  if (offset != file.size()) {
    fail(path_, fmt::format("it goes on for {} bytes after its last storage", file.size() - offset));
  }
  take_tensors(object.root(), offsets);
  stream_.emplace(std::move(file));
}

void TorchFile::take_tensors(const PickleValue& root, const StorageOffsets& storage_offset) {
  const PickleDict& dict = tensor_dict(root, path_);
  if (dict.items.size() > kMaxTensors) {
    fail(path_, fmt::format("it holds {} tensors, at most {} are taken", dict.items.size(), kMaxTensors));
  }
  std::vector<TensorInfo> tensors;
  std::set<std::string_view> names;
  for (const auto& [key, value] : dict.items) {
    const std::string* name = text_of(*key);
    if (name == nullptr || name->size() > kMaxNameBytes) {
      fail(path_, fmt::format("a tensor's name is {}", name == nullptr ? kind_of(*key) : "too long"));
    }
    if (!names.insert(*name).second)
      fail(path_, fmt::format("the name {} occurs twice in it", in_quotes(*name)));
    const auto* tensor = std::get_if<PickleTensor>(&value->content);
    if (tensor == nullptr) {
      fail(path_, fmt::format("its entry {} is {}, a tensor was expected; save a model's state_dict()",
                              in_quotes(*name), kind_of(*value)));
    }
    TensorInfo info{*name, tensor->storage->type, tensor->shape, 0, size_of(tensor->storage->type)};
    for (const std::int64_t extent : tensor->shape)
      info.bytes *= static_cast<std::uint64_t>(extent);  // fits its storage
    info.offset = storage_offset.find(tensor->storage->key)->second +
                  static_cast<std::uint64_t>(tensor->offset) * size_of(info.type);
    storage_keys_.emplace(*name, tensor->storage->key);
    tensors.push_back(std::move(info));
  }
  set_tensors(std::move(tensors));
}

}  // namespace ddpmts
