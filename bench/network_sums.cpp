#include "bench/network_sums.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "bench/table.h"

namespace ddpmts::bench {
namespace {

std::string ratio_text(const PassTimes& times) {
  return times.ours > 0.0 ? share_text(times.onednn / times.ours) : "";
}

}  // namespace

PassTimes NetworkSum::all() const {
  PassTimes sum;
  for (const auto& [pass, times] : passes) {
    sum.ours += times.ours;
    sum.onednn += times.onednn;
  }
  return sum;
}

std::vector<NetworkSum> network_sums(const std::vector<Row>& rows) {
  std::vector<NetworkSum> sums;
  std::set<std::string> seen;
  for (const Row& row : rows) {
    if (!row.timed() || !row.onednn || !seen.insert(row.command).second) continue;
    const std::string &precision = row.axes.at("precision"), &batch = row.axes.at("batch");
    const std::string& pass = row.axes.at("pass");
    for (const auto& [network, uses] : row.networks) {
      auto sum = std::ranges::find_if(sums, [&](const NetworkSum& s) {
        return s.network == network && s.precision == precision && s.batch == batch;
      });
      if (sum == sums.end()) sum = sums.insert(sums.end(), {network, precision, batch, 0, {}});
      const double times = static_cast<double>(uses);
      PassTimes& of_pass = sum->passes[pass];
      of_pass.ours += times * row.hot.median;
      of_pass.onednn += times * row.onednn->median;
      if (pass == "forward") sum->convolutions += uses;
    }
  }
  return sums;
}

std::string network_sums_text(const std::vector<NetworkSum>& sums) {
  if (sums.empty()) return "";
  std::string text = fmt::format(
      "\n| {:<28} | {:>5} | {:>9} | {:>9} | {:>9} | {:>8} | {:>8} | {:>8} |\n"
      "|{:-<30}|{:->6}:|{:->10}:|{:->10}:|{:->10}:|{:->9}:|{:->9}:|{:->9}:|\n",
      "convolutions of", "count", "ours", "oneDNN", "of oneDNN", "forward", "data", "weights", "", "", "", "",
      "", "", "", "");
  for (const NetworkSum& sum : sums) {
    const PassTimes all = sum.all();
    const auto of = [&](const char* pass) {
      const auto found = sum.passes.find(pass);
      return found == sum.passes.end() ? std::string() : ratio_text(found->second);
    };
    text += fmt::format("| {:<28} | {:>5} | {:>9} | {:>9} | {:>9} | {:>8} | {:>8} | {:>8} |\n",
                        fmt::format("{} {} b{}", sum.network, sum.precision, sum.batch),
                        sum.convolutions > 0 ? std::to_string(sum.convolutions) : "", time_text(all.ours),
                        time_text(all.onednn), ratio_text(all), of("forward"), of("data_gradient"),
                        of("weight_gradient"));
  }
  return text +
         "\nTimes of the rows above, each as often as the network runs its shape; gradients where it is "
         "trained.\n";
}

}  // namespace ddpmts::bench
