"""Contract section 4, sentence by sentence: batchctl as people and scripts type it. Read the first column."""
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import termios
import threading
import time
import unittest

from harness import (BATCHCTL, BATCHD, ENDED, ROOT, SLOW, SPAWNER, Case, Rpc, alive, bash, batch, descendants, expand, message, process_name,
                     rows, until)


def open_files(pid):
    """What the process has open, as paths."""
    try:
        return [os.readlink('/proc/%d/fd/%s' % (pid, fd)) for fd in os.listdir('/proc/%d/fd' % pid)]
    except OSError:
        return []


class Terminal:
    """batchctl on a terminal of its own, as a person has it."""

    def __init__(self, box, *args, cols=80, env=None):
        e = dict(box.env(BATCHD_SOCKET=box.socket, TERM='xterm'), **(env or {}))
        self.text = b''
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                os.chdir(box.work)
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', 24, cols, 0, 0))
                os.execve(BATCHCTL, ['batchctl', *args], e)
            finally:
                os._exit(99)

    def until(self, word, timeout=20 * SLOW):
        """Reads until the word has come."""
        end = time.monotonic() + timeout
        while word.encode() not in self.text:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0] or not self.read():
                raise AssertionError('%r did not come: %r' % (word, self.text))
        return self

    def read(self):
        try:
            piece = os.read(self.fd, 65536)
        except OSError:     # EIO: nobody has the other side any more
            piece = b''
        self.text += piece
        return piece

    def type(self, keys):
        os.write(self.fd, keys)
        return self

    def close(self):
        os.close(self.fd)
        self.fd = -1

    def status(self):
        """The end: all that was printed is read, the exit status as a shell has it."""
        while self.fd >= 0 and self.read():
            pass
        if self.fd >= 0:
            self.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


class Cli(Case):
    def ctl(self, *args, **keys):
        return self.box.ctl(*args, **keys)

    def new(self, *args, **keys):
        """Runs a verb that prints one run id alone."""
        r = self.ctl(*args, check=keys.pop('check', 0), **keys)
        self.assertRegex(r.out, rb'^[0-9]+\n$', r)
        return int(r.out)

    def one_line(self, r, *words):
        """Errors go to stderr: one line saying what, where, and what to do."""
        self.assertEqual(r.errors.count('\n'), 1, r)
        for word in words:
            self.assertIn(str(word), r.errors, r)
        return r

    def gate(self, name='gate'):
        """A fifo for `read x < NAME` in an op; the returned function opens it."""
        self.box.fifo(name)

        def lift():
            with open(self.box.path(name), 'w') as f:
                f.write('\n')
        return lift

    def held(self, *more, tail=''):
        """A run that has begun and waits at a gate: (run, the function that lets it go on)."""
        lift = self.gate()
        run = self.new('submit', '-e', 'echo begun; touch begun; read x < gate; echo done' + tail, *more)
        until(lambda: self.box.exists('begun'), 'the op')
        return run, lift

    def state(self, run):
        return self.box.get(run)['state']

    def ran(self, *args, **keys):
        """Submits with those arguments, waits for the end, and gives the run with its ops."""
        run = self.new('submit', *args, **keys)
        self.box.wait(run)
        return self.box.get(run)

    def elsewhere(self):
        """Another project's folder."""
        other = os.path.join(self.box.dir, 'elsewhere')
        os.makedirs(other + '/.git', exist_ok=True)
        return other

    def ids(self, *args, **keys):
        return [r['run'] for r in self.ctl('--json', 'status', *args, check=0, **keys).json['runs']]

    def end_of(self, p, timeout=40 * SLOW):
        out, err = p.communicate(timeout=timeout)
        return p.returncode, out, err.decode()


# --- the program -------------------------------------------------------------------------------------------------------

VERBS = ('status', 'submit', 'add', 'run', 'wait', 'follow', 'log', 'cancel', 'pause', 'resume', 'restart', 'clean', 'todo', 'group',
         'parse', 'fmt', 'check', 'rpc', 'daemon', 'doctor', 'help')


def help_of_every_verb(t):
    overview = t.ctl('--help', check=0, bare=True).text
    for verb in VERBS:
        t.assertRegex(overview, r'(?m)^  %s\b' % verb)
        text = t.ctl(verb, '--help', check=0, bare=True).text
        t.assertIn('usage: batchctl ' + verb, text)
        if verb not in ('group', 'todo', 'daemon'):      # their subs have them
            t.assertRegex(text, r'(?m)^ +(batchctl|run=|build=|sort|[a-z]+ .*\| *batchctl)', verb + ' has an example')
        t.assertEqual(t.ctl('help', verb, check=0, bare=True).text, text)


def helps(t, *verb):
    """(command, its help) of each verb and sub-verb."""
    text = t.ctl(*verb, '--help', check=0, bare=True).text
    if verb:
        yield ' '.join(verb), text
    head, _, listed = text.partition('verbs:\n' if not verb else ' ...:\n')
    for name in re.findall(r'(?m)^  ([a-z]+)', listed.split('\n\n')[0]):
        yield from helps(t, *verb, name)


def man_page(t):
    with open(os.path.join(ROOT, 'client', 'man', 'batchctl.1.scd')) as f:
        man = f.read()
    missing = [option for option in re.findall(r'(?m)^ .*?(--[a-z-]+)', t.ctl('--help', bare=True).text.split('options, ')[1])
               if not re.search(r'\*%s\b' % option, man)]
    for command, text in helps(t):
        if not re.search(r'\*(\[?%s)\b' % {'todo list': 'todo', 'group list': 'group'}.get(command, command), man):
            missing.append(command)
        missing += ['%s %s' % (command, option) for option in re.findall(r'(?m)^ +(?:-\w, +)?(--[a-z-]+)', text.partition('\noptions:\n')[2])
                    if not re.search(r'\*%s\b' % option, man)]
    t.assertEqual(missing, [])
    listed = {option for _, text in helps(t) for option in re.findall(r'(?m)^ +(-\w)(?:, +--\w|  )', text) + re.findall(r'(?m)^ +(?:-\w, +)?(--[a-z-]+)', text)}
    listed.update(re.findall(r'(?<!\S)--?[a-zA-Z-]+', t.ctl('--help', bare=True).text.replace(',', '')))
    told = set(re.findall(r'(?<![\w-])--[a-z-]+[a-z]|(?<![\w-])-[a-zA-Z](?![\w-])', man.replace('*', '')))
    t.assertEqual(told - listed, set(), 'only in the manual')


def default_socket(t):
    t.ctl('daemon', 'start', bare=True, check=0)
    t.assertTrue(os.path.exists(t.box.runtime + '/batchd/socket'))
    t.assertEqual(os.stat(t.box.runtime + '/batchd').st_mode & 0o777, 0o700)


def no_runtime_folder(t):
    r = t.ctl('daemon', 'status', bare=True, env={'XDG_RUNTIME_DIR': ''})
    if r.status == 0:
        t.skipTest('a daemon runs at the default socket')
    t.assertEqual(r.status, 125)
    t.assertRegex(t.one_line(r).errors, r'/tmp/[^ /]*%d[^ /]*/socket' % os.getuid())


def runtime_folder_of_another(t):
    """As after `su`: what it names cannot be used."""
    t.box.put('file')
    r = t.ctl('add', 'true', bare=True, env={'XDG_RUNTIME_DIR': t.box.path('file') + '/run', 'BATCHD_SOCKET': ''}, check=125)
    t.one_line(r, t.box.path('file') + '/run/batchd', 'Not a directory', 'unset XDG_RUNTIME_DIR')


def the_option_wins_over_the_environment(t):
    t.ctl('--socket', t.box.socket, 'daemon', 'start', env={'BATCHD_SOCKET': '/nowhere/socket'}, check=0)
    t.ctl('daemon', 'status', '--socket', t.box.socket, env={'BATCHD_SOCKET': '/nowhere/socket'}, check=0)
    relative = os.path.relpath(t.box.socket, t.box.work)
    t.ctl('--socket', relative, 'daemon', 'status', env={'BATCHD_SOCKET': '/nowhere/socket'}, check=0)


def colors(t):
    for args, env, colored in ((['--color', 'always'], {}, True), (['--color=never'], {}, False), (['--color', 'auto'], {}, False), ([], {}, False),
                               (['--color', 'always'], {'NO_COLOR': '1'}, True)):
        text = t.ctl(*args, 'submit', '-w', '-e', 'exit 1', check=1, env=env, bare=True).errors
        t.assertEqual('\x1b[31m' in text, colored, (args, text))
    term = Terminal(t.box, 'status')
    t.assertEqual(term.status(), 0)
    t.assertIn(b'\x1b[31mfailed', term.text)
    term = Terminal(t.box, 'status', env={'NO_COLOR': '1'})
    t.assertEqual(term.status(), 0)
    t.assertNotIn(b'\x1b[31m', term.text)
    t.one_line(t.ctl('--color', 'sometimes', 'status', check=2, bare=True), '--color', 'auto')


def state_folder(t):
    t.ctl('submit', '-w', '-e', 'true', bare=True, check=0)
    t.assertTrue(os.path.exists(t.box.state + '/batchd.log'))
    other = {'XDG_STATE_HOME': t.box.dir + '/state2', 'XDG_RUNTIME_DIR': t.box.dir + '/run2'}
    os.mkdir(other['XDG_RUNTIME_DIR'], 0o700)
    t.assertEqual(t.ctl('submit', '-w', '-e', 'true', bare=True, env=other, check=0).out, b'1\n')
    t.assertTrue(os.path.exists(t.box.dir + '/state2/batchd/batchd.log'))
    t.ctl('daemon', 'stop', bare=True, env=other, check=0)
    t.ctl('daemon', 'status', bare=True, check=0)


def configured(t, text, **env):
    folder = t.box.dir + '/config/batchd'
    os.makedirs(folder, exist_ok=True)
    with open(folder + '/batchd.conf', 'w') as f:
        f.write(text)
    return t.ctl('daemon', 'start', bare=True, env=dict(XDG_CONFIG_HOME=t.box.dir + '/config', **env))


def config_file(t):
    t.assertEqual(configured(t, 'group.gpu = 3\n').status, 0)
    t.match([{'group': 'gpu', 'slots': 3}], [g for g in t.ctl('--json', 'group', bare=True).json['groups'] if g['group'] == 'gpu'])


def finds_batchd(t):
    """A lone batchctl finds it by PATH; one with batchd beside it takes that."""
    shutil.copy(BATCHCTL, t.box.path('batchctl'))
    run = lambda path: subprocess.run([t.box.path('batchctl'), 'submit', '-e', 'true'], env=t.box.env(PATH=path), capture_output=True,
                                      text=True, cwd=t.box.work)
    if not os.path.exists('/usr/bin/batchd'):
        r = run('/usr/bin:/bin')
        t.assertEqual((r.returncode, r.stdout), (125, ''))
        t.assertRegex(r.stderr, r"\Abatchctl submit: .*no program 'batchd' was found.*PATH\n\Z")
    r = run(os.path.dirname(BATCHD) + ':/usr/bin:/bin')
    t.assertEqual((r.returncode, r.stdout), (0, '1\n'), r.stderr)
    t.ctl('daemon', 'stop', bare=True, check=0)
    shutil.copy(BATCHD, t.box.path('batchd'))
    shutil.copy(SPAWNER, t.box.path('batchd-spawner'))
    r = run('/usr/bin:/bin')
    t.assertEqual((r.returncode, r.stdout), (0, '2\n'), r.stderr)
    with Rpc(t.box.socket) as rpc:
        pid = rpc.call('daemon.status')['pid']
    t.assertEqual(os.readlink('/proc/%d/exe' % pid), t.box.path('batchd'))


def does_not_wake(t):
    """Someone else listens at the socket, as systemd would: nobody connects to it."""
    os.makedirs(os.path.dirname(t.box.socket), 0o700)
    s = socket.socket(socket.AF_UNIX)
    s.bind(t.box.socket)
    s.listen()
    s.setblocking(False)
    for args in (['wait'], ['cancel', '1'], ['daemon', 'status'], ['todo', 'status']):
        t.ctl(*args, bare=True, check=125)
    t.ctl('daemon', 'stop', bare=True, check=0)
    t.ctl('doctor', bare=True)
    with t.assertRaises(BlockingIOError):
        s.accept()
    s.close()


