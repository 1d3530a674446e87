"""CPU kernels of our own: a C++ library, bound by ctypes, that runs chains of operators for any tenants in any order."""
