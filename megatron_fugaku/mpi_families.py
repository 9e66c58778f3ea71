"""The binary interfaces of MPI libraries: which of them a program may be run with once it is linked.

A library's file name says which interface it has. Open MPI keeps one since its release 3, MPICH shares one with those
that took part in its initiative (Intel MPI, MVAPICH, Cray MPICH), Fujitsu MPI has a name of its own.
"""

#: Library to family; the extension of the MPI backend for a family is called ``_mpi_FAMILY``.
FAMILIES = {
    "libmpi.so.40": "openmpi",
    "libmpi.so.20": "openmpi2",
    "libmpi.so.0": "fujitsu",
    "libmpi.so.12": "mpich",
    "libmpich.so.12": "mpich",
    "libmpi_abi.so.0": "standard",
    "libmpi_abi.so.1": "standard",
}

#: What people call the library.
TITLES = {
    "libmpi.so.40": "Open MPI 4 or 5",
    "libmpi.so.20": "Open MPI 2 or 3",
    "libmpi.so.0": "Fujitsu MPI",
    "libmpi.so.12": "MPICH or Intel MPI",
    "libmpich.so.12": "MPICH",
    "libmpi_abi.so.0": "an MPI with the ABI of MPI 5",
    "libmpi_abi.so.1": "an MPI with the ABI of MPI 5",
}

#: What people call the family.
FAMILY_TITLES = {"openmpi": "Open MPI", "openmpi2": "Open MPI 2", "fujitsu": "Fujitsu MPI", "mpich": "MPICH",
                 "standard": "the standard ABI of MPI 5"}
