"""
Faults put on running programs from outside: a disk that is full (a small tmpfs in a mount namespace of its own), system calls that
fail (strace, attached and detached while the program runs), allocations that fail (a library of fault_memory.c, preloaded), a clock
that is set (a library of fault_clock.c). Each says by `why_not` why it cannot be had here.
"""
import contextlib
import functools
import glob
import os
import shutil
import signal
import subprocess
import tempfile
import time

from harness import BATCHD, BUILD, SLOW, until

SANITIZED = b'__asan_init' in open(BATCHD, 'rb').read() if os.path.exists(BATCHD) else False
NOBODY = 65534


# --- what a program costs --------------------------------------------------------------------------------------------

def cpu_seconds(pid):
    """What all threads of a process have used so far."""
    total = 0
    for task in glob.glob('/proc/%d/task/*/schedstat' % pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(task) as f:
            total += int(f.read().split()[0])
    return total / 1e9


def quiet_share(pid, seconds=.4):
    """The share of a stretch of time, with nothing to do, that the process spends on the CPU. A program that spins takes all it gets."""
    before, begun = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds * SLOW)      # the stretch itself: nothing is waited for
    return (cpu_seconds(pid) - before) / (time.monotonic() - begun)


# --- a small disk ----------------------------------------------------------------------------------------------------

class SmallDisk:
    """A tmpfs at `path` that only programs started `under` it see; we reach it by `inside`."""

    def __init__(self, path, size):
        os.makedirs(path, 0o700, exist_ok=True)
        self.path = path
        root = os.getuid() == 0
        self.holder = subprocess.Popen(
            ['unshare', '-m' if root else '-rm', 'sh', '-c',
             'mount -t tmpfs -o "size=$1,mode=0700" none "$2" && echo mounted && read x', 'sh', size, path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.why_not = None
        if self.holder.stdout.readline() != 'mounted\n':
            self.why_not = 'nothing can be mounted here: ' + self.holder.stderr.read().strip()
        self.under = ['nsenter', '-t', str(self.holder.pid), '-m'] + ([] if root else ['-U', '--preserve-credentials'])

    def inside(self, *parts):
        return os.path.join('/proc/%d/root' % self.holder.pid + self.path, *parts)

    def fill(self):
        """To the last byte; what is free is what others free from here on."""
        with open(self.inside('ballast'), 'ab', buffering=0) as f:
            for size in (65536, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        f.write(b'x' * size)

    def free(self):
        os.unlink(self.inside('ballast'))

    def close(self):
        self.holder.stdin.close()
        self.holder.wait()
        self.holder.stdout.close()
        self.holder.stderr.close()


# --- system calls that fail ------------------------------------------------------------------------------------------

class Inject:
    """strace put on all threads of a running process: `what` as in --inject. `stop` takes it off again. `also`: only looked at."""

    def __init__(self, pid, *what, also=()):
        self.calls = tempfile.NamedTemporaryFile(mode='r')
        argv = ['strace', '-qq', '-f', '-o', self.calls.name, '-y', '-p', str(pid),
                '-e', 'trace=' + ','.join([w.split(':')[0] for w in what] + list(also))]
        for w in what:
            argv += ['-e', 'inject=' + w]
        self.tracer = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        until(lambda: self.tracer.poll() is not None or traced(pid), 'strace')
        if self.tracer.poll() is not None:
            raise AssertionError('strace: ' + self.tracer.stderr.read())

    def seen(self):
        self.calls.seek(0)
        return self.calls.read().splitlines()

    def hits(self):
        """How many calls it has made fail so far."""
        return sum('(INJECTED)' in call for call in self.seen())

    def stop(self):
        if self.tracer.poll() is None:
            self.tracer.send_signal(signal.SIGINT)
            self.tracer.wait()
        self.tracer.stderr.close()


def traced(pid):
    """Is every thread of it?"""
    try:
        for task in os.listdir('/proc/%d/task' % pid):
            with open('/proc/%d/task/%s/status' % (pid, task)) as f:
                if 'TracerPid:\t0\n' in f.read():
                    return False
    except FileNotFoundError:
        return False
    return True


@functools.lru_cache
def no_inject():
    """Why there is no Inject here, or None."""
    if not shutil.which('strace'):
        return 'strace is not installed'
    with subprocess.Popen(['cat'], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as p:
        try:
            Inject(p.pid, 'getppid:error=EIO').stop()
        except AssertionError as e:
            return 'strace may not attach here: %s' % e
        finally:
            p.stdin.close()
    return None


# --- an ordinary user -------------------------------------------------------------------------------------------------

def ordinary(box):
    """The box given to an ordinary user, whom modes and owners bind: what to start programs under, and why not."""
    uid = 50000 + os.getpid() % 10000
    if os.getuid() != 0:
        return [], None
    under = ['setpriv', '--reuid=%d' % uid, '--regid=%d' % uid, '--clear-groups']
    if subprocess.run([*under, 'test', '-x', BATCHD], stderr=subprocess.DEVNULL).returncode != 0:
        return [], 'the build must be in reach of an ordinary user'
    os.makedirs(os.path.dirname(box.socket), 0o700, exist_ok=True)
    for folder, _, _ in os.walk(box.dir):
        os.chown(folder, uid, uid)
    return under, None


# --- allocations that fail, a clock that jumps -----------------------------------------------------------------------

MEMORY = os.path.join(BUILD, 'tests', 'integration', 'libfault_memory.so')


def no_memory():
    if SANITIZED:
        return 'the sanitizer allocates itself'
    return None if os.path.exists(MEMORY) else 'the library that fails allocations is not built'


class Memory:
    """
    Allocations of `bytes` and more fail while `arm`ed: from the Nth on, or (`once`) only the Nth. The order is written into a file
    that the preloaded library has mapped.
    """

    def __init__(self, folder):
        self.path = os.path.join(folder, 'fault-memory')
        with open(self.path, 'wb') as f:
            f.write(bytes(32))
        self.env = {'LD_PRELOAD': MEMORY, 'FAULT_MEMORY': self.path}

    def arm(self, size, nth=1, once=False):
        with open(self.path, 'r+b', buffering=0) as f:
            f.write(b''.join(v.to_bytes(8, 'little') for v in (size, nth, once, 0)))

    def disarm(self):
        self.arm(0)

    def failed(self):
        with open(self.path, 'rb') as f:
            return int.from_bytes(f.read()[24:32], 'little')


CLOCK = os.path.join(BUILD, 'tests', 'integration', 'libfault_clock.so')


def no_clock():
    if SANITIZED:
        return 'the sanitizer has to be loaded first'
    return None if os.path.exists(CLOCK) else 'the library that sets clocks is not built'


class Clock:
    """The wall clock of programs started with `env`, set by `jump`; the others go on as they do."""

    def __init__(self, folder):
        self.path = os.path.join(folder, 'fault-clock')
        with open(self.path, 'wb') as f:
            f.write(bytes(8))
        self.env = {'LD_PRELOAD': CLOCK, 'FAULT_CLOCK': self.path}

    def jump(self, seconds):
        """To so many seconds from the true time."""
        with open(self.path, 'r+b', buffering=0) as f:
            f.write((seconds * 1000000000).to_bytes(8, 'little', signed=True))
