"""Kernels: point kernels of the embedded Monte Carlo, and voxel S values integrated from them.

A point kernel (energy absorbed against distance from an isotropic point source in an
infinite medium) is made once per nuclide and medium; the kernel of any voxel size,
anisotropic too, and of any density of that medium follows from it by integration.
"""

from TheranosticDoseLib.dose.kernels.point import PointKernel, point_kernel
from TheranosticDoseLib.dose.kernels.voxel import VoxelKernel, voxel_kernel

__all__ = ["PointKernel", "VoxelKernel", "point_kernel", "voxel_kernel"]
