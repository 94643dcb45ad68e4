// `--profile`: what runs how often, and between whose start and stop.
#include "bench/profile.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace ddpmts::bench {
namespace {

// A case that counts its runs, and a recorder that counts those it sees.
struct Counted {
  int runs = 0, checks = 0, recorded = 0, runs_before = 0;
  std::vector<std::string> names;
  bool right = true;

  Case make() {
    Case c;
    c.name = "kernels/counted";
    c.memory = 1e6;
    c.prepare = [this] {
      Prepared p;
      p.run = [this] { ++runs; };
      p.check = [this] {
        ++checks;
        return Check{right, "y: off by 3"};
      };
      return p;
    };
    return c;
  }
  Recorder recorder() {
    return [this](Device, const std::string& name, const std::function<void()>& work) {
      names.push_back(name);
      runs_before = runs;
      work();
      recorded = runs - runs_before;
    };
  }
};

TEST(Profile, RecordsOneRunAfterCheckAndWarmUp) {
  Counted counted;
  const Row row = profile_case(counted.make(), 0.0, counted.recorder());
  EXPECT_EQ(row.status, Status::ok);
  EXPECT_EQ(row.check, "y: off by 3");
  EXPECT_FALSE(row.timed());
  EXPECT_EQ(counted.checks, 1);
  EXPECT_EQ(counted.names, std::vector<std::string>{"kernels/counted"});
  EXPECT_EQ(counted.runs_before, 3) << "warm-ups";
  EXPECT_EQ(counted.recorded, 1);
  EXPECT_EQ(counted.runs, 4);
}

TEST(Profile, AWrongCaseIsNotRecorded) {
  Counted counted;
  counted.right = false;
  const Row row = profile_case(counted.make(), 0.0, counted.recorder());
  EXPECT_EQ(row.status, Status::fail);
  EXPECT_TRUE(counted.names.empty());
  EXPECT_EQ(counted.runs, 0);
}

TEST(Profile, WhatDoesNotFitIsSkipped) {
  Counted counted;
  const Row row = profile_case(counted.make(), 1e5, counted.recorder());
  EXPECT_EQ(row.status, Status::skip);
  EXPECT_EQ(counted.checks, 0);
  EXPECT_TRUE(counted.names.empty());
}

TEST(Profile, AFailureWhileRecordingIsARow) {
  Counted counted;
  const Row row = profile_case(counted.make(), 0.0, [](Device, const std::string&, const auto&) {
    throw std::runtime_error("cudaProfilerStart failed");
  });
  EXPECT_EQ(row.status, Status::fail);
  EXPECT_EQ(row.check, "could not run: cudaProfilerStart failed");
}

}  // namespace
}  // namespace ddpmts::bench