def race_free(t):
    procs = [t.box.ctl_start('submit', '-e', 'true') for _ in range(20)]
    ids = set()
    for p in procs:
        status, out, err = t.end_of(p)
        t.assertEqual(status, 0, err)
        ids.add(int(out))
    t.assertEqual(ids, set(range(1, 21)))


def looked_at_lock(t):
    os.makedirs(t.box.state, 0o700)
    with open(t.box.state + '/lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        p = t.box.ctl_start('daemon', 'start')
        until(lambda: any(lock.name in open_files(pid) for pid in descendants(p.pid)), 'batchd at the lock')
    status, _, err = t.end_of(p)
    t.assertEqual(status, 0, err)


def holds_no_output_of_ours(t):
    t.assertEqual(t.ctl('submit', '-e', 'true', bare=True, check=0).out, b'1\n')     # `x=$(batchctl ...)` returns
    with Rpc(t.box.socket) as rpc:
        pid = rpc.call('daemon.status')['pid']
    t.assertEqual(os.getsid(pid), pid)


def same_state_elsewhere(t):
    t.ctl('daemon', 'start', bare=True, check=0)
    other = os.path.join(t.box.dir, 'other', 'socket')
    begun = time.monotonic()
    t.one_line(t.ctl('submit', '-e', 'true', '--socket', other, bare=True, check=125), t.box.socket, '--socket')
    t.assertLess(time.monotonic() - begun, 10)
    t.one_line(t.ctl('wait', '--socket', other, bare=True, check=125), t.box.socket, '--socket')


def stop_leaves_ops(t):
    run, lift = t.held()
    t.ctl('daemon', 'stop', check=0)
    spawner = t.box.spawner_pid()
    lift()
    t.assertEqual(t.ctl('status', run, '--json', check=0).json['runs'][0]['run'], run)
    t.ctl('wait', run, check=0)
    t.assertEqual(t.ctl('log', run, check=0).out, b'begun\ndone\n')
    t.assertEqual(t.box.spawner_pid(), spawner)


def stop_drains(t):
    run, lift = t.held()
    p = t.box.ctl_start('daemon', 'stop', '--drain')
    until(lambda: t.box.call('daemon.status')['draining'], 'the draining')
    t.box.disconnect()
    t.assertIsNone(p.poll())
    lift()
    t.assertEqual(t.end_of(p)[0], 0)
    t.ctl('daemon', 'status', check=125)
    t.assertEqual(t.ctl('status', run, '--json', check=0).json['runs'][0]['state'], 'succeeded')


def spawner_ends(t):
    t.ctl('run', '--', 'true', check=0)
    pid = t.box.spawner_pid()
    t.assertTrue(pid)
    t.ctl('daemon', 'stop', check=0)
    until(lambda: not alive(pid), 'the end of the spawner')


@expand
class Program(Cli):
    daemon = False

    @rows(
        ('`--version` tells the version', lambda t: t.assertRegex(t.ctl('--version', check=0, bare=True).text, r'^batchctl \d+\.\d+\.\d+\n$')),
        ('`--help`, `help VERB` and `VERB --help` tell each verb, with an example', help_of_every_verb),
        ('batchctl(1) names each verb and each option', man_page),
        ('`--socket PATH`, before or after the verb, wins over `BATCHD_SOCKET`; a relative one is from here', the_option_wins_over_the_environment),
        ('`--color auto|always|never`: auto is a terminal without `NO_COLOR`', colors),
        ('`-q` says nothing but errors', lambda t: (
            t.assertEqual(t.ctl('-q', 'submit', '-w', '-e', 'false', check=1, bare=True).err, b''),
            t.one_line(t.ctl('-q', 'status', '99', check=2, bare=True), '99'))),
        ('`-v` says more', lambda t: t.assertIn('run 1', t.ctl('-v', 'run', '--', 'true', check=0, bare=True).errors)),
        ('`-C DIR` comes first, as with git: before all else, and again from there', lambda t: (
            os.makedirs(t.box.path('a/b')), t.box.put('a/b/f', 'Bash("pwd")'),
            [t.assertEqual(t.ctl(*args, check=0, bare=True).text, t.box.path('a/b') + '\n') for args in (
                ['-C', 'a/b', 'run', '--', 'pwd'], ['run', '-C', 'a/b', '--', 'pwd'], ['-C', 'a', '-C', 'b', 'run', '--', 'pwd'],
                ['-C', '', '-C', 'a/b', 'run', '--', 'pwd'])],
            t.ctl('-C', 'a/b', 'submit', '-w', 'f', check=0, bare=True),
            t.assertEqual(t.ctl('log', '-C', 'a/b', 'last', check=0, bare=True).text, t.box.path('a/b') + '\n'),
            t.one_line(t.ctl('-C', 'nowhere', 'status', check=2, bare=True), '-C', 'nowhere', 'no such'))),
        ('`BATCHD_LIST` names the todo list', lambda t: t.assertEqual(
            t.ctl('run', '--', 'echo $BATCHD_LIST', env={'BATCHD_LIST': 'mine'}, check=0, bare=True).text, 'mine\n')),
        ('Default socket: `$XDG_RUNTIME_DIR/batchd/socket`', default_socket),
        ("Default socket, else: a folder of the user's own under /tmp", no_runtime_folder),
        ('A runtime folder that cannot be used is said, with what to do', runtime_folder_of_another),
        ('State: `$XDG_STATE_HOME/batchd` (default `~/.local/state/batchd`), with `batchd.log` of a self-started one', state_folder),
        ('Config: `$XDG_CONFIG_HOME/batchd/batchd.conf`', config_file),
        ('batchctl looks for batchd beside itself, in the installed folder, in PATH', finds_batchd),
        ('Who is never to start one looks at the lock before it connects: connecting would wake an activated one', does_not_wake),
        ('Starting is race-free: of twenty at once one starts it', race_free),
        ('Starting is race-free: who only looks at the lock is in nobody\'s way', looked_at_lock),
        ('A daemon that was started holds none of our output', holds_no_output_of_ours),
        ('A daemon of the same state folder at another socket is named at once', same_state_elsewhere),
        ('`daemon stop` with none running is 0', lambda t: (t.ctl('daemon', 'stop', check=0), t.assertFalse(os.path.exists(t.box.socket)))),
        ('`daemon stop` leaves ops running', stop_leaves_ops),
        ('`daemon stop --drain` waits for them', stop_drains),
        ('The spawner ends when it has no op and no unacknowledged result', spawner_ends),
        ('`batchd --foreground`, `--socket`, `--state-dir`', lambda t: (
            t.box.start(), t.assertEqual(t.box.call('daemon.status')['state_dir'], t.box.state),
            t.assertEqual(t.box.call('daemon.status')['pid'], t.box.daemon.pid))),
    )
    def contract(self, case):
        case(self)

    @rows(*((' '.join('`%s`' % a if i == 0 else a for i, a in enumerate(args)), args, status) for args, status in (
        (['submit', '-e', 'true'], 0), (['add', '--', 'true'], 0), (['run', '--', 'true'], 0), (['status'], 0), ([], 0), (['log'], 2),
        (['todo', 'list'], 0), (['pause'], 0), (['resume'], 0), (['restart'], 2), (['clean'], 0), (['group'], 0), (['follow'], 2),
        (['daemon', 'start'], 0), (['rpc', 'run.list'], 0))))
    def no_daemon_running__starts_one(self, args, status):
        self.ctl(*args, bare=True, check=status)
        with Rpc(self.box.socket) as r:
            pid = r.call('daemon.status')['pid']
        self.assertEqual(process_name(pid), 'batchd')
        self.ctl('daemon', 'status', bare=True, check=0)
        self.ctl('daemon', 'stop', bare=True, check=0)
        until(lambda: not alive(pid), 'the end of the daemon')

    @rows(*((' '.join('`%s`' % a if i == 0 else a for i, a in enumerate(args)), args, status) for args, status in (
        (['wait'], 125), (['wait', '3'], 125), (['cancel', '3'], 125), (['kill', '3'], 125), (['daemon', 'status'], 125),
        (['daemon', 'reload'], 125), (['todo', 'status'], 125), (['rpc', 'daemon.status'], 125), (['daemon', 'stop'], 0), (['doctor'], 0),
        (['parse', 'b'], 0), (['fmt', 'b'], 0), (['check', 'b'], 0), (['submit', '-n', 'b'], 0), (['help'], 0))))
    def no_daemon_running__does_without(self, args, status):
        self.box.put('b', 'Bash("true")')
        r = self.ctl(*args, bare=True, check=status)
        if status == 125 and args[0] != 'todo':
            self.one_line(r, self.box.socket, 'batchctl daemon start')
        self.assertFalse(os.path.exists(self.box.socket))
        self.assertIsNone(self.box.spawner_pid())


# --- submit, add, run --------------------------------------------------------------------------------------------------

def submit_key(t):
    first = t.new('submit', '--key', 'k', '-e', 'true')
    r = t.ctl('submit', '--key', 'k', '-e', 'true', check=0)
    t.assertEqual(r.out, b'%d\n' % first)
    t.one_line(t.ctl('submit', '--key', 'k', '-e', 'false', check=2), 'E_KEY', first)


def submit_key_delay(t):
    """What was asked for is compared, not what o'clock that came to."""
    first = t.new('submit', '--key', 'd', '--delay', '1h', '-e', 'true')
    t.assertEqual(t.ctl('submit', '--key', 'd', '--delay', '60m', '-e', 'true', check=0).out, b'%d\n' % first)
    for other in (['--delay', '2h'], []):
        t.one_line(t.ctl('submit', '--key', 'd', *other, '-e', 'true', check=2), 'E_KEY', first)


def check_key(t):
    """`check` says what `submit` would."""
    t.box.put('b', 'Bash("true")')
    t.ctl('check', '--key', 'k', 'b', check=0)
    first = t.new('submit', '--key', 'k', 'b')
    r = t.ctl('check', '--key', 'k', 'b', check=0)
    t.assertIn("key 'k' was used before: run %d" % first, r.errors)
    t.one_line(t.ctl('check', '--key', 'k', '-e', 'false', check=2), 'E_KEY', first)
    t.one_line(t.ctl('submit', '-n', '--key', 'k', '-e', 'false', check=2), 'E_KEY', first)


def submit_after(t):
    bad = t.ran('-e', 'false')['run']
    good = t.ran('-e', 'true')['run']
    t.assertEqual(t.ran('--after', good, '-e', 'true')['state'], 'succeeded')
    t.assertNotEqual(t.ran('--after', bad, '-e', 'true')['state'], 'succeeded')
    t.assertEqual(t.ran('--after-any', bad, '--after-any', 'last', '-e', 'true')['state'], 'succeeded')
    t.one_line(t.ctl('submit', '--after', '99', '-e', 'true', check=2), '99')


def submit_delay(t):
    begun = time.time() * 1000
    t.assertGreaterEqual(t.ran('--delay', '300ms', '-e', 'true')['ops'][0]['started'], begun + 250)


def submit_hold(t):
    run = t.new('submit', '--hold', '-e', 'true')
    t.assertEqual(t.state(run), 'paused')
    t.ctl('resume', run, check=0)
    t.box.wait(run)


def submit_priority(t):
    t.ctl('group', 'set', 'one', '-j', '1', check=0)
    t.ctl('group', 'pause', 'one', check=0)
    for name, priority in (('low', 0), ('high', 5), ('mid', 3)):
        t.new('submit', '-g', 'one', '--priority', priority, '-e', 'echo %s >> order' % name)
    t.ctl('group', 'resume', 'one', check=0)
    t.ctl('wait', 'all', check=0)
    t.assertEqual(t.box.text('order'), 'high\nmid\nlow\n')


def submit_block(t):
    t.box.put('plan.md', '# Plan\n\n```\nMessage 1:\n  Bash("echo one")\n```\n\n```\nMessage 1:\n  Bash("echo two")\n```\n')
    t.one_line(t.ctl('submit', 'plan.md', check=2), '--block')
    run = t.ran('plan.md', '--block', '2')
    t.assertEqual([o['text'] for o in run['ops']], ['echo two'])
    t.assertEqual(len(t.ran('--block', 'all', 'plan.md')['ops']), 2)


def submit_skip_unknown(t):
    t.box.put('b', 'Message 1:\n  Bash("true")\n  Task("think")\n')
    t.assertEqual(t.ctl('submit', 'b').status, 2)
    r = t.ctl('submit', '--skip-unknown', 'b', check=0)
    t.assertIn('Task', r.errors)


def submit_template(t):
    t.box.put('b', 'Bash(`x=1; echo ${x}`)')
    t.one_line(t.ctl('submit', 'b', check=2), '--allow-template')
    run = t.ran('--allow-template', 'b')
    t.assertEqual(t.box.output(run['run'], 1), b'1\n')


def submit_env(t):
    run = t.ran('-E', 'A=x=y', '-E', 'C=1', '-E', 'D', '-e', 'echo $A/$C/${D-none}', env={'D': 'set'})
    t.assertEqual(t.box.output(run['run'], 1), b'x=y/1/none\n')


def submit_streams(t):
    r = t.ctl('submit', '-w', '-o', '-e', 'echo hello out; echo to err >&2', '-e', 'printf "no newline"', check=0)
    t.assertIn('[1] hello out\n', r.text)
    t.assertIn('[2] no newline\n', r.text)
    t.assertIn('[1] to err\n', r.errors)
    t.assertIn('batchctl', t.ctl('submit', '-o', '-e', 'true', check=2).errors)


def submit_live(t):
    """On a terminal: a block that is painted anew, within 80 columns."""
    lift = t.gate()
    term = Terminal(t.box, 'submit', '-w', '-e', 'read x < gate; exit 3 # ' + 'long ' * 60, '-e', 'true')
    term.until('running').until('\x1b[J')
    lift()
    t.assertEqual(term.status(), 1)
    t.assertIn(b'exit 3', term.text)
    for line in re.sub(rb'\x1b\[[0-9;]*[A-Za-z]', b'', term.text).replace(b'\r', b'').split(b'\n'):
        if line.startswith(b' '):
            t.assertLessEqual(len(line.decode()), 80, line)


def screen(text):
    """The lines a terminal shows after what batchctl sends: line ends, up, and clear to the end."""
    lines, row = [''], 0
    for word in re.findall(r'\x1b\[\d*[A-Za-z]|\x1b\[[0-9;]*m|\r|\n|[^\x1b\r\n]+', text):
        if word == '\n':
            row += 1
            lines += [''] * (row + 1 - len(lines))
        elif word.endswith('A') and word[0] == '\x1b':
            row -= int(word[2:-1] or 1)
        elif word == '\x1b[J':
            lines[row:] = ['']
        elif word[0] not in '\x1b\r':
            lines[row] += word
    return lines


def live_failure(t):
    """Its last lines are there while the other op still runs."""
    t.box.fifo('other')
    term = Terminal(t.box, 'submit', '-w', '-e', 'seq 7; exit 3', '-e', 'read x < other')
    try:
        term.until('exit 3').until('| 7\r\n')
        t.assertNotIn(b'| 4\r\n', term.text)
        t.assertEqual(t.box.call('run.list')['runs'][0]['state'], 'running')
    finally:
        with open(t.box.path('other'), 'w') as other:
            other.write('\n')
    t.assertEqual(term.status(), 1)


def live_over_a_restart(t):
    run, lift = t.held()
    term = Terminal(t.box, 'follow', cols=80).until('\x1b[J')
    t.box.kill_daemon()
    term.until('waiting for it to come back')
    t.box.start()
    lift()
    t.assertEqual(term.status(), 0)
    shown = screen(term.text.decode())
    t.assertEqual([line for line in shown if 'running' in line], [], shown)
    t.assertEqual(sum('waiting for it to come back' in line for line in shown), 1, shown)


@expand
class Submit(Cli):
    @rows(
        ('`submit [FILE|-]` submits a batch file; prints the run id alone on stdout and returns', lambda t: (
            t.box.put('b', 'Bash("echo file")'),
            [t.assertEqual((t.new('submit', *args, input=text), t.box.wait(n)['state'], t.box.output(n, 1)), (n, 'succeeded', out))
             for n, (args, text, out) in enumerate(((['b'], None, b'file\n'), (['-'], 'Bash("echo stdin")', b'stdin\n'),
                                                    ([], '{"messages":[{"ops":[{"kind":"bash","command":"echo json"}]}]}', b'json\n')), 1)])),
        ('`-e CMD` (repeatable) makes one parallel message of commands', lambda t: t.match(
            {'ops': [{'kind': 'bash', 'text': 'echo a', 'message': 1}, {'text': 'echo b', 'message': 1}], 'order': 'parallel'},
            t.ran('-e', 'echo a', '-e', 'echo b'))),
        ('`-w/--wait` follows to the end with live progress on stderr', lambda t: [
            (t.assertEqual(r.out, b'%d\n' % n), t.assertIn('2 ops in ', r.errors), t.assertRegex(r.errors, r'(?m)^1 ok .*echo a'))
            for n, r in enumerate([t.ctl('submit', w, '-e', 'echo a', '-e', 'true', check=0) for w in ('-w', '--wait')], 1)]),
        ('live progress on a terminal stays within it', submit_live),
        ('a failure is shown at once with its last lines', live_failure),
        ('and leaves nothing of itself behind when the daemon was restarted meanwhile', live_over_a_restart),
        ('`-o` streams the ops\' output, prefixed', submit_streams),
        ('`-w --json` prints the ended run', lambda t: (
            t.match({'state': 'succeeded', 'run': 1}, t.ctl('--json', 'submit', '-w', '-e', 'true', check=0).json),
            t.match({'state': 'failed'}, t.ctl('submit', '-w', '-o', '-e', 'echo x; false', '--json', check=1).json))),
        ('`--name`', lambda t: t.assertEqual(t.ran('--name', 'n', '-e', 'true')['name'], 'n')),
        ('`--key`: the same batch gives the first run, another is refused, naming it', submit_key),
        ('`--key` with `--delay`', submit_key_delay),
        ('`--key` of `check`', check_key),
        ('`--define NAME=TEXT` and `=@FILE`', lambda t: (
            t.box.put('text', b'from\nfile'), t.box.put('b', 'Write("one", a)\nWrite("two", c)'),
            t.ran('b', '--define', 'a=x=y', '--define', 'c=@text'),
            t.assertEqual((t.box.text('one'), t.box.text('two')), ('x=y', 'from\nfile')))),
        ('`--order`', lambda t: t.match({'order': 'serial', 'order_used': 'serial'}, t.ran('--order', 'serial', '-e', 'true'))),
        ('`--on-failure`', lambda t: (
            t.box.put('b', 'Message 1:\n  Bash("false")\nMessage 2:\n  Bash("echo on > f")\n'), t.ran('b'),
            t.assertFalse(t.box.exists('f')), t.ran('--on-failure', 'continue', 'b'), t.assertTrue(t.box.exists('f')))),
        ('`-j/--jobs` caps the run', lambda t: t.assertEqual(
            [t.ran(j, '1', *['-e', 'mkdir lock && sleep .02 && rmdir lock'] * 3)['state'] for j in ('-j', '--jobs')], ['succeeded'] * 2)),
        ('`-g/--group`', lambda t: t.assertEqual([t.ran(g, 'pool', '-e', 'true')['group'] for g in ('-g', '--group')], ['pool'] * 2)),
        ('`--timeout`', lambda t: t.match({'state': 'failed', 'ops': [{'cause': 'timeout'}]}, t.ran('--timeout', '200ms', '-e', 'exec sleep 60'))),
        ('`--after RUN`, `--after-any RUN`', submit_after),
        ('`--hold`', submit_hold),
        ('`--delay D`', submit_delay),
        ('`--priority N`', submit_priority),
        ('`--list L`', lambda t: t.assertEqual(t.box.output(t.ran('--list', 'l', '-e', 'echo $BATCHD_LIST')['run'], 1), b'l\n')),
        ('`-E K=V`; K alone removes', submit_env),
        ('`-C DIR` (as git: first)', lambda t: (
            os.mkdir(t.box.path('sub')), t.box.put('sub/b', 'Bash("pwd")'),
            t.assertEqual(t.box.output(t.ran('-C', 'sub', 'b')['run'], 1).decode(), t.box.path('sub') + '\n'))),
        ('`--block`', submit_block),
        ('`--skip-unknown` lists what it skipped', submit_skip_unknown),
        ('`--allow-template`', submit_template),
        ('`-n/--dry-run` changes nothing', lambda t: (
            [t.assertIn('touch no', t.ctl('submit', n, '-e', 'touch no', check=0).text) for n in ('-n', '--dry-run')],
            t.assertEqual(t.box.call('run.list')['runs'], []))),
        ('options may follow operands up to `--`', lambda t: (
            t.box.put('b', 'Bash("true")'), t.box.put('--name', 'Bash("echo dashes")'),
            t.assertEqual(t.ran('b', '--name', 'late')['name'], 'late'),
            t.match([{'text': 'echo dashes'}], t.ran('--', '--name')['ops']))),
        ('a refused batch changes nothing', lambda t: (
            t.one_line(t.ctl('submit', '-', input='Bash("x", {needs: ["ghost"]})', check=2), 'ghost'),
            t.one_line(t.ctl('submit', '-', input='Bash("x", {todo: "ghost"})', check=2), 'ghost'),
            t.assertEqual(t.box.call('run.list')['runs'], []))),
        ('stdout that cannot be written: the run is there, and is named', lambda t: (
            t.assertEqual(*(lambda p: (p.returncode, 1))(subprocess.run(
                '%s submit -e true > /dev/full' % BATCHCTL, shell=True, env=t.box.env(BATCHD_SOCKET=t.box.socket), cwd=t.box.work,
                stderr=open(t.box.path('err'), 'w')))),
            t.assertRegex(t.box.text('err'), r'cannot write to stdout: .*\n.*run 1\n'), t.box.wait(1))),
    )
    def contract(self, case):
        case(self)


def all_of_submits_flags(t):
    t.ran('-e', 'true')
    for verb in ('add', 'run'):
        got = t.ctl(verb, '--name', 'n', '--order', 'serial', '--on-failure', 'kill', '-j', '2', '-g', 'g', '--timeout', '1m', '--after', 'last',
                    '--after-any', 'last', '--priority', '1', '--list', 'l', '-E', 'A=1', '-C', '.', '--delay', '0', '-w', '--', 'echo $A $BATCHD_LIST',
                    check=0)
        run = t.box.call('run.list')['runs'][0]
        t.match({'name': 'n', 'order': 'serial', 'group': 'g', 'list': 'l', 'priority': 1}, run)
        t.assertEqual(t.box.output(run['run'], 1), b'1 l\n')
        t.assertEqual(got.out, b'1 l\n' if verb == 'run' else b'%d\n' % run['run'])
        r = t.ctl(verb, '-o', '-w', '--define', 'a=b', '--block', '1', '--skip-unknown', '--allow-template', '--', 'echo ${a-none}', check=0)
        t.assertIn('none\n', r.text)
        t.assertIn('taken as it is', r.errors, 'says that flags about files mean nothing here')
        t.assertEqual(t.ctl(verb, '-n', '--', 'touch no', check=0).text.count('touch no'), 1)
        t.ctl(verb, '-e', 'echo by -e', check=0)
        t.one_line(t.ctl(verb, '-e', 'a', '-e', 'b', check=2), 'one command')
        t.one_line(t.ctl(verb, '-e', 'a', 'b', check=2), '-e')
        t.one_line(t.ctl(verb, check=2), 'command')
    t.assertEqual(t.new('add', '--key', 'k', '--hold', '--', 'true'), t.new('add', '--key', 'k', '--hold', '--', 'true'))


def run_signals(t):
    for name in ('INT', 'TERM', 'QUIT', 'USR1', 'USR2'):
        p = t.box.ctl_start('run', '--', 'trap "echo got; exit 9" %s; touch ready.%s; while :; do sleep .02; done' % (name, name))
        until(lambda: t.box.exists('ready.' + name), 'the trap')
        p.send_signal(getattr(signal, 'SIG' + name))
        t.assertEqual(t.end_of(p)[:2], (9, b'got\n'), name)


def run_statuses(t):
    for command, status in (('exit 0', 0), ('exit 3', 3), ('exit 124', 124), ('exit 255', 255), ('kill -TERM $$', 143), ('kill -KILL $$', 137),
                            ('kill -SEGV $$', 139)):
        t.assertEqual(t.ctl('run', '--', command).status, status, command)


def run_not_there(t):
    t.box.put('plain', 'x')
    for args, status in ((['no-such-program', 'x'], 127), (['no-such-program'], 127), (['./plain', 'x'], 126), ([t.box.work, 'x'], 126)):
        t.one_line(t.ctl('run', '--', *args, check=status), args[0].split('/')[-1])


def run_stdin(t):
    data = bytes(range(256)) * 40000       # 10 MiB
    t.assertEqual(t.ctl('run', '--', 'cat', input='ours', check=0).out, b'')
    t.assertEqual(t.ctl('run', '--stdin', '--', 'cat', input=data, check=0, timeout=60 * SLOW).out, data)
    t.assertEqual(t.ctl('run', '--stdin', '--', 'head -c 3', input=data, check=0).out, data[:3])
    t.assertEqual(t.ctl('run', '-t', '--stdin', '--', 'od -An -c; test -t 1', input=b'a\x04b\n', check=0).out.split(), [b'a', b'004', b'b', b'\\n'])


def run_tty(t):
    t.assertIn('no tty', t.ctl('run', '--', 'test -t 1 || echo no tty', check=0).text)
    for flag in ('-t', '--tty'):
        t.assertIn('tty\r\n', t.ctl('run', flag, '--', 'test -t 1 && echo tty', check=0).text)
    term = Terminal(t.box, 'run', '-t', '--', 'echo cols=$COLUMNS lines=$LINES; stty size', cols=133)
    t.assertEqual(term.status(), 0)
    t.assertIn(b'cols=133 lines=24', term.text)
    t.assertIn(b'24 133', term.text)
    term = Terminal(t.box, 'run', '-t', '-E', 'COLUMNS=50', '--', 'stty size', cols=133)
    t.assertEqual(term.status(), 0)
    t.assertIn(b'24 50', term.text)
    for cols in (133, 80):      # the same batch, whatever the terminal
        t.assertEqual(Terminal(t.box, 'run', '-t', '--key', 'tty', '--', 'true', cols=cols).status(), 0)


def run_as_it_comes(t):
    lift = t.gate()
    p = t.box.ctl_start('run', '--', 'echo first; read x < gate; echo second')
    t.assertTrue(select.select([p.stdout], [], [], 20 * SLOW)[0])
    t.assertEqual(os.read(p.stdout.fileno(), 100), b'first\n')
    lift()
    t.assertEqual(t.end_of(p)[1], b'second\n')


def run_second_int(t):
    """One that takes no notice is cancelled by the second ^C."""
    p = t.box.ctl_start('run', '--', 'trap "touch noticed" INT; touch ready; while :; do sleep .02; done')
    until(lambda: t.box.exists('ready'), 'the trap')
    p.send_signal(signal.SIGINT)
    until(lambda: t.box.exists('noticed'), 'the first')
    p.send_signal(signal.SIGINT)
    t.assertIn(t.end_of(p)[0], (143, 137))
    t.assertEqual(t.state(1), 'cancelled')


def run_suspended(t):
    """^Z stops the command and batchctl; fg lets both go on."""
    p = t.box.ctl_start('run', '--', 'touch ready; while ! test -e stop; do echo x >> ticks; sleep .01; done')
    until(lambda: t.box.exists('ticks'), 'the command')
    pid = t.box.get(1)['ops'][0]['pid']
    p.send_signal(signal.SIGTSTP)
    until(lambda: open('/proc/%d/stat' % p.pid).read().rpartition(')')[2].split()[0] == 'T', 'batchctl stopped')
    until(lambda: open('/proc/%d/stat' % pid).read().rpartition(')')[2].split()[0] == 'T', 'the command stopped')
    p.send_signal(signal.SIGCONT)
    had = len(t.box.text('ticks'))
    until(lambda: len(t.box.text('ticks')) > had + 6, 'the command going on')
    t.box.put('stop')
    t.assertEqual(t.end_of(p)[0], 0)


def run_nohup(t):
    """A signal that is ignored stays ignored."""
    lift = t.gate()
    p = subprocess.Popen(['sh', '-c', 'trap "" HUP INT; exec batchctl run -- "touch began; read x < gate; echo done"'],
                         env=t.box.env(BATCHD_SOCKET=t.box.socket), cwd=t.box.work, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until(lambda: t.box.exists('began'), 'the op')
    p.send_signal(signal.SIGHUP)
    p.send_signal(signal.SIGINT)
    lift()
    t.assertEqual(t.end_of(p)[:2], (0, b'done\n'))


@expand
class AddAndRun(Cli):
    @rows(
        ('`add -- CMD…`: one-op batch, prints the id. One argument is a bash command', lambda t: (
            t.assertEqual(t.new('add', '--', 'echo a{1,2}'), 1), t.box.wait(1), t.assertEqual(t.box.output(1, 1), b'a1 a2\n'))),
        ('two or more are an argv, byte for byte', lambda t: (
            t.new('add', '--', 'printf', '%s|', 'a b', '$x', '*', b'\xff', ''), t.box.wait(1),
            t.assertEqual(t.box.output(1, 1), b'a b|$x|*|\xff||'), t.assertEqual(t.box.get(1)['ops'][0]['kind'], 'exec'))),
        ('`add`, `run` take submit\'s flags', all_of_submits_flags),
        ('options end at the command', lambda t: t.assertEqual(t.ctl('run', 'echo', '-n', '--name', 'x', check=0).out, b'--name x')),
        ('`run -- CMD…`: same in the foreground: passes output through, each stream to its own', lambda t: t.assertEqual(
            (lambda r: (r.out, r.err))(t.ctl('run', '--', 'echo out; echo err >&2; printf "\\377"', check=0)), (b'out\n\xff', b'err\n'))),
        ('output comes as it is printed', run_as_it_comes),
        ('output has no cap: its stdout is data', lambda t: t.assertEqual(
            t.ctl('run', '--', 'head -c 20000000 /dev/zero', check=0, timeout=60 * SLOW).out, bytes(20000000))),
        ('`run` passes signals through', run_signals),
        ('`run` passes the exit status through; 128+N for a signal', run_statuses),
        ('127 not found, 126 not executable', run_not_there),
        ('`--stdin` reads ours', run_stdin),
        ('`-t` a pty, as wide as ours', run_tty),
        ('our folder, environment and umask', lambda t: t.assertEqual(
            t.ctl('run', '--', 'pwd; echo $A; umask', env={'A': 'of ours'}, check=0).text.splitlines(),
            [t.box.work, 'of ours', '%04o' % (lambda m: os.umask(m) and m or m)(os.umask(0o22))])),
        ('Ctrl-C: `run` passes it on; a second one cancels what takes no notice', run_second_int),
        ('^Z stops the command too, fg lets it go on', run_suspended),
        ('a signal that is ignored stays ignored (nohup)', run_nohup),
        ('a reader that goes away ends it, as a pipe would', lambda t: t.assertEqual(
            t.ctl('run', '--', 'bash -c "batchctl run -- yes | head -n 1"', timeout=30 * SLOW).out, b'y\n')),
        ('a stdout that cannot be written leaves the run and says how to come back', lambda t: (
            t.box.ctl('run', '--', 'true'), t.box.put('r', 'batchctl run -- "echo x; sleep .1" > /dev/full'),
            (lambda r: (t.assertEqual(r.returncode, 1), t.assertRegex(r.stderr, r'cannot write to stdout.*\n.*run 2 goes on: .batchctl follow 2')))(
                subprocess.run(['sh', t.box.path('r')], env=t.box.env(BATCHD_SOCKET=t.box.socket), cwd=t.box.work, capture_output=True, text=True)))),
        ('`run --json`: the ended run is the document, the output goes to stderr', lambda t: (
            (lambda r: (t.match({'run': 1, 'state': 'failed'}, r.json), t.assertEqual(r.err, b'hi\nerr\n')))(
                t.ctl('run', '--json', '--', 'echo hi; echo err >&2; exit 3', check=3)))),
    )
    def contract(self, case):
        case(self)


# --- watching ----------------------------------------------------------------------------------------------------------

def restarts(t):
    """What is under way over `daemon stop` and start, and over `kill -9` and start: exact, in `run` and `log -f` to the byte."""
    t.box.stop_quietly()
    t.ctl('daemon', 'start', check=0)
    say = 'for i in $(seq 1 300); do echo line $i; echo err $i >&2; test $i = 100 -o $i = 200 && read x < gate$i; done; exit %d'
    for n in (100, 200):
        t.box.fifo('gate%d' % n)
    run = t.new('add', '--', say % 0)
    t.box.fifo('gate300')
    procs = {name: t.box.ctl_start(*args) for name, args in {
        'log': ['log', run, '-f'], 'follow': ['follow', '-o', run], 'wait': ['wait', run],
        'submit': ['submit', '-w', '-e', 'read x < gate300; exit 5'],
        'run': ['run', '--', 'for i in $(seq 1 300); do echo line $i; echo err $i >&2; done; read x < gate301; echo end; exit 7']}.items()}
    t.box.fifo('gate301')
    output = {name: [] for name in procs}
    readers = [threading.Thread(target=lambda f=f, to=to: to.append(f.read())) for name, p in procs.items()
               for to in [output[name]] for f in (p.stdout, p.stderr)]
    lift = lambda n: os.close(os.open(t.box.path('gate%d' % n), os.O_WRONLY))
    for r in readers:
        r.start()
    connections = lambda: until(    # those whose run has ended meanwhile are gone
        lambda: t.box.call('daemon.status')['connections'] > sum(p.poll() is None for p in procs.values()), 'the clients')
    connections()
    t.box.disconnect()
    t.ctl('daemon', 'stop', check=0)
    lift(100)
    t.ctl('daemon', 'start', check=0)
    connections()
    t.box.kill_daemon()
    lift(200)
    t.ctl('daemon', 'start', check=0)
    connections()
    lift(300), lift(301)
    for p in procs.values():
        p.wait(40 * SLOW)
    for r in readers:
        r.join()
    t.assertEqual({name: p.returncode for name, p in procs.items()}, {'log': 0, 'follow': 0, 'wait': 0, 'submit': 1, 'run': 7})
    lines = b''.join(b'line %d\n' % i for i in range(1, 301))
    errs = b''.join(b'err %d\n' % i for i in range(1, 301))
    by = {name: sorted(output[name], key=lambda b: b'err 1\n' in b) for name in procs}
    ours = lambda b: b''.join(l for l in b.splitlines(True) if not l.startswith(b'batchctl '))
    t.assertEqual([ours(b) for b in by['log']], [lines, errs])
    t.assertEqual([ours(b) for b in by['run']], [lines + b'end\n', errs])
    t.assertEqual(b''.join(l for l in by['follow'][0].splitlines(True)), b''.join(b'[1] line %d\n' % i for i in range(1, 301)))


def half_a_minute_without_one(t):
    """30 s, and then 125 with the way back; the runs are there."""
    run, lift = t.held()
    procs = {name: t.box.ctl_start(*args) for name, args in {
        'wait': ['wait', run], 'follow': ['follow', run], 'log': ['log', '-f', run], 'submit': ['submit', '-w', '-e', 'exec sleep 100'],
        'run': ['run', '--', 'echo x; exec sleep 100']}.items()}
    until(lambda: t.box.call('daemon.status')['connections'] >= len(procs) + 1, 'the clients')
    until(lambda: len(t.box.call('run.list', state='running')['runs']) == 3, 'the runs')
    t.box.kill_daemon()
    for name, p in procs.items():
        status, _, err = t.end_of(p)
        t.assertEqual(status, 125, name)
        t.assertIn('30 s', err, name)
        if name != 'log':
            t.assertRegex(err, r'run \d goes on: `batchctl (wait|follow) \d', name)
    t.box.start()
    lift()
    t.ctl('wait', run, check=0)
    t.ctl('cancel', 'all', check=0)


def restarts_before_a_signal(t):
    """^C while batchd is away: kept for the command, the second one leaves the run."""
    p = t.box.ctl_start('run', '--', 'trap "echo got int; exit 4" INT; touch ready; while :; do sleep .02; done')
    until(lambda: t.box.exists('ready'), 'the trap')
    t.box.kill_daemon()
    p.send_signal(signal.SIGINT)
    first = p.stderr.readline() + p.stderr.readline()
    t.assertIn(b'INT', first)
    t.box.start()
    t.assertEqual(t.end_of(p)[:2], (4, b'got int\n'))


def log_ranges(t):
    run = t.ran('-e', 'for i in 1 2 3; do echo o$i; sleep .02; echo e$i >&2; sleep .02; done; echo o4')['run']
    for args, out, err in ((['-n', '3'], b'o3\no4\n', b'e3\n'), (['-3'], b'o3\no4\n', b'e3\n'), (['-n', '1'], b'o4\n', b''), (['-n', '0'], b'', b''),
                           (['-n', '2', '--stderr'], b'', b'e2\ne3\n'), (['-n', '2', '--stdout'], b'o3\no4\n', b''),
                           (['-n', '100'], b'o1\no2\no3\no4\n', b'e1\ne2\ne3\n')):
        r = t.ctl('log', run, *args, check=0)
        t.assertEqual((r.out, r.err), (out, err), args)
    run = t.ran('-e', 'seq 1 300000')['run']         # more than one answer holds
    t.assertEqual(t.ctl('log', run, '-n', '250000', check=0).out, b''.join(b'%d\n' % i for i in range(50001, 300001)))


def log_raw(t):
    run = t.ran('-e', 'printf "o\\377"; printf e >&2', '-e', 'echo two')['run']
    for args, out, err in ((['%d.1'], b'o\xff', b'e'), (['%d.1', '--stdout'], b'o\xff', b''), (['%d.1', '--stderr'], b'', b'e')):
        r = t.ctl('log', *[a % run if '%' in a else a for a in args], check=0)
        t.assertEqual((r.out, r.err), (out, err))
    r = t.ctl('log', run, check=0)
    t.assertEqual((sorted(r.out.splitlines()), r.err), ([b'[1] o\xff', b'[2] two'], b'[1] e\n'))
    r = t.ctl('log', run, t.ran('-e', 'echo three')['run'], check=0)
    t.assertIn('[2.1] three\n', r.text)


def log_follows(t):
    run, lift = t.held()
    p = t.box.ctl_start('log', run, '-f', '-n', '1')
    t.assertTrue(select.select([p.stdout], [], [], 20 * SLOW)[0])
    lift()
    t.assertEqual(t.end_of(p)[:2], (0, b'begun\ndone\n'))


def log_dropped(t):
    run = t.box.run(batch([bash('seq 1 100000')], output_cap=50000))['run']
    r = t.ctl('log', run, check=0)
    t.assertRegex(t.one_line(r).errors, r'\d+ bytes of stdout of op 1\.1 .*dropped')
    t.assertTrue(r.out.startswith(b'1\n2\n') and r.out.endswith(b'100000\n'))


def wait_timeouts(t):
    slow, good = t.new('submit', '-e', 'exec sleep 60'), t.ran('-e', 'true')['run']
    r = t.ctl('wait', slow, good, '--timeout', '200ms', check=124)
    t.assertIn('batchctl wait %d`' % slow, r.errors)
    t.ctl('wait', good, '--timeout', '0', check=0)
    t.ctl('wait', slow, good, '--any', check=0)
    t.ctl('cancel', slow, check=0)
    t.ctl('wait', slow, check=1)


def status_overview(t):
    t.ran('--name', 'first', '-e', 'true')
    run, lift = t.held('--name', 'second')
    for args in ([], ['status']):
        text = t.ctl(*args, check=0).text
        t.assertRegex(text, r'(?m)^ +2  running +0/1 .*second$')
        t.assertRegex(text, r'(?m)^ +1  succeeded +1/1 .*first$')
    t.assertEqual(t.ctl('status', cwd=t.elsewhere(), check=0).out, b'')
    lift()


def status_ops(t):
    run = t.ran('-e', 'exit 2', '-e', 'true')['run']
    text = t.ctl('status', run, check=0).text
    t.assertRegex(text, r'(?m)^run 1  failed  2/2 ops')
    t.assertRegex(text, r'(?ms)^ +1  failed .*exit 2$\n +exit 2\n +2  succeeded .*true$')
    t.assertNotIn('exit 2', t.ctl('status', '%d.2' % run, check=0).text)


def wait_inside(t):
    """Inside an op: for what the op has begun, and not for itself."""
    wait = 'batchctl wait --timeout 20s'
    run = t.ran('-e', 'batchctl submit -e "sleep .1; echo inner"; %s; batchctl status 2; batchctl follow --json' % wait)
    t.match({'state': 'succeeded'}, run)
    t.assertIn(b'run 2  succeeded', t.box.output(1, 1))
    t.assertIn(b'{"runs": []}', t.box.output(1, 1))
    # the parent's op waits for the child, whose op waits for all there are
    nested = t.ran('-e', 'batchctl submit -w -e "%s; batchctl wait all --timeout 20s"' % wait)
    t.match({'state': 'succeeded'}, nested)
    t.assertIn(b'nothing to wait for', t.box.output(nested['run'] + 1, 1))
    for n, command in enumerate(('wait $BATCHD_RUN', 'wait last', 'follow $BATCHD_RUN', 'wait all $BATCHD_RUN',
                                 'submit -w --after $BATCHD_RUN -e true', 'run --after-any $BATCHD_RUN true')):
        got = t.ran('--timeout', '20s', '-e', 'batchctl ' + command)
        t.match({'state': 'failed', 'ops': [{'cause': 'exit', 'exit': 2}]}, got)
        t.assertIn(b'run %d is the one this runs in' % got['run'], t.box.output(got['run'], 1))
    later = int(t.box.output(t.ran('-e', 'batchctl submit --after $BATCHD_RUN -e true')['run'], 1))
    t.assertEqual(t.box.wait(later)['state'], 'succeeded', 'not waited for, it may begin afterwards')
    # what an op leaves behind is in no run any more
    t.ctl('wait', got['run'], check=1, env={'BATCHD_RUN': str(got['run']), 'BATCHD_OWNER': t.box.socket})
    lift = t.gate()
    held = t.new('submit', '-e', 'read x < gate')
    t.ctl('wait', held, '--timeout', '100ms', check=124, env={'BATCHD_RUN': str(held), 'BATCHD_OWNER': '/another'})
    lift()


@expand
class Watching(Cli):
    @rows(
        ('(none), `status`: running and recent runs of this project', status_overview),
        ('`status RUN…`: their ops', status_ops),
        ('`status --json` prints {"runs": […]}, with ids each run with its ops', lambda t: (
            t.ran('-e', 'exit 2', '-e', 'true'),
            t.assertNotIn('ops', t.ctl('--json', 'status', check=0).json['runs'][0]),
            t.match({'runs': [{'run': 1, 'state': 'failed'}]}, t.ctl('--json', check=0).json),
            t.match({'runs': [{'run': 1, 'ops': [{'exit': 2}, {'exit': 0}]}]}, t.ctl('status', '--json', '1', check=0).json))),
        ('`wait [RUN…]`: 1 when one did not succeed', lambda t: (
            t.ran('-e', 'true'), t.ran('-e', 'false'), t.ctl('wait', '1', check=0), t.ctl('wait', '1', '2', check=1), t.ctl('wait', '1-2', check=1),
            t.ctl('wait', check=0), t.new('submit', '-e', 'exit 3'), t.assertIn(t.ctl('wait').status, (0, 1)))),
        ('`wait` inside an op waits for others, never for itself', wait_inside),
        ('`wait --any`, `--timeout D`: 124 when the waiting itself timed out', wait_timeouts),
        ('`follow [RUN…]` to the end', lambda t: (
            t.new('submit', '-e', 'sleep .2; echo x; exit 1'), t.assertIn('[1] x\n', t.ctl('follow', '-o', check=1).text),
            t.ctl('follow', '1', check=1), t.ctl('follow', check=1))),
        ('`log` of one op prints raw bytes, each stream to its own; of several, prefixed lines', log_raw),
        ('`log -n N`: the last lines of the op as they came', log_ranges),
        ('`log -f` goes on as more is printed', log_follows),
        ('a client that passes on output past the cap says so', log_dropped),
        ('Clients reconnect when the daemon restarts: no byte lost or doubled', restarts),
        ('Clients reconnect for 30 s', half_a_minute_without_one),
        ('Ctrl-C while the daemon is away is passed on when it is back', restarts_before_a_signal),
    )
    def contract(self, case):
        case(self)


# --- steering ----------------------------------------------------------------------------------------------------------

def cancel_says(t):
    run = t.new('submit', '--name', 'long', '-e', 'exec sleep 60', '-e', 'exec sleep 60')
    t.assertEqual(t.ctl('cancel', '%d.1' % run, check=0).text, 'cancelled op %d.1 (long)\n' % run)
    t.assertEqual(t.ctl('kill', run, check=0).text, 'cancelled run %d (long)\n' % run)
    t.match({'state': 'cancelled', 'ops': [{'state': 'cancelled'}] * 2}, (t.box.wait(run), t.box.get(run))[1])


def cancel_signals(t):
    number = '%d' % signal.SIGUSR1
    for args in (['cancel', '-s', 'USR1'], ['cancel', '-s', 'SIGUSR1'], ['cancel', '-s', 'usr1'], ['cancel', '-s', number], ['kill', '-' + number]):
        run = t.new('submit', '-e', 'trap "exit 0" USR1; touch ready; while :; do sleep .02; done')
        until(lambda: t.box.exists('ready'), 'the trap')
        t.assertIn('signalled run %d' % run, t.ctl(*args, run, check=0).text)
        t.ctl('wait', run, check=0)
        os.unlink(t.box.path('ready'))


def cancel_now(t):
    b = batch([bash('touch began; exec sleep 60')], message(bash('touch cleaned'), always=True))
    for args, cleaned in ((['--now'], False), ([], True)):
        run = t.box.submit(b)
        until(lambda: t.box.exists('began'), 'the op')
        t.ctl('cancel', *args, run, check=0)
        t.box.wait(run)
        t.assertEqual(t.box.exists('cleaned'), cleaned)
        os.unlink(t.box.path('began'))


def freeze(t):
    run = t.new('submit', '-e', 'while ! test -e stop; do echo x >> ticks; sleep .01; done')
    until(lambda: t.box.exists('ticks'), 'the op')
    pid = t.box.get(run)['ops'][0]['pid']
    t.assertEqual(t.ctl('pause', '--freeze', run, check=0).text, 'paused run %d\n' % run)
    until(lambda: open('/proc/%d/stat' % pid).read().rpartition(')')[2].split()[0] == 'T', 'the stop')
    t.assertEqual(t.ctl('resume', check=0).text, 'resumed run %d\n' % run)
    t.box.put('stop')
    t.ctl('wait', run, check=0)


def restart_failed(t):
    run = t.ran('-e', 'test -e there', '-e', 'echo x >> ran')['run']
    t.box.put('there')
    r = t.ctl('restart', '--failed', run, check=0)
    t.assertEqual((r.out, 'run %d restarted as run 2' % run in r.errors), (b'2\n', True))
    t.ctl('wait', 'last', check=0)
    t.assertEqual(t.box.text('ran'), 'x\n')
    t.match({'origin': run, 'ops': [{'state': 'succeeded'}, {'cause': 'reused'}]}, t.box.get(2))
    t.ctl('restart', '-w', check=0)
    t.assertEqual(t.box.text('ran'), 'x\nx\n')


def clean(t):
    for command in ('true', 'false', 'true', 'true', 'false'):
        t.ran('-e', command)
    held = t.new('submit', '--hold', '-e', 'true')
    t.assertEqual(t.ctl('clean', '--failed', check=0).text, 'forgot 2 runs: 2, 5\n')
    t.assertEqual(t.ctl('clean', '--failed', '1', check=0).text, '')
    t.assertEqual(t.ctl('clean', '3', check=0).text, 'forgot 1 run: 3\n')
    t.assertEqual(t.ctl('clean', cwd=t.elsewhere(), check=0).text, '')
    t.assertEqual(t.ctl('clean', '--everywhere', cwd=t.elsewhere(), check=0).text, 'forgot 2 runs: 1, 4\n')
    t.one_line(t.ctl('clean', held, check=2), held)
    t.assertEqual(t.ids(), [held])
    t.ctl('cancel', held, check=0)


def groups(t):
    t.assertEqual(t.ctl('group', 'set', 'g', '-j', '3', check=0).text, 'set group g: 3 slots\n')
    for args in ([], ['list']):
        t.assertRegex(t.ctl('group', *args, check=0).text, r'(?m)^g +3 ')
    t.ctl('group', 'pause', 'g', check=0)
    run = t.new('submit', '-g', 'g', '-e', 'true')
    t.ctl('wait', run, '--timeout', '200ms', check=124)
    t.assertRegex(t.ctl('group', check=0).text, r'(?m)^GROUP +SLOTS +USED +RUNS\n(.*\n)*g +3 +0 +1  paused$')
    t.ctl('group', 'resume', 'g', check=0)
    t.ctl('wait', run, check=0)


def groups_unknown(t):
    for verb in ('pause', 'resume'):
        t.one_line(t.ctl('group', verb, 'typo', check=2), 'typo', 'batchctl group set')
    t.assertEqual([g['group'] for g in t.ctl('--json', 'group').json['groups']], ['default'])
    t.ctl('group', 'pause', 'default', check=0)
    run = t.new('submit', '-g', 'named', '-e', 'true')
    t.box.wait(run)
    held = t.new('submit', '-g', 'named', '--hold', '-e', 'true')
    t.ctl('group', 'pause', 'named', check=0)
    t.ctl('cancel', held, check=0)


@expand
class Steering(Cli):
    @rows(
        ('`cancel RUN[.OP]…` (alias `kill`) prints what it chose', cancel_says),
        ('`cancel -s SIG` sends only that', cancel_signals),
        ('`cancel --now`: `always` messages do not run either', cancel_now),
        ('`pause --freeze`, `resume`', freeze),
        ('`restart`, `--failed`', restart_failed),
        ('`clean`, `--failed`', clean),
        ('`group [list|set NAME -j N|pause|resume]`', groups),
        ('`group pause` of a pool that is not there: refused, and makes none', groups_unknown),
    )
    def contract(self, case):
        case(self)


# --- files, raw calls, the daemon ---------------------------------------------------------------------------------------

FILE = '[A]:\n  Bash("one", {id: "first"})\n  Bash("two", {needs: ["first"]})\n'


def refused_json(t):
    op = '{"kind": "bash", "command": "true"%s}'
    for ops, error in ((op % ', "cwd": 1', '<stdin>: messages[0].ops[1].cwd: '),
                       (op % ', "nope": 1', '<stdin>: messages[0].ops[1].nope: '),
                       (op % ', "retries": 1.5', '<stdin>: messages[0].ops[1].retries: '),
                       (op % ', "id": "a", "id": "b"', '<stdin>:2:'),
                       (op % ', "retries": 9007199254740993', '<stdin>: integers lie within'),
                       (op % ', "id": "\\ud800"', '<stdin>:2:'),
                       (op % ', "stdin": {"$bin": "?"}', '<stdin>: messages[0].ops[1].stdin: $bin is not base64'),
                       (op % '' + ',', '<stdin>:2:'),
                       (op % ', "meta": ' + '[' * 30 + ']' * 30, '<stdin>:2:')):
        text = '{"messages": [{"ops": [%s,\n%s]}]}' % (op % '', ops)
        told = {t.one_line(t.ctl(verb, '-', input=text, check=2, bare=True)).errors.split(': ', 1)[1] for verb in ('parse', 'check', 'submit')}
        t.assertEqual(len(told), 1, told)
        t.assertIn(error, told.pop())


def warned_of_todos(t):
    items = '{id:"a",content:"A",status:"in_progress",owner:"me"},{content:"B",status:"in_progress",owner:"me"}'
    t.box.put('b', '[One]:\nTodoWrite([%s, {id:"c",content:"C",status:"in_progress"}])\n' % items)
    text = "warning: messages[0].ops[0].todos: 2 items of 'me' are in_progress: 'a', 'B'"
    t.assertIn(text, t.one_line(t.ctl('submit', '-n', 'b', check=0, bare=True)).errors, 'without a daemon')
    t.ctl('daemon', 'start', check=0, bare=True)
    for args in (['submit', '-n'], ['submit'], ['check']):
        t.one_line(t.ctl(*args, 'b', check=0, bare=True), text)
    t.assertEqual(len(t.ctl('submit', '-n', '--json', 'b', check=0, bare=True).json['warnings']), 1)
    t.ctl('wait', check=0, bare=True)


@expand
class Files(Cli):
    daemon = False

    @rows(
        ('`parse FILE`: resolved JSON', lambda t: (
            t.box.put('b', 'Bash(cmd)'),
            t.assertEqual(t.ctl('parse', 'b', '--define', 'cmd=make', check=0, bare=True).json, {'messages': [{'ops': [
                {'kind': 'bash', 'command': 'make'}]}]}))),
        ('`fmt FILE`: canonical notation; parse(fmt(b)) = b', lambda t: (
            t.box.put('b', FILE), t.box.put('c', t.ctl('fmt', 'b', check=0, bare=True).text),
            t.assertEqual(t.ctl('parse', 'b', bare=True).json, t.ctl('parse', 'c', check=0, bare=True).json),
            t.assertEqual(t.ctl('fmt', 'c', bare=True).text, t.box.text('c')))),
        ('`check FILE`: plan plus warnings', lambda t: (
            t.box.put('b', FILE), t.assertIn('first', t.ctl('check', 'b', check=0, bare=True).text),
            t.assertEqual(set(t.ctl('check', '--json', 'b', check=0, bare=True).json), {'plan', 'warnings'}),
            t.ctl('daemon', 'start', check=0, bare=True),
            t.assertIn('warning', t.ctl('check', '-j', '500', 'b', check=0, bare=True).errors))),
        ('`submit`, `submit -n` and `check` warn of two items in_progress of one owner', warned_of_todos),
        ('what reads a batch from a terminal says so', lambda t: [t.assertEqual(
            Terminal(t.box, verb).until('end it with ^D').type(b'Bash("x")\n\x04').status(), 0) for verb in ('parse', 'fmt', 'check')]),
        ('a batch that is refused: 2, with file:line:column', lambda t: [t.assertRegex(
            t.one_line(t.ctl(verb, '-', input='Bash("a")\nBash("x', check=2, bare=True)).errors, r'<stdin>:2:\d+: ') for verb in ('parse', 'fmt', 'check')]),
        ('JSON that is refused: the same line from those that build a tree of it and those that do not', refused_json),
    )
    def contract(self, case):
        case(self)


def rpc_rows(t):
    t.assertEqual(t.ctl('rpc', 'rpc.hello', check=0).json['server'], 'batchd')
    r = t.ctl('rpc', 'todo.write', '{"list": "l", "todos": [{"id": "a", "content": "A"}]}', check=0)
    t.assertEqual([i['id'] for i in r.json['todos']], ['a'])
    t.match({'runs': []}, t.ctl('rpc', 'run.list', '-', input='{"limit": 1}', check=0).json)
    t.one_line(t.ctl('rpc', 'run.get', '{"run": 99}', check=2), 'E_NOT_FOUND')
    t.one_line(t.ctl('rpc', 'run.gte', check=2), 'E_METHOD', 'run.get')
    t.one_line(t.ctl('rpc', 'run.get', '{"run": ', check=2), 'params:1:')


def bytes_in_json(t):
    run = t.box.run(batch([bash(b'printf "\xff\\0"')]))['run']
    t.assertEqual(t.ctl('rpc', 'run.output', json.dumps({'run': run, 'op': 1}), check=0).json['data'], {'$bin': '/wA='})
    t.assertEqual(t.ctl('log', '--json', run, check=0).json['data'], {'$bin': '/wA='})
    run = t.ctl('rpc', 'batch.submit', json.dumps({'batch': {'cwd': t.box.work, 'messages': [
        {'ops': [{'kind': 'exec', 'argv': ['printf', {'$bin': '/wE='}]}]}]}}), check=0).json['run']
    t.box.wait(run)
    t.assertEqual(t.box.output(run, 1), b'\xff\x01')


def daemon_verbs(t):
    t.box.stop_quietly()
    t.assertIn('started', t.ctl('daemon', 'start', check=0).errors)
    r = t.ctl('daemon', 'status', check=0)
    pid = t.ctl('--json', 'daemon', 'status', check=0).json['pid']
    t.assertIn(str(pid), r.text)
    t.assertIn('already', t.ctl('daemon', 'start', check=0).errors)
    t.assertEqual(t.ctl('--json', 'daemon', 'status', check=0).json['pid'], pid)
    t.ctl('daemon', 'stop', check=0)
    until(lambda: not alive(pid), 'the end')
    t.ctl('daemon', 'status', check=125)


def reload(t):
    folder = t.box.dir + '/home/.config/batchd'
    os.makedirs(folder)
    with open(folder + '/batchd.conf', 'w') as f:
        f.write('group.fast = 5\n')
    r = t.ctl('daemon', 'reload')
    if 'E_METHOD' in r.errors:
        t.skipTest('daemon.reload is not offered yet')
    t.assertEqual(r.status, 0, r)
    t.match([{'slots': 5}], [g for g in t.ctl('--json', 'group', check=0).json['groups'] if g['group'] == 'fast'])


@expand
class Rest(Cli):
    @rows(
        ('`rpc METHOD [JSON]`: raw calls', rpc_rows),
        ('bytes that are not UTF-8 are {"$bin": base64}, both ways', bytes_in_json),
        ('`daemon start|stop|status`', daemon_verbs),
        ('`daemon reload`', reload),
        ('`doctor`: 0 and what to mend otherwise', lambda t: (
            t.ctl('doctor', check=0), os.chmod(os.path.dirname(t.box.socket), 0o755),
            t.assertIn('mend: chmod 700', t.ctl('doctor', check=1).text), os.chmod(os.path.dirname(t.box.socket), 0o700))),
        ('`help [VERB [SUB]]`', lambda t: (t.assertIn('-j', t.ctl('help', 'group', 'set', check=0).text),
                                           t.one_line(t.ctl('help', 'nothing', check=2), 'nothing'))),
        ('`todo list --json` prints the result of todo.list', lambda t: (
            t.ctl('todo', 'add', 'One', check=0),
            t.assertEqual(t.ctl('todo', 'list', '--json', check=0).json, t.box.call('todo.list', cwd=t.box.work)))),
    )
    def contract(self, case):
        case(self)


# --- RUN ---------------------------------------------------------------------------------------------------------------

def names(t):
    t.ran('--name', 'twin', '-e', 'true')
    t.assertEqual(t.ids('twin'), [1], 'one that has ended, where none is active')
    held = [t.new('submit', '--hold', '-e', 'true', '--name', 'twin')]
    t.assertEqual(t.ids('twin'), held, 'its newest active run')
    held.append(t.new('submit', '--hold', '-e', 'true', '--name', 'twin'))
    for verb in ('cancel', 'status', 'wait', 'log', 'pause'):
        t.one_line(t.ctl(verb, 'twin', check=2), 'twin', *held)
    t.ctl('cancel', *held, check=0)


def ops_by_index_and_id(t):
    t.box.put('b', FILE.replace('"one"', '"echo 1"').replace('"two"', '"echo 2"'))
    run = t.ran('b', '--name', 'n')['run']
    for word, out in (('%d.1', b'1\n'), ('%d.first', b'1\n'), ('%d.2', b'2\n')):
        t.assertEqual(t.ctl('log', word % run, check=0).out, out)
    t.assertEqual(t.ctl('log', 'n.first', check=0).out, b'1\n')
    t.assertEqual(t.ctl('log', 'last.2', check=0).out, b'2\n')
    t.one_line(t.ctl('log', '%d.3' % run, check=2), "'3'", 'batchctl status %d' % run)
    t.one_line(t.ctl('status', '%d.9' % run, check=2), "'9'")
    t.one_line(t.ctl('status', '%d.none' % run, check=2), "'none'")
    t.one_line(t.ctl('wait', '%d.1' % run, check=2), 'names an op')
    for args in (['status'], ['status', '--json'], ['log'], ['cancel']):
        for op in ('0', '00'):
            t.assertEqual(t.one_line(t.ctl(*args, '%d.%s' % (run, op), check=2), '%d.%s' % (run, op), 'count from 1').out, b'')
    t.one_line(t.ctl('status', '--json', '%d.9' % run, check=2), "'9'")
    for word, index in (('%d.2', 2), ('%d.first', 1)):
        t.match({'runs': [{'run': run, 'ops_total': 2, 'ops': [{'index': index}]}]}, t.ctl('status', '--json', word % run, check=0).json)


def everywhere(t):
    """`--everywhere` on each verb that takes RUN."""
    other = t.elsewhere()
    run = t.ran('-e', 'echo here')['run']
    for verb in ('log', 'restart', 'follow', 'status', 'wait', 'cancel', 'pause', 'resume', 'clean'):
        t.assertIn('--everywhere', t.ctl(verb, '--help').text)
        r = t.ctl(verb, 'last', cwd=other, check=2)
        t.one_line(r, 'no run yet', other, '--everywhere')
    t.assertEqual(t.ids(cwd=other), [])
    t.assertEqual(t.ids('--everywhere', cwd=other), [run])
    t.assertEqual(t.ids('all', cwd=other), [])
    t.assertEqual(t.ids('all', '--everywhere', cwd=other), [run])
    t.assertEqual(t.ids(str(run), cwd=other), [run], 'a number is a number everywhere')
    t.assertEqual(t.ctl('log', '--everywhere', cwd=other, check=0).out, b'here\n')
    held = t.new('submit', '--hold', '-e', 'true')
    t.assertEqual(t.ctl('cancel', 'all', cwd=other, check=0).out, b'')
    t.assertEqual(t.ctl('resume', cwd=other, check=0).out, b'')
    t.ctl('wait', '--timeout', '0', cwd=other, check=0)
    t.ctl('wait', '--timeout', '0', '--everywhere', cwd=other, check=124)
    t.assertEqual(t.ctl('pause', '--everywhere', cwd=other, check=0).text, 'paused run %d\n' % held)
    t.assertEqual(t.ctl('cancel', 'all', '--everywhere', cwd=other, check=0).text, 'cancelled run %d\n' % held)
    t.assertEqual(t.ctl('restart', '--everywhere', '-w', str(run), cwd=other, check=0).out, b'%d\n' % (held + 1))
    t.ctl('follow', '--everywhere', cwd=other, check=0)
    t.assertIn('forgot 3 runs: 1-3', t.ctl('clean', '--everywhere', cwd=other, check=0).text)


@expand
class Runs(Cli):
    @rows(
        ('RUN is a number', lambda t: (t.ran('-e', 'true'), t.assertEqual(t.ids('1'), [1]), t.assertEqual(t.ids('1', '1'), [1]))),
        ('a name (its newest active run; several: refused)', names),
        ('`last`, `all`', lambda t: ([t.ran('-e', 'true') for _ in range(3)], t.assertEqual(t.ids('last'), [3]), t.assertEqual(t.ids('all'), [3, 2, 1]))),
        ('a range `3-7,9`', lambda t: (
            [t.ran('-e', 'true') for _ in range(5)], t.assertEqual(t.ids('2-3,5'), [2, 3, 5]), t.assertEqual(t.ids('4-99'), [4, 5]),
            t.assertEqual(t.ids('4-5,1-3', '2', '3'), [4, 5, 1, 2, 3]),
            t.assertEqual(t.ctl('clean', '2-4', check=0).text, 'forgot 3 runs: 2-4\n'), t.one_line(t.ctl('status', '5-2', check=2), '5-2'),
            t.one_line(t.ctl('status', '70-80', check=2), '70-80'))),
        ('`RUN.OP`: by index and by id', ops_by_index_and_id),
        ('`last`, `all` and no RUN mean this project\'s runs, `--everywhere` everyone\'s', everywhere),
        ('a project is the nearest parent that holds .batchd, .git, .jj or .hg', lambda t: (
            os.makedirs(t.box.path('deep/er')), t.ran('-e', 'true'), t.assertEqual(t.ids(cwd=t.box.path('deep/er')), [1]))),
        ('unknown: 2, in one line', lambda t: [t.one_line(t.ctl(verb, *more, run, check=2), run, 'batchctl status') for verb, more in (
            ('status', []), ('log', []), ('wait', []), ('follow', []), ('cancel', []), ('pause', []), ('resume', []), ('restart', []), ('clean', []),
            ('submit', ['-e', 'true', '--after'])) for run in ('99', 'nobody')]),
    )
    def contract(self, case):
        case(self)


# --- interrupted, refused, counted -------------------------------------------------------------------------------------

def leaves(t):
    """`submit -w`, `follow`, `wait` leave the run and say how to come back: ^C, TERM and a closed terminal alike."""
    run, lift = t.held()
    for args in (['follow', run], ['wait', run], ['follow', '-o', run], ['submit', '-w', '-e', 'exec sleep 60']):
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            had = t.box.call('daemon.status')['connections']
            p = t.box.ctl_start(*args)
            if args[0] == 'submit':
                p.stdout.readline()
            until(lambda: t.box.call('daemon.status')['connections'] > had, 'its connection')
            until(lambda: process_name(p.pid) == 'batchctl' and blocks(p.pid, sig), 'its watch for signals')
            p.send_signal(sig)
            status, _, err = t.end_of(p)
            t.assertEqual(status, 128 + sig, (args, sig, err))
            t.assertRegex(err, r'run \d+ goes on: `batchctl (follow|wait) \d+`')
            t.assertFalse([r for r in t.box.call('run.list')['runs'] if r['state'] in ENDED])
    lift()
    t.ctl('cancel', 'all')


def blocks(pid, sig):
    with open('/proc/%d/status' % pid) as f:
        mask = int(re.search(r'SigBlk:\s*(\w+)', f.read()).group(1), 16)
    return mask & 1 << sig - 1


def keys_on_a_terminal(t):
    """The same by a key: ^C on `submit -w` leaves, on `run` it reaches the command."""
    term = Terminal(t.box, 'submit', '-w', '-e', 'exec sleep 60').until('running').type(b'\x03')
    t.assertEqual(term.status(), 130)
    t.assertIn(b'batchctl follow 1', term.text)
    t.assertEqual(t.state(1), 'running')
    term = Terminal(t.box, 'run', '--', 'trap "echo got it; exit 6" INT; echo ready; while :; do sleep .02; done').until('ready').type(b'\x03')
    t.assertEqual(term.status(), 6)
    t.assertIn(b'got it', term.text)
    t.ctl('cancel', '1', check=0)


def closed_terminal(t):
    for n, args in enumerate((['submit', '-w', '-e'], ['run', '--'], ['add', '-w', '--']), 1):
        term = Terminal(t.box, *args, 'touch began%d; read x < gate%d; touch finished%d' % (n, n, n))
        lift = t.gate('gate%d' % n)
        until(lambda: t.box.exists('began%d' % n), 'the op')
        term.close()
        until(lambda: os.waitpid(term.pid, os.WNOHANG)[0], 'the end of batchctl')
        lift()
        t.box.wait(n)
        t.assertTrue(t.box.exists('finished%d' % n))


def broken_pipes(t):
    """A reader that has gone is nobody's error; a disk that is full is."""
    t.ran('-e', 'seq 1 100000', '-e', 'true')
    sh = lambda line: subprocess.run(['bash', '-c', line], env=t.box.env(BATCHD_SOCKET=t.box.socket), cwd=t.box.work, capture_output=True, text=True)
    r = sh('batchctl log last | head -n 1; echo ${PIPESTATUS[0]}; batchctl --help | true; batchctl status --json | true')
    t.assertEqual((r.stdout.splitlines()[1:], r.stderr), (['0'], ''))
    for verb in ('status', 'log last.1', '--help', 'status --json', 'parse b', 'group', 'todo list --json', 'doctor'):
        t.box.put('b', 'Bash("true")')
        r = sh('batchctl %s > /dev/full' % verb)
        t.assertEqual(r.returncode, 1, verb)
        t.assertRegex(r.stderr, r'\Abatchctl.*: cannot write to stdout: .*[Nn]o space left on device\n\Z')
        r = sh('batchctl %s >&-' % verb)
        t.assertEqual(r.returncode, 1, (verb, r))
        t.assertRegex(r.stderr, r'\Abatchctl.*: cannot write to stdout: .*[Bb]ad file descriptor\n\Z')
    t.assertEqual(sh('batchctl submit -e true 2>&-').returncode, 0)
    t.assertEqual(sh('batchctl run -- cat <&-').returncode, 0)
    t.assertEqual(sh('batchctl run --stdin -- cat <&-').returncode, 0)
    r = sh('batchctl submit <&-')
    t.assertEqual((r.returncode, r.stderr.count('\n')), (2, 1), r)


@expand
class Interrupted(Cli):
    @rows(
        ('Ctrl-C: `submit -w`, `follow`, `wait` leave the run and say how to come back', leaves),
        ('Ctrl-C: `run` passes it on, typed on a terminal', keys_on_a_terminal),
        ('A closed terminal ends no run', closed_terminal),
        ('closed pipes, full disks, closed files', broken_pipes),
    )
    def contract(self, case):
        case(self)


@expand
class Refused(Cli):
    """Errors go to stderr: one line saying what, where, and what to do; usage is 2."""
    daemon = False

    @rows(
        ('an unknown verb', ['frobnicate'], ['frobnicate', 'batchctl --help']),
        ('a misspelt verb', ['submitt'], ["did you mean 'submit'"]),
        ('an unknown sub-verb', ['group', 'lst'], ['lst', 'list']),
        ('an unknown option', ['submit', '--frob'], ['--frob', 'batchctl submit --help']),
        ('a misspelt option', ['submit', '--nmae', 'x'], ["did you mean '--name'"]),
        ('an unknown global option', ['--frob', 'status'], ['--frob']),
        ('an unknown letter', ['wait', '-Z'], ['-Z']),
        ('an option that stands for several', ['submit', '--o', '-e', 'true'], ['--o']),
        ('an option without its value', ['submit', '--name'], ['--name NAME']),
        ('a flag with a value', ['submit', '--hold=yes', '-e', 'true'], ['--hold', 'no value']),
        ('a number that is none', ['submit', '-j', 'x', '-e', 'true'], ['--jobs', "'x'", '1 to']),
        ('a duration that is none', ['wait', '--timeout', '5 parsecs'], ['--timeout', '5 parsecs', '90s']),
        ('a word that is none of those', ['submit', '--order', 'random', '-e', 'true'], ['random', 'parallel, serial']),
        ('run without a command', ['run'], ['batchctl run [--] CMD']),
        ('too many operands', ['parse', 'a', 'b'], ["'b'", 'batchctl parse [FILE|-]']),
        ('too few operands', ['cancel'], ['batchctl cancel RUN']),
        ('a define without a name', ['parse', '--define', '=x', '-'], ['--define']),
        ('a file that is not there', ['parse', 'nofile'], ['nofile', 'o such file']),
        ('a folder for a file', ['submit', '.'], ["'.'", 's a directory']),
        ('both a file and -e', ['submit', '-e', 'true', 'b'], ['-e']),
        ('-o without -w', ['submit', '-o', '-e', 'true'], ['-w']),
        ('-E without a name', ['submit', '-E', '=x', '-e', 'true'], ['NAME=VALUE']),
        ('a number that is no signal', ['kill', '-99', '1'], ["'99'", 'TERM']),
        ('digits where nothing takes them', ['wait', '-9', '1'], ["'-9'", 'batchctl wait --help']),
        ('a signal that is none', ['cancel', '-s', 'FOO', '1'], ["'FOO'", 'TERM']),
        ('a name that is a number', ['submit', '--name', '12', '-e', 'true'], ['12', 'number']),
        ('a name that is a range', ['submit', '--name', '3-7', '-e', 'true'], ['3-7', 'range']),
        ('a name with a meaning', ['submit', '--name', 'last', '-e', 'true'], ['last']),
        ('a name with a dot', ['submit', '--name', 'a.b', '-e', 'true'], ['a.b']),
        ('run 0', ['status', '0'], ['0', 'from 1']),
        ('an empty RUN', ['status', ''], ['empty']),
        ('half an op', ['log', '3.'], ['3.', 'RUN.OP']),
        ('group set without slots', ['group', 'set', 'g'], ['-j N']),
        ('params that are no object', ['rpc', 'run.list', '3'], ['object']),
        ('a line break in what was typed', ['status', 'a\nb'], ['control characters']),
        ('a control byte in what was typed', ['status', 'a\x1b[31mb'], ['control characters']),
        ('the same in a file name', ['parse', 'a\n\x1bb'], ['a\\n\\x1bb']),
        ('the same in a verb', ['a\n\x1bb'], ['a\\n\\x1bb']),
        ('the same in an option', ['status', '--a\nb'], ['--a\\nb']),
        ('the same in -C', ['-C', 'a\nb', 'status'], ['a\\nb']),
        ('the same in a duration', ['wait', '--timeout', 'a\nb'], ['a\\nb']),
        ('the same in a signal', ['cancel', '-s', 'a\nb', '1'], ['a\\nb']),
    )
    def usage(self, args, words):
        r = self.ctl(*args, bare=True, check=2)
        self.assertEqual(r.out, b'')
        self.assertNotIn('\x1b', r.errors)
        self.one_line(r, *words)


def json_shapes(t):
    """Each verb its method's result, keys as on the wire."""
    get = lambda *a, status=0, **k: t.ctl('--json', *a, check=status, **k).json
    call = lambda method, **k: json.loads(json.dumps(t.box.call(method, **k), default=lambda b: {'$bin': b.hex()}))
    t.assertEqual(get('submit', '-e', 'true'), {'run': 1, 'existing': False})
    t.assertEqual(get('add', '--', 'false'), {'run': 2, 'existing': False})
    t.box.wait(1), t.box.wait(2)
    t.assertEqual(get('status'), call('run.list', project=t.box.work))
    t.assertEqual(get('status', '2'), {'runs': [call('run.get', run=2)]})
    t.assertEqual(get('wait', '1'), call('run.wait', run=1, timeout_ms=0))
    t.assertEqual(get('wait', '1', '2', status=1), call('run.wait', runs=[1, 2], timeout_ms=0))
    t.assertEqual(get('wait'), {'runs': [], 'timed_out': False})
    t.assertEqual(get('follow', '2', status=1), call('run.get', run=2, ops='none'))
    t.assertEqual(get('submit', '-n', '-e', 'true'), call('batch.check', batch=dict(batch([bash('true')]), cwd=t.box.work)))
    r = get('restart', '1')
    t.assertEqual((r['run'], r['origin']), (3, 1))
    t.match({'run': 4, 'state': 'failed', 'origin': 2}, get('restart', '-w', '2', status=1))
    t.box.wait(3)
    for n, (verb, state) in enumerate((('pause', 'paused'), ('resume', 'queued'), ('pause', 'paused'), ('cancel', 'cancelled'))):
        if n == 0:
            t.ctl('group', 'set', 'p', '-j', '1', check=0)
            t.ctl('group', 'pause', 'p', check=0)
            run = get('submit', '-g', 'p', '-e', 'true')['run']
        t.match({'run': run, 'summary': {'ops': 1}}, get(verb, str(run)))
        t.assertIn(t.state(run), (state, 'running'))
    for verb in ('pause', 'resume', 'cancel'):
        t.assertEqual(get(verb, 'all'), {'runs': []}, verb)
    t.assertEqual(get('clean', '3'), {'forgotten': 1})
    t.assertEqual(get('clean'), {'forgotten': 4})
    t.assertEqual(get('clean'), {'forgotten': 0})
    t.match({'runs': []}, get('status'))
    t.assertEqual(get('group'), call('group.list'))
    g = get('group', 'set', 'x', '-j', '2')
    t.assertIn(g, call('group.list')['groups'])
    t.match({'group': 'x', 'paused': True}, get('group', 'pause', 'x'))
    same = ('pid', 'version', 'socket', 'state_dir', 'started')
    t.assertEqual({k: get('daemon', 'status')[k] for k in same}, {k: call('daemon.status')[k] for k in same})
    t.assertEqual(get('daemon', 'start')['pid'], t.box.daemon.pid)
    t.match({'stopping': True}, get('daemon', 'stop'))
    t.box.daemon.wait()
    t.box.daemon = None
    t.assertEqual(get('daemon', 'stop'), {'stopping': False, 'draining': False})
    t.box.disconnect()
    started = get('daemon', 'start')
    t.assertEqual({k: started[k] for k in same}, {k: call('daemon.status')[k] for k in same})


def log_json(t):
    run = t.ran('-e', 'echo one; sleep .05; echo two >&2', '-e', 'head -c 1500000 /dev/zero | tr "\\0" x')['run']
    lines = [json.loads(l) for l in t.ctl('--json', 'log', run, check=0).text.splitlines()]
    t.match({'run': run, 'op': 1, 'data': 'one\ntwo\n', 'offset': 0, 'size': 8, 'end': True, 'chunks': lambda c: [x[1:] for x in c] == [[1, 4], [2, 4]]},
            lines[0])
    t.assertEqual(''.join(l['data'] for l in lines[1:]), 'x' * 1500000, 'page by page')
    t.assertEqual([l['op'] for l in lines[1:]], [2, 2])
    t.match({'data': 'two\n'}, t.ctl('--json', 'log', '%d.1' % run, '-n', '1', check=0).json)
    run, lift = t.held()
    p = t.box.ctl_start('--json', 'log', '-f', run)
    t.assertEqual(json.loads(p.stdout.readline())['data'], 'begun\n')
    lift()
    t.match({'run': run, 'op': 1, 'stream': 'stdout', 'offset': 6, 'data': 'done\n'}, json.loads(t.end_of(p)[1]))


@expand
class Json(Cli):
    @rows(
        ('`--json` prints one document, each verb its method\'s result, keys as on the wire', json_shapes),
        ('`log --json`: one object a line where it streams', log_json),
    )
    def contract(self, case):
        case(self)


REPORT = '''Message 1:
  TodoWrite { todos: [ { id: "build", content: "Build" } ]}
  Bash("sleep %g", { id: "slow" })
  Bash("sleep .2")
  Bash("for i in $(seq 1 50); do echo line $i; done; echo boom >&2; exit 4", { todo: "build", id: "bad" })
  Bash("kill -SEGV $$")
Message 2:
  Bash("never")
''' % (.3 * SLOW)


def report(t):
    t.box.put('b', REPORT)
    for args in (['submit', '-w', 'b'], ['wait', '1'], ['follow', '1'], ['restart', '1', '-w']):
        text = t.ctl(*args, check=1).errors
        t.assertRegex(text, r'(?m)^6 ops in \d+(\.\d)? m?s; one after another: \d+(\.\d)? m?s \(\d+\.\dx\)$')
        t.assertRegex(text, r'(?m)^longest: op slow, \d+(\.\d)? m?s: sleep [\d.]+$')
        run = 2 if args[0] == 'restart' else 1
        t.assertRegex(text, r"(?m)^op %d\.bad `for i in .*` exit 4, after .*; held up: todo 'build'$" % run)
        t.assertRegex(text, r'(?m)^    \| line 50\n    \| boom$')
        t.assertNotRegex(text, r'(?m)^    \| line 3$')
        t.assertRegex(text, r'(?m)^op %d\.5 `kill -SEGV \$\$` killed by SIGSEGV' % run)
        t.assertIn('batchctl restart --failed %d\n' % run, text)
    text = t.ctl('submit', '-w', '-e', 'true', check=0).errors
    t.assertRegex(text, r'(?m)^1 op in ')
    t.assertNotIn('restart', text)


def report_skipped(t):
    t.box.fifo('gate')
    run = t.new('submit', '-j1', '--timeout', '300ms', '-e', 'read x < gate', '-e', 'echo second')
    t.assertRegex(t.ctl('wait', run, check=1).errors, r'(?m)^run %d failed: 1 failed, 1 skipped: timed out$' % run)
    held = t.new('submit', '--hold', '--timeout', '1h', '-e', 'true')
    after = t.new('submit', '--after', held, '-e', 'true')
    t.ctl('cancel', held, check=0)
    for args in (['wait', after], ['follow', after]):
        text = t.ctl(*args, check=1).errors
        t.assertRegex(text, r'(?m)^run %d failed: 1 skipped: what it needs did not succeed: run %d cancelled$' % (after, held))
    t.assertIn('what it needs did not succeed: run %d cancelled' % held, t.ctl('status', after, check=0).text)
    late = t.ctl('submit', '-w', '--after', run, '-e', 'true', '-e', 'true', check=1).errors
    t.assertRegex(late, r'(?m)^run \d+ failed: 2 skipped: what it needs did not succeed: run %d failed$' % run)
    stopped = t.ctl('submit', '-w', '-', input='[A] Bash("exit 3")\n[B] Bash("true")', check=1).errors
    t.assertRegex(stopped, r'(?m)^run \d+ failed: 1 failed, 1 skipped$')


def report_tabs(t):
    text = t.ctl('submit', '-w', '-e', r"printf 'a\tb\n\t\303\274ber\tc\n12345678\t\033[31m\ttail%0500d\t\n' 0; exit 1", check=1).errors
    t.assertIn('\n    | a       b\n    |         über    c\n    | 12345678        \\x1b[31m', text)
    t.assertRegex(text, r'    \| 12345678  .*tail0+…\n')
    t.assertNotIn('\t', text.split('`')[-1])


def report_retries_just_that(t):
    t.ctl('submit', '-w', '-e', 'echo x >> good', '-e', 'test -e there', check=1)
    t.box.put('there')
    t.ctl('restart', '--failed', '1', '-w', check=0)
    t.assertEqual(t.box.text('good'), 'x\n')


def exit_statuses(t):
    for status, args in ((0, ['submit', '-w', '-e', 'true']), (1, ['submit', '-w', '-e', 'false']), (1, ['wait', '2']), (0, ['wait', '1']),
                         (2, ['wait', '77']), (2, ['submit', '--no-such-flag']), (2, ['submit', '-', '--define', 'x']),
                         (7, ['run', '--', 'exit 7']), (127, ['run', '--', '-x']), (143, ['run', '--', 'kill $$']), (124, ['run', '--timeout', '100ms', '--', 'exec sleep 60'])):
        t.ctl(*args, check=status)
    run = t.new('submit', '--hold', '-e', 'true')
    t.ctl('wait', run, '--timeout', '10ms', check=124)
    t.ctl('cancel', run, check=0)
    t.ctl('wait', run, check=1)
    t.box.stop_quietly()
    t.ctl('wait', run, check=125)


@expand
class Ended(Cli):
    @rows(
        ('Exit status: 0 all well · 1 a run did not succeed · 2 usage, unknown id, or a batch refused · 124 the waiting itself timed out · 125 no '
         'daemon · `run` its own, 128+N for a signal', exit_statuses),
        ('After a waited run: `12 ops in 3.1 s; one after another: 18.4 s (5.9x)`, which op the time was spent on, and for each failure its last '
         'lines, its cause, the todo it held up, and the command that retries just that', report),
        ('for what was skipped too: why, and the run it needed', report_skipped),
        ('tabs of the last lines are text', report_tabs),
        ('the command retries just that', report_retries_just_that),
    )
    def contract(self, case):
        case(self)


@expand
class Conf(Cli):
    daemon = False

    @rows(*(('`%s`' % line.partition(' ')[0], line) for line in (
        'slots = 3', 'group.gpu = 1', 'output_cap = 1M', 'grace = 2s', 'drain = 1m', 'keep_output = 14d', 'keep_output_bytes = 2G', 'keep_rows = 90d',
        'max_frame = 1M', 'shell = sh', 'log_level = debug')))
    def batchd_conf(self, line):
        self.assertEqual(configured(self, '# comment\n\n%s\n' % line).status, 0)

    @rows(
        ('unknown names are an error with line number', 'slots = 2\nslotz = 3\n', ['batchd.conf:2', 'slotz']),
        ('bad values too', '\n\ngrace = soon\n', ['batchd.conf:3', 'grace', 'soon']),
        ('and what is no name = value', 'slots\n', ['batchd.conf:1', 'name = value']),
    )
    def batchd_conf_refused(self, text, words):
        r = configured(self, text)
        self.assertEqual(r.status, 125, r)
        self.one_line(r, *words)


if __name__ == '__main__':
    unittest.main()
