"""
Where it is measured: a batchd of its own (a release build) on a socket and a state folder of its own, on a real disk; and the programs
of this folder that are not Python, because Python would be what is measured.
"""
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get('BATCHD_BENCH_BUILD', os.path.join(ROOT, 'build-bench'))
NATIVE = ('loop', 'timed', 'echo', 'load')

os.environ['BATCHD_BUILD'] = BUILD
sys.path.insert(0, os.path.join(ROOT, 'tests', 'integration'))

from harness import BATCHCTL, BATCHD, SPAWNER, Box, until  # noqa: E402
from machine import mount_of  # noqa: E402
from measure import note  # noqa: E402

SOCKET_FOLDER_BYTES = 40    # so much leaves room for a socket's name in its 107 bytes
PATIENCE = 1200     # seconds, for what takes as long as it takes
IN_MEMORY = ('tmpfs', 'ramfs', 'overlay', 'unknown')


def build():
    """The programs, as they are shipped: made when they are not there or older than their sources."""
    if not os.path.exists(os.path.join(BUILD, 'build.ninja')):
        run('meson', 'setup', '--buildtype=release', '-Dtests=true', BUILD, ROOT)
    programs = [BATCHD, BATCHCTL, SPAWNER, os.path.join(os.path.dirname(SPAWNER), 'batchd-warm-shell.so')] + [native(name) for name in NATIVE]
    run('ninja', '-C', BUILD, *[os.path.relpath(p, BUILD) for p in programs])


def run(*argv):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        sys.exit('%s: status %d\n%s' % (' '.join(argv), done.returncode, done.stdout.decode('utf-8', 'replace')[-4000:]))


def native(name):
    return os.path.join(BUILD, 'tests', 'bench', 'bench-' + name)


def disk():
    """The folder for all that is written: on a real disk, or what is called durable would not be."""
    for folder in (os.environ.get('TMPDIR'), BUILD, '/var/tmp', '/tmp'):
        if folder and len(folder) <= SOCKET_FOLDER_BYTES and os.access(folder, os.W_OK) and mount_of(folder)[0] not in IN_MEMORY:
            return folder
    sys.exit('no folder on a real disk whose name is short enough for a socket: set TMPDIR')


class Took:
    """What running a program took: seconds, CPU seconds (user, system), peak of memory in bytes."""

    def __init__(self, line):
        wall, user, system, peak, self.status = map(int, line.split())
        self.wall, self.user, self.system, self.peak = wall / 1e9, user / 1e6, system / 1e6, peak * 1024


class World(Box):
    """A `Box` of the black-box tests on a real disk."""

    def __init__(self, conf=''):
        os.environ['TMPDIR'] = disk()
        super().__init__()
        if conf:
            folder = os.path.join(self.dir, 'home', '.config', 'batchd')
            os.makedirs(folder)
            with open(os.path.join(folder, 'batchd.conf'), 'w') as f:
                f.write(conf)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            note(self.report())
        self.done()

    def times(self, n, *argv, stdin=None, cwd=None, status=0):
        """Runs a program n times, output thrown away; a `Took` for each."""
        to = os.path.join(self.dir, 'took')
        with open(stdin or os.devnull, 'rb') as f:
            done = subprocess.run([native('timed'), to, str(n), *map(str, argv)], stdin=f, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, cwd=cwd or self.work, env=self.env(BATCHD_SOCKET=self.socket, MAKEFLAGS=None))
        with open(to) as f:
            took = [Took(line) for line in f]
        if done.returncode != 0 or any(t.status != status for t in took):
            raise AssertionError('%r: status %r\n%s' % (argv, [t.status for t in took], done.stderr.decode('utf-8', 'replace')[-2000:]))
        return took

    def time(self, *argv, **keys):
        return self.times(1, *argv, **keys)[0]

    def shell(self, script, *args, **keys):
        return self.time('/bin/bash', '-c', script, 'bench', *args, **keys)

    def loop(self, ops, parallel, forkers, *argv, captured=False):
        """The bare loop of loop.c."""
        return self.time(native('loop'), *(['-o'] if captured else []), ops, parallel, forkers, *argv)

    def batch_file(self, name, b):
        """A batch as JSON, for batchctl."""
        path = os.path.join(self.dir, name)
        with open(path, 'w') as f:
            f.write(json.dumps(b, separators=(',', ':')))
        return path

    def ctl_time(self, *args):
        return self.time(BATCHCTL, *args)

    def quiet(self):
        """What was written so far is on the disk, so that nobody pays for what another wrote."""
        os.sync()

    def spawn(self, *argv, **popen):
        return subprocess.Popen(argv, env=self.env(), cwd=self.dir, **popen)

    def settle(self, pid):
        """Waits until a process has used no CPU for a while: what it does afterwards for the run before is over."""
        from measure import cpu_total
        seen = [None, 0]

        def still():
            used = cpu_total(pid)
            seen[1] = seen[1] + 1 if used == seen[0] else 0
            seen[0] = used
            return seen[1] >= 5
        until(still, 'a quiet process %d' % pid, PATIENCE)
