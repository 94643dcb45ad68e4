# Thin: everything real is in CMake and in scripts/.
.PHONY: build setup demo test bench asan clean

build: setup
	scripts/build.sh

setup:
	@scripts/setup.sh

demo: setup
	scripts/build.sh ddpmts
	scripts/demo.sh

test: build
	scripts/test.sh

bench: build
	build/ddpmts_bench --quick

asan: setup
	cmake --preset asan >/dev/null && cmake --build --preset asan && ctest --preset asan

clean:
	rm -rf build build-* demo
