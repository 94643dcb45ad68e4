// The built program as it runs, for tests that interrupt it.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "tests/app/program.h"

namespace ddpmts::test {

class Running {
 public:
  /// Starts at once; stdout and stderr go to the file `output`.
  Running(const std::string& arguments, std::string output) : output_(std::move(output)) {
    const std::string command =
        std::string("exec \"") + DDPMTS_PROGRAM + "\" " + arguments + " >\"" + output_ + "\" 2>&1";
    pid_ = fork();
    if (pid_ == 0) {
      execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
      _exit(127);
    }
  }
  ~Running() { end_with(SIGKILL); }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  /// Waits until the file holds the text; false when the program ends without it, or after two minutes.
  bool wrote(const std::string& file, const std::string& text) {
    for (int i = 0; i < 24000; ++i) {
      const bool over = has_ended();
      if (read_text(file).find(text) != std::string::npos) return true;
      if (over) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }
  bool printed(const std::string& text) { return wrote(output_, text); }

  /// Sends the signal, waits for the end.
  Finished end_with(int signal) {
    if (pid_ > 0 && !has_ended()) {
      kill(pid_, signal);
      waitpid(pid_, &status_, 0);
      pid_ = -1;
    }
    return {WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_), read_text(output_)};
  }

 private:
  bool has_ended() {
    if (pid_ > 0 && waitpid(pid_, &status_, WNOHANG) == pid_) pid_ = -1;
    return pid_ < 0;
  }
  std::string output_;
  pid_t pid_ = -1;
  int status_ = 0;
};

}  // namespace ddpmts::test
