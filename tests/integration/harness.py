"""
The black-box harness: real binaries in a private folder, spoken to as users speak to them.

A `Box` is one private world: HOME, XDG folders, a socket, a state folder and a project folder `work`. It starts batchd (or lets
batchctl start it), hands out MessagePack-RPC connections, and at the end stops the daemon through daemon.stop and ends what is left:
the test process is a subreaper, so everything a test started is a descendant of it and is ended by its pid. Where the test process
itself is killed, guard.py does that.

Nothing here sleeps and hopes: `Rpc.wait_event` waits on the socket, `until` for a condition the system has no event for.
"""
import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
import unittest

from guard import become_subreaper, descendants, proc_stat
from rpc import PATIENCE, Closed, Rpc, RpcError  # noqa: F401

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get('BATCHD_BUILD', os.path.join(ROOT, 'build'))
BATCHD = os.path.abspath(os.environ.get('BATCHD', os.path.join(BUILD, 'daemon', 'batchd')))
BATCHCTL = os.path.abspath(os.environ.get('BATCHCTL', os.path.join(BUILD, 'client', 'batchctl')))
SPAWNER = os.path.abspath(os.environ.get('BATCHD_SPAWNER', os.path.join(BUILD, 'daemon', 'spawner', 'batchd-spawner')))

# A shell's background job ignores these, and batchctl leaves ignored what it finds so.
for _name in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_name) is signal.SIG_IGN:
        signal.signal(_name, signal.SIG_DFL)

# A machine under sanitizers or valgrind is slower by a factor.
SLOW = float(os.environ.get('BATCHD_TEST_SLOW', '1'))

# Kill loops and the like take every step instead of some.
LONG = os.environ.get('BATCHD_TEST_LONG') == '1'

# Under strace the sanitizers cannot look for leaks.
NO_LEAKS = {'ASAN_OPTIONS': os.environ.get('ASAN_OPTIONS', '') + ':detect_leaks=0'}

ENDED = ('succeeded', 'failed', 'cancelled', 'interrupted')


# --- processes -------------------------------------------------------------------------------------------------------

def reap(pid):
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass


def alive(pid):
    """Whether the process is there and not a zombie."""
    reap(pid)
    st = proc_stat(pid)
    return st is not None and st[0] not in 'ZX'


def process_name(pid):
    try:
        with open('/proc/%d/comm' % pid) as f:
            return f.read().strip()
    except OSError:
        return ''


def command_line(pid):
    try:
        with open('/proc/%d/cmdline' % pid, 'rb') as f:
            return f.read().split(b'\0')[:-1]
    except OSError:
        return []


