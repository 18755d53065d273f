"""
A real systemd of the test's own: a user manager (`systemd --user`) in namespaces for mounts, processes and cgroups, with a piece of the
cgroup tree delegated to it as logind would have it, and batchd installed under /usr/local there. All of it ends with the first
process of its namespace.
"""
import ctypes
import fcntl
import json
import os
import shutil
import signal
import subprocess

from harness import BUILD, SLOW, alive, descendants, until

UID = 54321     # an ordinary user who owns nothing else
SYSTEMD = next((p for p in ('/lib/systemd/systemd', '/usr/lib/systemd/systemd') if os.access(p, os.X_OK)), None)
TARGETS = ('app.slice', 'background.slice', 'basic.target', 'default.target', 'exit.target', 'paths.target', 'session.slice',
           'shutdown.target', 'sockets.target', 'systemd-exit.service', 'timers.target')

# Makes the cgroup, goes into it, and into namespaces; takes the cgroup away when all is over. $1: folder, $2: uid, $3: name of the
# cgroup, $4: the second script.
OUTER = r'''
set -e
mount -t cgroup2 none "$1/cgroup"
mkdir "$1/cgroup/$3"
setpriv --pdeathsig KILL sh -c 'echo $$ > "$1/cgroup/$3/cgroup.procs"
	exec unshare -C -p -m -i -u -f --kill-child sh -c "$4" "systemd-world" "$1" "$2" "$5"' sh "$1" "$2" "$3" "$4" "$5" || :
find "$1/cgroup/$3" -depth -type d -exec rmdir {} ';'
'''

# The first process of the namespaces. $1: folder, $2: uid, $3: systemd.
INNER = r'''
set -e
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system
mount -t cgroup2 none /sys/fs/cgroup
mount --bind "$1/units" /usr/lib/systemd/user
[ ! -d /etc/systemd/user ] || mount -t tmpfs tmpfs /etc/systemd/user
mount --bind "$1/root/usr/local" /usr/local
mkdir /sys/fs/cgroup/init /sys/fs/cgroup/user
echo $$ > /sys/fs/cgroup/init/cgroup.procs
chown "$2" /sys/fs/cgroup/user /sys/fs/cgroup/user/cgroup.procs /sys/fs/cgroup/user/cgroup.subtree_control \
	/sys/fs/cgroup/user/cgroup.threads
sh -c 'echo $$ > /sys/fs/cgroup/user/cgroup.procs; exec setpriv --reuid "$1" --regid "$1" --clear-groups env -i $3 "$2" --user \
	--log-target=console' sh "$2" "$3" "PATH=/usr/local/bin:/usr/bin:/bin HOME=$1/home XDG_RUNTIME_DIR=$1/run LANG=C.UTF-8" &
wait
'''


def why_not():
    """What is missing for a private manager, or None."""
    if os.geteuid() != 0:
        return 'only root may make the namespaces and the cgroup'
    if not SYSTEMD:
        return 'there is no systemd'
    for program in ('unshare', 'nsenter', 'setpriv', 'systemctl', 'systemd-analyze', 'meson', 'mount'):
        if not shutil.which(program):
            return 'there is no %s' % program
    if prefix() != '/usr/local':
        return 'the build installs to %s, not to /usr/local' % prefix()
    trial = subprocess.run(['unshare', '-m', '-C', '-p', '-f', 'sh', '-c', 'mount -t proc proc /proc && mount -t cgroup2 none /mnt'],
                           capture_output=True, stdin=subprocess.DEVNULL, text=True)
    return trial.stderr.strip() or 'namespaces are refused' if trial.returncode else None


installed = {}      # what was said, by folder: once a process


def prefix():
    try:
        options = subprocess.run(['meson', 'introspect', '--buildoptions', BUILD], capture_output=True, check=True).stdout
        return next(o['value'] for o in json.loads(options) if o['name'] == 'prefix')
    except (OSError, subprocess.CalledProcessError):
        return '(nobody knows where)'


