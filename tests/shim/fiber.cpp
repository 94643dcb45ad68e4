#include "tests/shim/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

#if !defined(__x86_64__)
#define DDPMTS_SHIM_UCONTEXT  // the portable way: works everywhere, at two system calls a switch
#endif
#if defined(DDPMTS_SHIM_UCONTEXT)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if !defined(DDPMTS_SHIM_UCONTEXT)
extern "C" void ddpmts_shim_switch(void** save_stack, void* load_stack);
// Keeps what the calling convention says a function keeps, on the old stack, and takes it from the new one.
asm(R"(
.text
.globl ddpmts_shim_switch
.type ddpmts_shim_switch, @function
ddpmts_shim_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size ddpmts_shim_switch, .-ddpmts_shim_switch
)");
#endif

namespace ddpmts::shim {

struct Fiber::Context {
#if defined(DDPMTS_SHIM_UCONTEXT)
  ucontext_t inside, outside;
#else
  void *inside = nullptr, *outside = nullptr;  // stack pointers
#endif
  // What AddressSanitizer wants to know about the stacks.
  void* fake_stack_inside = nullptr;
  void* fake_stack_outside = nullptr;
  const void* outside_bottom = nullptr;
  std::size_t outside_bytes = 0;
};

namespace {
Fiber* running = nullptr;  // kernels run on one thread of the host, one after another
}

Fiber::Fiber() : context_(new Context) {
  void* memory =
      mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    delete context_;
    throw std::bad_alloc();
  }
  stack_ = static_cast<char*>(memory);
  mprotect(stack_, 4096, PROT_NONE);  // the page below the stack: an overflow is a fault, not a corruption
}

Fiber::~Fiber() {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(stack_, kStackBytes);
#endif
  munmap(stack_, kStackBytes);
  delete context_;
}

void Fiber::start(void (*body)(void*), void* argument) {
  const bool reuse = finished_ && body_ != nullptr;  // it waits in enter() for its next body
  body_ = body;
  argument_ = argument;
  finished_ = false;
  if (reuse) return;
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(stack_, kStackBytes);  // frames that were abandoned
#endif
  context_->fake_stack_inside = nullptr;
#if defined(DDPMTS_SHIM_UCONTEXT)
  getcontext(&context_->inside);
  context_->inside.uc_stack.ss_sp = stack_;
  context_->inside.uc_stack.ss_size = kStackBytes;
  context_->inside.uc_link = nullptr;
  makecontext(&context_->inside, &Fiber::enter, 0);
#else
  void** top = reinterpret_cast<void**>(stack_ + kStackBytes);
  *--top = nullptr;  // where a caller's return address would be
  *--top = reinterpret_cast<void*>(&Fiber::enter);
  for (int i = 0; i < 6; ++i) *--top = nullptr;  // the six kept registers
  context_->inside = top;
#endif
}

void Fiber::enter() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &running->context_->outside_bottom,
                                  &running->context_->outside_bytes);
#endif
  for (;;) {
    running->body_(running->argument_);
    running->finished_ = true;
    running->switch_out();
  }
}

void Fiber::resume() {
  running = this;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&context_->fake_stack_outside, stack_, kStackBytes);
#endif
#if defined(DDPMTS_SHIM_UCONTEXT)
  swapcontext(&context_->outside, &context_->inside);
#else
  ddpmts_shim_switch(&context_->outside, context_->inside);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(context_->fake_stack_outside, nullptr, nullptr);
#endif
}

void Fiber::switch_out() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&context_->fake_stack_inside, context_->outside_bottom,
                                 context_->outside_bytes);
#endif
#if defined(DDPMTS_SHIM_UCONTEXT)
  swapcontext(&context_->inside, &context_->outside);
#else
  ddpmts_shim_switch(&context_->inside, context_->outside);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(context_->fake_stack_inside, &context_->outside_bottom,
                                  &context_->outside_bytes);
#endif
}

void Fiber::leave() { running->switch_out(); }

}  // namespace ddpmts::shim
