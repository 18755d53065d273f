"""What the figures were measured on."""
import os
import platform
import statistics
import time


def mount_of(path):
    """(type, source) of the file system a path is on."""
    path, found = os.path.realpath(path), ('', 'unknown', '?')
    with open('/proc/mounts') as f:
        for line in f:
            source, at, kind = line.split()[:3]
            if (path == at or path.startswith(at.rstrip('/') + '/')) and len(at) >= len(found[0]):
                found = (at, kind, source)
    return found[1:]


def fsync_seconds(folder, times=50):
    """The median time to have 4 KiB more of a file on the disk: what a commit costs at least."""
    path, took = os.path.join(folder, 'fsync'), []
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for i in range(times):
            os.pwrite(fd, b'x' * 4096, 4096 * i)
            begun = time.perf_counter()
            os.fdatasync(fd)
            took.append(time.perf_counter() - begun)
    finally:
        os.close(fd)
        os.unlink(path)
    return statistics.median(took)


def cpu_model():
    with open('/proc/cpuinfo') as f:
        for line in f:
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    return platform.machine()


def describe(folder):
    """What decides how fast anything can be here."""
    kind, source = mount_of(folder)
    return {
        'cpu': cpu_model(), 'cores': os.cpu_count(), 'kernel': platform.release(), 'filesystem': '%s on %s' % (kind, source),
        'fsync_us': round(fsync_seconds(folder) * 1e6), 'load': os.getloadavg()[0],
    }
