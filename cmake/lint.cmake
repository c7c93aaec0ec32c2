# Lint as tests: the format, what clang-tidy and cppcheck find, and the rules of HACKING.md that a
# pattern can check.

find_program (CLANG_FORMAT NAMES clang-format REQUIRED)
find_program (RUN_CLANG_TIDY NAMES run-clang-tidy REQUIRED)
find_program (CPPCHECK NAMES cppcheck REQUIRED)

add_test (NAME lint_format
  COMMAND sh -c "git ls-files '*.c' '*.h' | xargs ${CLANG_FORMAT} --dry-run --Werror"
  WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
add_test (NAME lint_tidy
  COMMAND ${RUN_CLANG_TIDY} -quiet -p ${CMAKE_BINARY_DIR} "^${PROJECT_SOURCE_DIR}/(common|nodes)/.*\\.c$"
  WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
add_test (NAME lint_cppcheck
  COMMAND ${CPPCHECK} --quiet --error-exitcode=1 --std=c11 --enable=warning,portability --inline-suppr
          --suppressions-list=cmake/cppcheck.txt -j2
          --include=cmake/cppcheck.h -I common -I include -D_GNU_SOURCE common nodes bench
  WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
add_test (NAME lint_rules COMMAND ${PROJECT_SOURCE_DIR}/tools/lint_rules
  WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
add_test (NAME lint_failures COMMAND ${PROJECT_SOURCE_DIR}/tools/lint_failures ${CMAKE_BINARY_DIR}
  WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
set_tests_properties (lint_tidy lint_cppcheck PROPERTIES PROCESSORS 2)
