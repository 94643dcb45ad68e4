#include "data/dataset.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <utility>

namespace ddpmts {
namespace {

namespace fs = std::filesystem;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

[[noreturn]] void throw_dataset(const fs::path& folder, std::string_view what) {
  throw DatasetError(fmt::format("cannot use the folder {}: {}", in_quotes(folder), what), folder);
}

/// What is in a folder, in natural order.
std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    entries.push_back(it->path());
  if (error) throw_dataset(folder, reason_and_remedy(error.value()));
  std::ranges::sort(entries, natural_less, [](const fs::path& path) { return path.filename().string(); });
  return entries;
}

bool is_folder(const fs::path& path) {
  std::error_code
      error;  // a broken link or an unreadable parent is no folder; reading it as a picture names the cause
  return fs::is_directory(path, error);
}

bool is_hidden(const fs::path& path) { return path.filename().native().starts_with('.'); }

/// The sub-folder with this name in any case, if there is one.
std::optional<fs::path> child(const fs::path& folder, std::string_view name) {
  std::optional<fs::path> found;
  for (const fs::path& entry : entries_of(folder)) {
    if (lower(entry.filename().string()) != name || !is_folder(entry)) continue;
    if (found) {
      throw_dataset(folder, fmt::format("{} and {} mean the same; rename or join them",
                                        in_quotes(found->filename()), in_quotes(entry.filename())));
    }
    found = entry;
  }
  return found;
}

/// What becomes of a picture whose header cannot be read: training goes without it; where pictures are judged it keeps its
/// place, and loading it says what is wrong.
enum class Unreadable : std::uint8_t { skip, keep };

/// Lists the pictures of one folder; all else goes to `skipped`, with a reason.
std::vector<Sample> list_pictures(const fs::path& folder, std::string_view type,
                                  std::optional<bool> defective, Unreadable unreadable,
                                  std::vector<Skipped>& skipped) {
  std::vector<Sample> out;
  for (const fs::path& entry : entries_of(folder)) {
    if (is_hidden(entry)) {
      skipped.push_back({entry, "hidden"});
    } else if (is_folder(entry)) {
      skipped.push_back({entry, "a folder inside a picture folder; its pictures are not mixed in"});
    } else if (!has_picture_extension(entry)) {
      skipped.push_back({entry, "its name does not end in .png, .jpg, .jpeg or .bmp"});
    } else {
      Sample sample{entry, std::string(type), defective, std::nullopt};
      try {
        const ImageHeader header = read_image_header(entry);
        sample.width = header.width, sample.height = header.height;
      } catch (const FileError& error) {
        if (unreadable == Unreadable::skip) {
          skipped.push_back({entry, error.what()});
          continue;
        }
      }
      out.push_back(std::move(sample));
    }
  }
  return out;
}

/// Gives defective pictures the mask `<stem>_mask` or `<stem>` of this folder; files left over are skipped.
void attach_masks(std::vector<Sample>& samples, const fs::path& folder, std::vector<Skipped>& skipped) {
  std::multimap<std::string, fs::path> by_stem;
  for (const Sample& mask : list_pictures(folder, "", std::nullopt, Unreadable::keep, skipped)) {
    by_stem.emplace(mask.path.stem().string(), mask.path);
  }
  std::set<fs::path> used;
  for (Sample& sample : samples) {
    const std::string stem = sample.path.stem().string();
    for (const std::string& name : {stem + "_mask", stem}) {
      const auto found = by_stem.find(name);
      if (found == by_stem.end()) continue;
      sample.mask = found->second;
      used.insert(found->second);
      break;
    }
  }
  for (const auto& [stem, path] : by_stem) {
    if (!used.contains(path)) skipped.push_back({path, "a mask without a defective picture of its name"});
  }
}

/// Folders and pictures beside those that the layout knows. Other files there (licences, notes) are nobody's business.
void report_unknown(const fs::path& root, const std::vector<std::string_view>& known,
                    std::vector<Skipped>& skipped) {
  for (const fs::path& entry : entries_of(root)) {
    const bool folder = is_folder(entry);
    if (folder && std::ranges::find(known, lower(entry.filename().string())) != known.end()) continue;
    if (folder) skipped.push_back({entry, "a folder that this dataset's layout does not know"});
    if (!folder && has_picture_extension(entry))
      skipped.push_back({entry, "a picture outside of the folders for pictures"});
  }
}

void scan_mvtec(const fs::path& train_good, Dataset& dataset) {
  report_unknown(dataset.root, {"train", "test", "ground_truth"}, dataset.skipped);
  report_unknown(train_good.parent_path(), {"good"}, dataset.skipped);
  dataset.train_good = list_pictures(train_good, "good", false, Unreadable::skip, dataset.skipped);

  const std::optional<fs::path> truth = child(dataset.root, "ground_truth");
  std::set<std::string> types;
  if (const std::optional<fs::path> test = child(dataset.root, "test")) {
    for (const fs::path& folder : entries_of(*test)) {
      const std::string type = folder.filename().string();
      if (is_hidden(folder) || !is_folder(folder)) {
        dataset.skipped.push_back({folder, "a file where folders named after defects are expected"});
        continue;
      }
      types.insert(lower(type));
      const bool good = lower(type) == "good";
      std::vector<Sample> samples =
          list_pictures(folder, good ? "good" : type, !good, Unreadable::keep, dataset.skipped);
      const std::optional<fs::path> masks = truth ? child(*truth, lower(type)) : std::nullopt;
      if (masks && good)
        dataset.skipped.push_back({*masks, "the mask of a good picture is empty by definition"});
      if (masks && !good) attach_masks(samples, *masks, dataset.skipped);
      std::ranges::move(samples, std::back_inserter(dataset.test));
    }
  }
  if (!truth) return;
  for (const fs::path& folder : entries_of(*truth)) {
    if (types.contains(lower(folder.filename().string()))) continue;
    dataset.skipped.push_back({folder, "masks without a folder of that name in test"});
  }
}

/// FNV-1a of the name, its bits mixed once more (the last step of SplitMix64), for names often differ in one digit only.
std::uint64_t hash_of(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9u;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebu;
  return hash ^ (hash >> 31);
}

/// Moves every fifth picture, by hash of its name, out of `good`; both keep their order.
std::vector<Sample> hold_out(std::vector<Sample>& good) {
  if (good.size() < 2) return {};
  const std::size_t count = std::max<std::size_t>((good.size() * 2 + 5) / 10, 1);
  std::vector<std::pair<std::uint64_t, std::string>> ranked;
  for (const Sample& sample : good) {
    const std::string name = sample.path.filename().string();
    ranked.emplace_back(hash_of(name), name);
  }
  std::ranges::sort(ranked);
  const auto limit = ranked[count];
  std::vector<Sample> held, kept;
  for (Sample& sample : good) {
    const std::string name = sample.path.filename().string();
    (std::pair(hash_of(name), name) < limit ? held : kept).push_back(std::move(sample));
  }
  good = std::move(kept);
  return held;
}

void scan_good_and_bad(const fs::path& good, Dataset& dataset) {
  report_unknown(dataset.root, {"good", "bad", "masks"}, dataset.skipped);
  dataset.train_good = list_pictures(good, "good", false, Unreadable::skip, dataset.skipped);
  std::vector<Sample> bad;
  if (const auto folder = child(dataset.root, "bad"))
    bad = list_pictures(*folder, "bad", true, Unreadable::keep, dataset.skipped);
  if (const auto masks = child(dataset.root, "masks")) attach_masks(bad, *masks, dataset.skipped);
  if (bad.empty()) return;
  dataset.test = std::move(bad);
  std::ranges::move(hold_out(dataset.train_good), std::back_inserter(dataset.test));
}

constexpr std::string_view kExpected =
    "expected is one of: a folder of pictures of good parts; folders good and bad, and masks if there are "
    "any; or MVTec's "
    "train/good, test/<type> and ground_truth/<type>. Pictures are .png, .jpg, .jpeg or .bmp";

/// The first few things found, to show a user that it is the wrong folder.
std::string found_there(const fs::path& folder) {
  constexpr std::size_t kShown = 3;
  const std::vector<fs::path> entries = entries_of(folder);
  if (entries.empty()) return "it is empty";
  std::string out = "it holds";
  for (std::size_t i = 0; i < std::min(entries.size(), kShown); ++i) {
    out += fmt::format("{} {}", i == 0 ? "" : ",", in_quotes(entries[i].filename()));
  }
  if (entries.size() > kShown) out += fmt::format(" and {} more", entries.size() - kShown);
  return out;
}

}  // namespace

