# How every target of the tree is built, and how a test is added.

set (CMAKE_C_STANDARD 17)
set (CMAKE_C_STANDARD_REQUIRED ON)
set (CMAKE_C_EXTENSIONS OFF)
set (CMAKE_POSITION_INDEPENDENT_CODE ON)

add_library (weir_options INTERFACE)
target_compile_definitions (weir_options INTERFACE _GNU_SOURCE)
target_include_directories (weir_options INTERFACE ${PROJECT_SOURCE_DIR}/include
                                                   ${PROJECT_SOURCE_DIR}/common)
target_compile_options (weir_options INTERFACE
  -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Wvla
  -Wformat=2 -Wundef -Wwrite-strings -fno-common
  $<$<BOOL:${WEIR_WERROR}>:-Werror>)
if (WEIR_SANITIZE)
  target_compile_options (weir_options INTERFACE -fsanitize=${WEIR_SANITIZE} -fno-omit-frame-pointer)
  target_link_options (weir_options INTERFACE -fsanitize=${WEIR_SANITIZE})
endif ()
if (WEIR_FUZZ)
  target_compile_options (weir_options INTERFACE -fsanitize=fuzzer-no-link)
endif ()

# weir_layer (name LINKS ...): one layer of common/, as target weir_<name>, of all the C files in its
# folder. LINKS names exactly what its line in HACKING.md allows.
function (weir_layer name)
  cmake_parse_arguments (arg "" "" "LINKS" ${ARGN})
  file (GLOB sources CONFIGURE_DEPENDS *.c)
  if (sources)
    add_library (weir_${name} STATIC ${sources})
    target_link_libraries (weir_${name} PUBLIC weir_options ${arg_LINKS})
  else ()
    add_library (weir_${name} INTERFACE)
    target_link_libraries (weir_${name} INTERFACE weir_options ${arg_LINKS})
  endif ()
endfunction ()

# weir_node (name LINKS ...): one program, weir-<name> (or plain weir), of all the C files in its folder.
function (weir_node name)
  cmake_parse_arguments (arg "" "" "LINKS" ${ARGN})
  file (GLOB sources CONFIGURE_DEPENDS *.c)
  if (sources)
    add_executable (${name} ${sources})
    target_link_libraries (${name} PRIVATE weir_options ${arg_LINKS})
    install (TARGETS ${name} RUNTIME)
  endif ()
endfunction ()

# weir_test (name SOURCES ... LINKS ...): a cmocka program, run by ctest under its own name.
function (weir_test name)
  cmake_parse_arguments (arg "" "" "SOURCES;LINKS" ${ARGN})
  add_executable (${name} ${arg_SOURCES})
  target_link_libraries (${name} PRIVATE ${arg_LINKS} PkgConfig::cmocka)
  set_target_properties (${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test (NAME ${name} COMMAND ${name})
endfunction ()