def strace_works():
    try:
        return subprocess.run(['strace', '-qq', '-f', '-o', '/dev/null', '-e', 'trace=getppid', 'true'], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    except FileNotFoundError:
        return False


def until(condition, what='the condition', timeout=PATIENCE):
    """Waits for a condition that comes with no event; returns its value."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError('%s did not come about in %g s' % (what, timeout))
        time.sleep(0.01)


# --- batches, written short ------------------------------------------------------------------------------------------

def bash(command, **keys):
    return dict(kind='bash', command=command, **keys)


def exec_(*argv, **keys):
    return dict(kind='exec', argv=list(argv), **keys)


def write(path, content, **keys):
    return dict(kind='write', path=path, content=content, **keys)


def edit(path, old, new, **keys):
    return dict(kind='edit', path=path, old=old, new=new, **keys)


def read(path, **keys):
    return dict(kind='read', path=path, **keys)


def todos(*items, **keys):
    return dict(kind='todos', todos=list(items), **keys)


def message(*ops, **keys):
    return dict(ops=list(ops), **keys)


def batch(*messages, **keys):
    """Each message is a list of ops or a `message(...)`."""
    return dict(messages=[m if isinstance(m, dict) else {'ops': list(m)} for m in messages], **keys)


# --- the box ---------------------------------------------------------------------------------------------------------

class Done:
    """What a program that ended left behind."""

    def __init__(self, argv, status, out, err):
        self.argv, self.status, self.out, self.err = argv, status, out, err

    @property
    def text(self):
        return self.out.decode('utf-8', 'backslashreplace')

    @property
    def errors(self):
        return self.err.decode('utf-8', 'backslashreplace')

    @property
    def json(self):
        import json
        return json.loads(self.out)

    def __repr__(self):
        return '%r: status %d\n--- stdout\n%s\n--- stderr\n%s' % (self.argv, self.status, self.text[:4000], self.errors[:4000])


class Box:
    def __init__(self):
        base = os.environ.get('TMPDIR', '/tmp')
        if len(base) > 40:      # a socket's path holds 107 bytes
            base = '/tmp'
        self.dir = os.path.realpath(tempfile.mkdtemp(prefix='bt-', dir=base))
        self.work = os.path.join(self.dir, 'work')
        self.state = os.path.join(self.dir, 'home', '.local', 'state', 'batchd')
        self.runtime = os.path.join(self.dir, 'run')
        self.socket = os.path.join(self.runtime, 'batchd', 'socket')
        self.log = os.path.join(self.dir, 'batchd.out')
        for d in ('home', 'run', 'work', 'work/.batchd', 'tmp'):
            os.mkdir(os.path.join(self.dir, d), 0o700)
        self.daemon = None
        self.connection = None
        self.children = []

    # --- places

    def path(self, *parts):
        return os.path.join(self.work, *parts)

    def bytes(self, *parts):
        with open(self.path(*parts), 'rb') as f:
            return f.read()

    def text(self, *parts):
        return self.bytes(*parts).decode()

    def put(self, name, content=b'', mode=None):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'wb') as f:
            f.write(content.encode() if isinstance(content, str) else content)
        if mode is not None:
            os.chmod(path, mode)
        return path

    def exists(self, *parts):
        return os.path.lexists(self.path(*parts))

    def fifo(self, name):
        os.mkfifo(self.path(name))
        return self.path(name)

    def env(self, **more):
        folders = [os.path.dirname(p) for p in (BATCHCTL, BATCHD, SPAWNER)]
        env = {
            'HOME': os.path.join(self.dir, 'home'),
            'XDG_RUNTIME_DIR': self.runtime,
            'TMPDIR': os.path.join(self.dir, 'tmp'),
            'PATH': ':'.join(folders + ['/usr/local/bin', '/usr/bin', '/bin', '/usr/sbin', '/sbin']),
            'LANG': 'C.UTF-8',
            'TERM': 'dumb',
        }
        for name in ('ASAN_OPTIONS', 'UBSAN_OPTIONS', 'LSAN_OPTIONS', 'TSAN_OPTIONS', 'LLVM_PROFILE_FILE'):
            if name in os.environ:
                env[name] = os.environ[name]
        env.update({k: v for k, v in more.items() if v is not None})
        return env

    def put_store(self, name):
        """A database that an earlier batchd left, from tests/data."""
        os.makedirs(self.state, 0o700)
        with open(os.path.join(ROOT, 'tests', 'data', name)) as f, \
                contextlib.closing(sqlite3.connect(os.path.join(self.state, 'batchd.db'))) as db:
            db.executescript(f.read())

    # --- the daemon

    def start(self, *args, under=(), **env):
        """Starts batchd --foreground (`under` another program) and waits until it answers."""
        assert self.daemon is None or self.daemon.poll() is not None
        os.makedirs(os.path.dirname(self.socket), 0o700, exist_ok=True)
        under = [*os.environ.get('BATCHD_TEST_UNDER', '').split(), *under]
        if under:
            env.update(NO_LEAKS)
        with open(self.log, 'ab') as log:
            self.daemon = subprocess.Popen(
                [*under, BATCHD, '--foreground', '--socket', self.socket, '--state-dir', self.state, *args],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env(**env), cwd=self.dir)
        until(self.answers, 'batchd at %s (see its log)' % self.socket)
        return self

    def answers(self):
        if self.daemon is not None and self.daemon.poll() is not None:
            raise AssertionError('batchd ended with status %d before it listened' % self.daemon.returncode)
        try:
            with Rpc(self.socket) as r:
                r.call('rpc.hello', {})
            return True
        except (FileNotFoundError, ConnectionRefusedError, BrokenPipeError, ConnectionResetError, Closed):
            return False

    def daemon_pid(self):
        return self.daemon.pid if self.daemon else self.rpc.call('daemon.status')['pid']

    def spawner_pid(self):
        """The spawner that serves this box: among our own descendants, by its name."""
        for pid in descendants(os.getpid()):
            if alive(pid) and process_name(pid) == 'batchd-spawner':
                return pid
        return None

    def kill_daemon(self):
        """kill -9, as the crash tests love it."""
        pid = self.daemon_pid()
        self.disconnect()
        os.kill(pid, signal.SIGKILL)
        if self.daemon:
            self.daemon.wait()
            self.daemon = None
        else:
            until(lambda: not alive(pid), 'the end of batchd')

    def restart(self):
        self.kill_daemon()
        return self.start()

    # --- talking

    def connect(self, **kw):
        r = Rpc(self.socket, **kw)
        self.children.append(r)
        return r

    @property
    def rpc(self):
        if self.connection is None:
            self.connection = self.connect()
        return self.connection

    def disconnect(self):
        for r in self.children:
            r.close()
        self.children, self.connection = [], None

    def call(self, method, params=None, **keys):
        return self.rpc.call(method, params, **keys)

    def submit(self, b, **keys):
        b = dict({'cwd': self.work, 'env_base': self.env(BATCHD_SOCKET=None)}, **dict(b, **keys))
        return self.call('batch.submit', batch=b)['run']

    def wait(self, run, timeout=PATIENCE):
        r = self.rpc.call('run.wait', {'run': run, 'timeout_ms': int(timeout * 1000)}, timeout=timeout + 5)
        assert not r.get('timed_out'), 'run %d did not end in %g s: %r' % (run, timeout, self.get(run))
        return r

    def get(self, run, **keys):
        """The run with all its ops, fetched page by page."""
        result, ops, offset = None, [], None
        while True:
            page = self.call('run.get', dict({'run': run}, **keys), **({} if offset is None else {'offset': offset}))
            result = result or page
            ops += page.get('ops') or []
            if page.get('next') is None:
                break
            offset = page['next']
        result['ops'] = ops
        return result

    def run(self, b, timeout=PATIENCE, **keys):
        """Submits, waits for the end, and returns the run with its ops."""
        run = self.submit(b, **keys)
        self.wait(run, timeout)
        return self.get(run)

    def stored_op(self, run):
        """(attempts, pid, started) of the op of a run that runs, once they are stored."""
        def row():
            with contextlib.closing(sqlite3.connect('file:%s/batchd.db?mode=ro' % self.state, uri=True)) as db:
                return db.execute('SELECT attempts, pid, started FROM op WHERE run = ? AND started > 0', (run,)).fetchone()
        until(row, 'a row of it')
        return row()

    def output(self, run, op, stream=None, **keys):
        """The whole output of an op as bytes."""
        params = dict({'run': run, 'op': op}, **keys)
        if stream:
            params['stream'] = stream
        data, offset = b'', params.pop('offset', 0)
        while True:
            r = self.call('run.output', params, offset=offset)
            data += r['data']
            if not r['data'] or r['offset'] + len(r['data']) + (r.get('dropped') or 0) >= r['size']:
                return data
            offset = r['offset'] + len(r['data']) + (r.get('dropped') or 0)

    # --- batchctl

    def ctl(self, *args, input=None, cwd=None, env=None, timeout=PATIENCE, check=None, bare=False, program=BATCHCTL):
        """Runs batchctl to its end. `check`: the status it must end with. `bare`: without --socket in the environment."""
        argv = [program, *[a if isinstance(a, bytes) else str(a) for a in args]]
        e = self.env()
        if not bare:
            e['BATCHD_SOCKET'] = self.socket
        e.update(env or {})
        stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
        if isinstance(input, str):
            input = input.encode()
        p = subprocess.Popen(argv, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=e,
                             cwd=cwd or self.work)
        try:
            out, err = p.communicate(input, timeout)
        except subprocess.TimeoutExpired:
            p.kill()
            out, err = p.communicate()
            raise AssertionError('batchctl did not end in %g s: %r' % (timeout, Done(argv[1:], -9, out, err)))
        done = Done(argv[1:], p.returncode, out, err)
        if check is not None and done.status != check:
            raise AssertionError('expected status %d of %r' % (check, done))
        return done

    def ctl_start(self, *args, cwd=None, env=None, **popen):
        """Starts batchctl and leaves it running."""
        e = dict(self.env(BATCHD_SOCKET=self.socket), **(env or {}))
        return subprocess.Popen([BATCHCTL, *map(str, args)], env=e, cwd=cwd or self.work,
                                **dict(dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE), **popen))

    # --- the end

    def stop_quietly(self):
        """daemon.stop, and the end of the daemon awaited. Returns its exit status if it was ours and did as it was asked."""
        pid = None
        self.disconnect()
        try:
            with Rpc(self.socket, timeout=5) as r:
                pid = r.call('daemon.status', {}, timeout=5)['pid']
                r.call('daemon.stop', {}, timeout=5)
        except (OSError, Closed, TimeoutError, RpcError):
            pass
        status = None
        if self.daemon is not None:
            try:
                status = self.daemon.wait(10 * SLOW)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
            self.daemon = None
        elif pid is not None:
            try:
                until(lambda: not alive(pid), timeout=10 * SLOW)
            except AssertionError:
                pass
        return status if pid is not None else None

    def done(self):
        status = self.stop_quietly()
        for _ in range(5):      # what we end may leave children of its own to us
            left = descendants(os.getpid())
            if not left:
                break
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            for pid in left:
                try:
                    until(lambda: not alive(pid), timeout=2)
                except AssertionError:
                    pass
        report = self.report()
        shutil.rmtree(self.dir, ignore_errors=True)
        if status not in (None, 0):
            raise AssertionError('batchd ended with status %d when asked to stop\n%s' % (status, report))
        if any(mark in report for mark in ('AddressSanitizer', 'ThreadSanitizer', '== at 0x', 'LeakSanitizer', 'runtime error: ', 'assertion', 'Assertion')):
            raise AssertionError('a program complained\n' + report)

    def report(self):
        """What a failed test wants to be read with."""
        text = ''
        for path in (self.log, os.path.join(self.state, 'batchd.log')):
            try:
                with open(path, 'rb') as f:
                    text += '--- %s (last 6000 bytes)\n%s\n' % (path, f.read()[-6000:].decode('utf-8', 'replace'))
            except (FileNotFoundError, NotADirectoryError):
                pass
        return text


class Differs(AssertionError):
    pass


def match(expected, actual, where=''):
    """A dict expects the keys it names, a list each element, a callable that it says yes; anything else, equality."""
    if isinstance(expected, dict):
        if not isinstance(actual, dict):
            raise Differs('%s: expected a map, got %r' % (where, actual))
        for key, value in expected.items():
            if key not in actual:
                raise Differs('%s.%s: missing in %r' % (where, key, actual))
            match(value, actual[key], '%s.%s' % (where, key))
    elif isinstance(expected, list):
        if not isinstance(actual, list) or len(expected) != len(actual):
            raise Differs('%s: expected %d elements, got %r' % (where, len(expected), actual))
        for i, value in enumerate(expected):
            match(value, actual[i], '%s[%d]' % (where, i))
    elif callable(expected):
        if not expected(actual):
            raise Differs('%s: %r is not as expected' % (where, actual))
    elif expected != actual or (isinstance(expected, bool) != isinstance(actual, bool)):
        raise Differs('%s: expected %r, got %r' % (where, expected, actual))


class Case(unittest.TestCase):
    """A test with a box; the daemon runs unless `daemon = False`."""
    daemon = True
    maxDiff = None

    def setUp(self):
        become_subreaper()
        for program in (BATCHD, BATCHCTL, SPAWNER) if self.daemon else (BATCHCTL,):
            self.assertTrue(os.access(program, os.X_OK), '%s is not built' % program)
        self.box = Box()
        self.addCleanup(self.box.done)
        if self.daemon:
            try:
                self.box.start()
            except BaseException:
                print(self.box.report())
                raise

    def _callTestMethod(self, method):
        try:
            method()
        except unittest.SkipTest:
            raise
        except BaseException as e:
            e.args = ('%s\n%s' % (e.args[0] if e.args else '', self.box.report()),) + tuple(e.args[1:])
            raise

    def match(self, expected, actual, where=''):
        try:
            match(expected, actual, where)
        except Differs as e:
            self.fail('%s\nin %r' % (e, actual))

    def refused(self, symbol, method, params=None, says=(), connection=None):
        """The call must be refused with this symbol, by the caller's fault, and say these words."""
        with self.assertRaises(RpcError) as caught:
            result = (connection or self.box.rpc).call(method, params)
            self.fail('%s %r was not refused but answered %r' % (method, params, result))
        e = caught.exception
        self.assertEqual(e.symbol, symbol, e.text)
        for word in [says] if isinstance(says, str) else says:
            self.assertIn(word, e.text)
        return e

    def refused_batch(self, symbol, b, says=(), **keys):
        b = dict({'cwd': self.box.work}, **dict(b, **keys))
        for method in ('batch.check', 'batch.submit'):
            e = self.refused(symbol, method, {'batch': b}, says)
        return e


def rows(*table):
    """
    Makes a test method of each row of a table (sentence, argument...): the class body's method is the body of the test.

        @rows(('a failing op does not stop its siblings', batch(...), {...}), ...)
        def model(self, b, expected): ...
    """
    def decorate(body):
        body.rows = table
        return body
    return decorate


def together(*table):
    """As `rows`, for rows that cannot disturb each other: one test with one box, a subtest of each row."""
    def decorate(body):
        def test(self):
            for sentence, *args in table:
                with self.subTest(sentence):
                    body(self, *args)
        test.together = True
        return test
    return decorate


def slug(sentence):
    return '_'.join(''.join(c if c.isalnum() else ' ' for c in sentence.lower()).split())


def expand(cls):
    """Class decorator: turns the rows of its table methods into tests of their own."""
    for name, body in list(vars(cls).items()):
        if hasattr(body, 'together'):
            delattr(cls, name)
            setattr(cls, 'test_' + name, body)
        table = getattr(body, 'rows', None)
        if table is None:
            continue
        delattr(cls, name)
        for row in table:
            def test(self, body=body, row=row):
                body(self, *row[1:])
            test.__doc__ = row[0]
            test.__name__ = 'test_%s__%s' % (name, slug(row[0]))
            while hasattr(cls, test.__name__):      # sentences that differ in punctuation only
                test.__name__ += '_'
            setattr(cls, test.__name__, test)
    return cls