def install(destdir):
    """Each test has an installation of its own, a copy of one made in the build folder. What `meson install` says."""
    staged = os.path.join(BUILD, 'installed-for-tests')
    os.makedirs(staged, exist_ok=True)
    with open(os.path.join(staged, 'lock'), 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if staged not in installed:
            shutil.rmtree(os.path.join(staged, 'root'), ignore_errors=True)
            installed[staged] = subprocess.run(
                ['meson', 'install', '-C', BUILD, '--no-rebuild', '--destdir', os.path.join(staged, 'root')], check=True, text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout
        shutil.copytree(os.path.join(staged, 'root'), destdir, symlinks=True)
    return installed[staged]


class Manager:
    """One user manager in a Box. Its programs run with `run`, `ctl` and `systemctl`; pids are those of its namespace, see `host`."""

    def __init__(self, box, uid=UID):
        self.box, self.uid = box, uid
        self.first = None       # the first process of the namespaces, as we see it
        self.root = os.path.join(box.dir, 'root')
        self.log = os.path.join(box.dir, 'systemd.out')
        self.said = install(self.root)
        self.outer = None
        os.mkdir(os.path.join(box.dir, 'cgroup'))
        os.mkdir(os.path.join(box.dir, 'units'))
        for name in TARGETS:
            shutil.copy(os.path.join('/usr/lib/systemd/user', name), os.path.join(box.dir, 'units'))
        os.makedirs(os.path.join(box.dir, 'home/.config/systemd'))
        with open(os.path.join(box.dir, 'home/.config/systemd/user.conf'), 'w') as f:      # there is no journal
            f.write('[Manager]\nDefaultStandardOutput=inherit\nDefaultStandardError=inherit\n')
        os.chmod(box.dir, 0o711)
        for name in ('home', 'home/.config', 'home/.config/systemd', 'run', 'work', 'work/.batchd', 'tmp'):
            os.chown(os.path.join(box.dir, name), uid, uid)

    def start(self):
        def dies_with_us():
            ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)     # PR_SET_PDEATHSIG
        with open(self.log, 'ab') as log:
            self.outer = subprocess.Popen(
                ['unshare', '-m', '--propagation', 'private', 'sh', '-c', OUTER, 'sh', self.box.dir, str(self.uid),
                 os.path.basename(self.box.dir), INNER, SYSTEMD],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=dies_with_us)
        self.first = until(self.find_first, 'the first process of the namespaces', 10 * SLOW)
        until(lambda: self.systemctl('is-system-running', check=False) in ('running', 'degraded'), 'the user manager', 20 * SLOW)
        return self

    def find_first(self):
        if self.outer.poll() is not None:
            raise AssertionError('the manager did not start: %s' % open(self.log).read())
        for pid in descendants(self.outer.pid):
            numbers = ns_pids(pid)
            if numbers and len(numbers) > len(ns_pids(os.getpid())) and numbers[-1] == 1:
                return pid
        return None

    def end(self):
        """All at once, as a power switch."""
        if self.outer is None:
            return
        if self.first:
            try:
                os.kill(self.first, signal.SIGKILL)
            except ProcessLookupError:
                pass
        else:
            self.outer.kill()
        self.outer.wait(30 * SLOW)
        self.outer = self.first = None

    def log_out(self):
        """The manager ends as at the last logout: every unit is stopped in its turn."""
        manager = next(p for p in descendants(self.first) if b'--user' in open('/proc/%d/cmdline' % p, 'rb').read().split(b'\0'))
        os.kill(manager, signal.SIGTERM)
        self.outer.wait(60 * SLOW)
        self.outer = self.first = None

    # --- inside

    def env(self, **more):
        e = {'HOME': os.path.join(self.box.dir, 'home'), 'XDG_RUNTIME_DIR': self.box.runtime, 'LANG': 'C.UTF-8', 'TERM': 'dumb',
             'PATH': '/usr/local/bin:/usr/bin:/bin', 'TMPDIR': os.path.join(self.box.dir, 'tmp')}
        for name in ('ASAN_OPTIONS', 'UBSAN_OPTIONS', 'LSAN_OPTIONS'):
            if name in os.environ:
                e[name] = os.environ[name]
        e.update(more)
        return {k: v for k, v in e.items() if v is not None}

    def argv(self, *args, env=None):
        e = self.env(**(env or {}))
        return ['nsenter', '-t', str(self.first), '-m', '-p', '-C', '-i', '-u', '-S', str(self.uid), '-G', str(self.uid), '--',
                'env', '-i', *['%s=%s' % kv for kv in e.items()],
                'sh', '-c', 'cd "$0" && exec "$@"', self.box.work, *map(str, args)]

    def popen(self, *args, env=None, **keys):
        return subprocess.Popen(self.argv(*args, env=env),
                                **dict(dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True), **keys))

    def run(self, *args, env=None, status=None, timeout=60 * SLOW):
        p = subprocess.run(self.argv(*args, env=env), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
        if status is not None and p.returncode != status:
            raise AssertionError('%r ended with %d, not %d\n%s%s' % (args, p.returncode, status, p.stdout, p.stderr))
        return p

    def ctl(self, *args, status=0, **keys):
        return self.run('batchctl', *args, status=status, **keys)

    def systemctl(self, *args, check=True):
        return self.run('systemctl', '--user', '--no-pager', *args, status=0 if check else None).stdout.strip()

    def show(self, unit, name):
        return self.systemctl('show', '-P', name, unit)

    def state(self, unit):
        return self.show(unit, 'ActiveState')

    def pid(self, unit):
        return int(self.show(unit, 'MainPID'))

    def host(self, pid):
        """The pid as we see it of one inside; None: it is not there."""
        space = os.readlink('/proc/%d/ns/pid' % self.first)
        for p in descendants(self.first):
            try:
                numbers = ns_pids(p)
                if numbers and numbers[-1] == pid and os.readlink('/proc/%d/ns/pid' % p) == space:
                    return p
            except OSError:
                pass
        return None

    def alive(self, pid):
        p = self.host(pid)
        return p is not None and alive(p)

    def kill(self, pid, sig=signal.SIGKILL):
        os.kill(self.host(pid), sig)

    def program(self, name):
        """An installed program, as we see its file."""
        return os.path.join(self.root, 'usr/local', name)

    def runs_program_of(self, pid, name):
        """Is it the file that stands there now that the process executes?"""
        exe, file = os.stat('/proc/%d/exe' % self.host(pid)), os.stat(self.program(name))
        return (exe.st_dev, exe.st_ino) == (file.st_dev, file.st_ino)

    def cgroup(self, pid):
        """The cgroup of a process inside, as systemd there names it."""
        with open('/proc/%d/cgroup' % self.host(pid)) as f:
            path = next(line.strip()[3:] for line in f if line.startswith('0::'))
        return path[path.index('/user/'):] if '/user/' in path else path

    def replace(self, name):
        """As a package upgrade does it: another file under the same name."""
        path = self.program(name)
        shutil.copy2(path, path + '.new')
        os.rename(path + '.new', path)


def ns_pids(pid):
    try:
        with open('/proc/%d/status' % pid) as f:
            return next([int(n) for n in line.split()[1:]] for line in f if line.startswith('NSpid:'))
    except (OSError, StopIteration):
        return []