const char* name_of(Layout layout) {
  constexpr std::array<const char*, 3> kNames = {"MVTec", "good pictures only", "good and bad"};
  return kNames[static_cast<std::size_t>(layout)];
}

bool has_picture_extension(const fs::path& path) {
  constexpr std::array<std::string_view, 4> kExtensions = {".png", ".jpg", ".jpeg", ".bmp"};
  return std::ranges::find(kExtensions, lower(path.extension().native())) != kExtensions.end();
}

bool natural_less(std::string_view a, std::string_view b) {
  std::size_t i = 0, k = 0;
  while (i < a.size() && k < b.size()) {
    if (!is_digit(a[i]) || !is_digit(b[k])) {
      if (a[i] != b[k]) return static_cast<unsigned char>(a[i]) < static_cast<unsigned char>(b[k]);
      ++i, ++k;
      continue;
    }
    const auto take_number = [](std::string_view text, std::size_t& at) {
      while (at < text.size() && text[at] == '0') ++at;
      const std::size_t begin = at;
      while (at < text.size() && is_digit(text[at])) ++at;
      return text.substr(begin, at - begin);
    };
    const std::string_view x = take_number(a, i), y = take_number(b, k);
    if (x.size() != y.size()) return x.size() < y.size();
    if (x != y) return x < y;
  }
  if ((i < a.size()) != (k < b.size())) return k < b.size();
  return a < b;  // the same but for leading zeros
}

