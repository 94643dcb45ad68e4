# Writes OUTPUT, a header with the commit that SOURCE_DIR is at ("unknown" outside of git, "+" for uncommitted changes), and
# touches it only when that changes. Run by every build: cmake -DSOURCE_DIR=… -DOUTPUT=… -P write_commit.cmake
execute_process(COMMAND git -C ${SOURCE_DIR} rev-parse --short=12 HEAD
  OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
if(failed)
  set(commit "unknown")
else()
  execute_process(COMMAND git -C ${SOURCE_DIR} status --porcelain --untracked-files=no OUTPUT_VARIABLE changes ERROR_QUIET)
  if(changes)
    string(APPEND commit "+")
  endif()
endif()
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT "#define DDPMTS_COMMIT \"${commit}\"\n")
