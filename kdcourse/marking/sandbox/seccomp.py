"""The calls that the kernel refuses a submission: those that get memory which no limit counts, make a new set of
namespaces (in which a user may mount), choose cores, or have been ways out of a sandbox.

A filter is a program for the kernel's packet filter, as `prctl(PR_SET_SECCOMP)` takes it (seccomp(2), and
linux/filter.h): an instruction is the code, two jumps, and a constant.
"""

import platform
import struct

# numbers of asm/unistd_64.h, and of asm-generic/unistd.h
CALLS = {
    "x86_64": {
        "memfd_create": 319, "memfd_secret": 447, "shmget": 29, "msgget": 68, "semget": 64, "mq_open": 240,
        "unshare": 272, "setns": 308, "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "fsopen": 430,
        "fsmount": 432, "move_mount": 429, "open_tree": 428, "mount_setattr": 442, "sched_setaffinity": 203,
        "add_key": 248, "request_key": 249, "keyctl": 250, "bpf": 321, "userfaultfd": 323, "perf_event_open": 298,
        "io_uring_setup": 425,
    },
    "aarch64": {
        "memfd_create": 279, "memfd_secret": 447, "shmget": 194, "msgget": 186, "semget": 190, "mq_open": 180,
        "unshare": 97, "setns": 268, "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51, "fsopen": 430,
        "fsmount": 432, "move_mount": 429, "open_tree": 428, "mount_setattr": 442, "sched_setaffinity": 122,
        "add_key": 217, "request_key": 218, "keyctl": 219, "bpf": 280, "userfaultfd": 282, "perf_event_open": 241,
        "io_uring_setup": 425,
    },
}  # fmt: skip
CLONE, CLONE3 = {"x86_64": 56, "aarch64": 220}, 435
ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, REFUSE, UNKNOWN = 0x7FFF0000, 0x00050000 | 1, 0x00050000 | 38  # EPERM, ENOSYS: try something else
NUMBER, KIND, ARGUMENT = 0, 4, 16  # where in the kernel's note on a call they stand


def program(machine: str = platform.machine()) -> bytes:
    """The filter for a machine, or nothing if its numbers are not known here.

    A thread may still be made: `clone3`, whose flags no filter can read, is answered as by a kernel that has none, and
    what asked for it goes on with `clone`.
    """
    if machine not in CALLS:
        return b""
    steps = [(LOAD, 0, 0, KIND), (EQUAL, 1, 0, ARCHITECTURE[machine]), (RETURN, 0, 0, REFUSE), (LOAD, 0, 0, NUMBER)]
    if machine == "x86_64":  # the same calls again, under other numbers
        steps += [(AT_LEAST, 0, 1, 0x40000000), (RETURN, 0, 0, REFUSE)]
    for number in CALLS[machine].values():
        steps += [(EQUAL, 0, 1, number), (RETURN, 0, 0, REFUSE)]
    steps += [(EQUAL, 0, 1, CLONE3), (RETURN, 0, 0, UNKNOWN), (EQUAL, 0, 3, CLONE[machine]), (LOAD, 0, 0, ARGUMENT)]
    steps += [(ANY_BIT, 0, 1, NAMESPACES), (RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