Dataset scan_dataset(const fs::path& root) {
  Dataset dataset;
  dataset.root = root;
  const std::optional<fs::path> train = child(root, "train");
  const std::optional<fs::path> train_good = train ? child(*train, "good") : std::nullopt;
  const std::optional<fs::path> good = child(root, "good");
  if (train_good) {
    dataset.layout = Layout::mvtec;
    scan_mvtec(*train_good, dataset);
  } else if (good) {
    dataset.layout = Layout::good_and_bad;
    scan_good_and_bad(*good, dataset);
  } else {
    dataset.layout = Layout::good_only;
    dataset.train_good = list_pictures(root, "good", false, Unreadable::skip, dataset.skipped);
  }
  if (dataset.train_good.empty()) {
    const fs::path& folder = train_good ? *train_good : good ? *good : root;
    std::string why =
        fmt::format("no picture of a good part can be read there; {}; {}", found_there(folder), kExpected);
    for (const Skipped& skipped : dataset.skipped) {
      if (!has_picture_extension(skipped.path) || is_folder(skipped.path)) continue;
      why += fmt::format(". The first picture left out is {}: {}", in_quotes(skipped.path), skipped.reason);
      break;
    }
    throw_dataset(folder, why);
  }
  return dataset;
}

PictureList scan_pictures(const fs::path& folder) {
  PictureList list;
  list.pictures = list_pictures(folder, "", std::nullopt, Unreadable::keep, list.skipped);
  return list;
}

}  // namespace ddpmts
