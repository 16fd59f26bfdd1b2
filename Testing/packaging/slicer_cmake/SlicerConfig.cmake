# Stand-in for the CMake package of 3D Slicer: what the CMakeLists.txt files of this extension use, and strict.
# With SLICER_SOURCE (a Slicer source tree) its own macro files are used instead of the ones in UseSlicer.cmake.
set(Slicer_FOUND TRUE)
set(Slicer_USE_PYTHONQT ON)
set(Slicer_VERSION "5.12")
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR "lib/Slicer-${Slicer_VERSION}/qt-scripted-modules")
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR "${Slicer_QTSCRIPTEDMODULES_LIB_DIR}")
set(Slicer_CLIMODULES_LIB_DIR "lib/Slicer-${Slicer_VERSION}/cli-modules")
set(Slicer_QTLOADABLEMODULES_LIB_DIR "lib/Slicer-${Slicer_VERSION}/qt-loadable-modules")
set(Slicer_LAUNCHER_EXECUTABLE "Slicer")
set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/ExtensionGenerateConfig.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/ExtensionCPack.cmake")
