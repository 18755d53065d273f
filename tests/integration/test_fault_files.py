"""
Promise: what somebody does to the files of batchd (its database, its socket, the files of its runs) is named with the file and the
mend, touches no other run, and loses nothing of what is left.

The faults are made in faults.py; the scene they are put on is in fault_scene.py.
"""
import contextlib
import errno
import json
import os
import resource
import shutil
import signal
import socket
import sqlite3
import stat
import struct
import subprocess

from fault_scene import Scene
from faults import ordinary
from harness import BATCHCTL, BATCHD, PATIENCE, Case, RpcError, alive, bash, batch, expand, rows, until, write


# --- others and the database -----------------------------------------------------------------------------------------

@expand
class Others(Scene):
    def test_a_lock_of_another_program(self):
        b = self.box
        self.begin()
        db = sqlite3.connect(b.state + '/batchd.db', isolation_level=None)
        self.addCleanup(db.close)
        db.execute('BEGIN IMMEDIATE')
        self.assertRegex(self.try_submit('meanwhile'), 'E_STORAGE: .*database is locked.*batchd.db.*another program holds it')
        self.match({'state': 'running'}, b.call('run.get', run=self.first))     # and it blocks nobody who only reads
        self.let_go()
        self.quiet()
        db.execute('ROLLBACK')
        self.all_well()

    def named_by_doctor(self, *words):
        found = [f for f in self.box.ctl('--json', 'doctor').json['checks'] if f['state'] == 'problem' and f['check'] == 'database']
        self.assertEqual(len(found), 1, found)
        for word in words:
            self.assertIn(word, found[0]['text'] + found[0]['mend'])

    def refused_until(self, mend):
        said = self.try_submit('meanwhile')
        self.assertRegex(said or 'it was accepted', 'E_STORAGE: .*batchd.db.* (moved|replaced).*put back')
        self.let_go()
        self.quiet()
        mend()
        self.all_well()

    def test_it_is_moved_away(self):
        # Writes would go to a file that nobody finds again.
        b = self.box
        self.begin()
        os.rename(b.state, b.state + '.away')
        self.refused_until(lambda: os.rename(b.state + '.away', b.state))

    @rows(('moved to its place', False), ('moved over it', True))
    def another_database_is(self, over):
        # Ours is put back, or was removed by that and is made anew; that it is another's is seen before anything is stored.
        b = self.box
        db, other = b.state + '/batchd.db', b.path('other.db')
        with contextlib.closing(sqlite3.connect(other)) as d:
            d.execute('CREATE TABLE theirs(x)')
        self.begin()
        if not over:
            os.rename(db, db + '.ours')
        os.rename(other, db)
        self.named_by_doctor('batchd.db', 'replaced', 'move away')

        def mend():
            os.rename(db, other)
            if not over:
                os.rename(db + '.ours', db)
        self.refused_until(mend)
        with contextlib.closing(sqlite3.connect(other)) as d:
            self.assertEqual(d.execute('SELECT name FROM sqlite_master').fetchall(), [('theirs',)])

    @rows(('the database', ['']), ('its log', ['-wal']), ('what its users share', ['-shm']), ('all of it', ['', '-wal', '-shm']))
    def is_removed(self, suffixes):
        # batchd has it open, and makes it anew from that.
        b = self.box
        self.begin()
        self.assertIsNone(self.try_submit('before'))
        b.wait(self.taken['before'])
        for suffix in suffixes:
            os.unlink(b.state + '/batchd.db' + suffix)
        if suffixes != ['-shm']:
            self.named_by_doctor('batchd.db', 'removed', 'do not stop it')
        self.assertIsNone(self.try_submit('meanwhile'))
        self.let_go()
        self.quiet()
        self.all_well()
        self.assertEqual(stat.S_IMODE(os.stat(b.state + '/batchd.db').st_mode), 0o600)

    def test_is_removed_and_batchd_told_to_stop(self):
        # With it would go the last that is left.
        b = self.box
        self.begin()
        self.let_go()
        for run in (self.first, self.second):
            b.wait(run)
        for suffix in ('', '-wal', '-shm'):
            os.unlink(b.state + '/batchd.db' + suffix)
        b.disconnect()
        b.daemon.terminate()
        self.assertEqual(b.daemon.wait(PATIENCE), 0)
        b.start()
        self.all_well(restart=False)

    def test_becomes_read_only(self):
        # What is open stays so; doctor names what the next start would meet.
        b = self.box
        under, why_not = ordinary(b)
        if why_not:
            self.skipTest(why_not)
        self.begin(under=under)
        names = [b.state + '/batchd.db' + suffix for suffix in ('', '-wal', '-shm')]
        for name in names:
            os.chmod(name, 0o400)
        said = json.loads(subprocess.run([*under, BATCHCTL, '--json', 'doctor'], env=b.env(BATCHD_SOCKET=b.socket), cwd=b.work,
                                         capture_output=True, stdin=subprocess.DEVNULL).stdout)
        mends = [f['mend'] for f in said['checks'] if f['state'] == 'problem']
        self.assertEqual(mends, ["chmod 600 '%s'" % name for name in names])
        self.assertIsNone(self.try_submit('meanwhile'))
        self.let_go()
        self.quiet()
        for name in names:
            os.chmod(name, 0o600)
        self.start_again = lambda: (b.kill_daemon(), b.start(under=under))
        self.all_well()

    def test_it_is_damaged_while_in_use(self):
        b = self.box
        self.begin()
        path = b.state + '/batchd.db'
        with open(path, 'r+b') as f:
            whole = f.read()
            f.seek(0)
            f.write(os.urandom(len(whole)))
        said = self.try_submit('meanwhile')     # its pages may be in memory, or in the log that is applied to them
        if said:
            self.assertRegex(said, 'E_STORAGE: .*(malformed|not a database).*copy')
        self.let_go()
        self.quiet()
        b.kill_daemon()
        with open(path, 'r+b') as f:
            f.write(whole)
        b.start()
        self.all_well()


@expand
class SocketFile(Scene):
    """Somebody tidies up the folder of the socket under a batchd that runs."""

    def there_again(self):
        until(lambda: os.path.exists(self.box.socket), 'its socket')
        pid = self.box.daemon_pid()
        p = self.box.ctl('--json', 'daemon', 'status', check=0)
        self.assertEqual(p.json['pid'], pid)
        self.assertEqual(stat.S_IMODE(os.stat(self.box.socket).st_mode), 0o600)

    @rows(('removed', lambda path, folder: os.unlink(path)),
          ('moved away', lambda path, folder: os.rename(path, path + '.away')),
          ('moved away with its folder', lambda path, folder: os.rename(folder, folder + '.away')))
    def is_made_again(self, take):
        b = self.box
        self.begin()
        self.assertIsNone(self.try_submit('before'))
        for _ in range(2):
            take(b.socket, os.path.dirname(b.socket))
            self.there_again()
            if os.path.exists(os.path.dirname(b.socket) + '.away'):     # where the spawner's table is
                break
        b.call('daemon.status')         # who was connected is so still
        b.disconnect()
        self.quiet()
        self.let_go()
        self.all_well(restart=False)

    def test_one_that_hangs_is_named(self):
        b = self.box
        self.begin()
        pid = b.daemon_pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            os.unlink(b.socket)
            said = b.ctl('cancel', self.first, check=125).errors
            self.assertRegex(said, r'batchd \(pid %d\) runs, but there is no .*socket.*`kill %d`, then `batchctl daemon start`' % (pid, pid))
            self.assertRegex(b.ctl('doctor', check=1).text, r'(?s)pid %d has the state folder, but there is no .*`kill %d`' % (pid, pid))
        finally:
            os.kill(pid, signal.SIGCONT)
        self.there_again()
        self.let_go()
        self.all_well()

    def test_one_that_does_not_answer_is_named(self):
        b = self.box
        self.begin()
        pid = b.daemon_pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            p = b.ctl_start('cancel', self.first)
            said = p.stderr.readline().decode()
        finally:
            os.kill(pid, signal.SIGCONT)
        self.assertRegex(said, r"what listens at '.*socket' \(pid %d\) does not answer yet: .*stopped.*`batchctl doctor`" % pid)
        out, err = p.communicate()
        self.assertEqual((p.returncode, err), (0, b''), out)
        b.wait(self.first)

    def test_one_that_takes_no_more_connections_is_named(self):
        b = self.box
        self.begin()
        pid = b.daemon_pid()
        waiting = []
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        os.kill(pid, signal.SIGSTOP)
        try:
            while True:
                s = socket.socket(socket.AF_UNIX)
                waiting.append(s)
                s.setblocking(False)
                try:
                    s.connect(b.socket)
                except BlockingIOError:
                    break
            p = b.ctl_start('cancel', self.first)
            said = p.stderr.readline().decode()
        except OSError as e:
            if e.errno != errno.EMFILE:
                raise
            self.skipTest('too few files may be open here to fill a backlog')
        finally:
            os.kill(pid, signal.SIGCONT)
            for s in waiting:
                s.close()
        self.assertRegex(said, r"what listens at '.*socket' \(pid %d\) does not answer yet: .*stopped.*`batchctl doctor`" % pid)
        out, err = p.communicate()
        self.assertEqual((p.returncode, err), (0, b''), out)
        b.wait(self.first)

    def test_what_somebody_else_put_there_stays(self):
        b = self.box
        self.begin()
        with open(b.socket + '.new', 'w') as f:
            f.write('precious')
        os.rename(b.socket + '.new', b.socket)
        until(lambda: b'was removed, and nobody reaches' in open(b.log, 'rb').read(), 'a word in the log')
        self.assertEqual(open(b.socket).read(), 'precious')
        os.unlink(b.socket)
        self.there_again()
        self.let_go()
        self.all_well()


def rewrite(path, change):
    """The file's bytes go through `change`; for putting them back."""
    with open(path, 'r+b') as f:
        before = f.read()
        f.seek(0)
        f.write(change(before))
        f.truncate()
    return lambda: rewrite(path, lambda _: before)


def schema(path, version):
    with contextlib.closing(sqlite3.connect(path)) as db:
        before = db.execute('PRAGMA user_version').fetchone()[0]
        db.execute('PRAGMA user_version = %d' % version)
    return lambda: schema(path, before)


def without(what, again):
    """The database lacks one of its tables, indexes or columns."""
    def spoil(path):
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            db.execute(what)

        def back():
            with contextlib.closing(sqlite3.connect(path)) as db, db:
                db.execute(again)
        return back
    return spoil


def elsewhere(path):
    """A link of somebody's making stands in its place, to a file of ours that is not to be touched."""
    kept, victim = path + '.kept', os.path.join(os.path.dirname(os.path.dirname(path)), 'victim')
    os.rename(path, kept)
    with open(victim, 'w') as f:
        f.write('precious')
    os.symlink(victim, path)

    def back():
        with open(victim) as f:
            assert f.read() == 'precious', 'it was written through'
        os.unlink(path)
        os.rename(kept, path)
    return back


def given_away(path):
    os.chown(path, 12345, -1)
    return lambda: os.chown(path, os.getuid(), -1)


def open_to_all(path):
    os.chmod(path, 0o777)
    return lambda: os.chmod(path, 0o700)


def open_to_a_group(path):
    os.chown(path, -1, 12345)
    os.chmod(path, 0o770)
    return lambda: (os.chown(path, -1, os.getgid()), os.chmod(path, 0o700))


@expand
class Refuses(Scene):
    """What batchd will not start with: it says why and what to do, touches nothing, and goes on when that is mended."""

    @rows(
        ('random bytes in the database', 'state', '/batchd.db', lambda p: rewrite(p, lambda b: b[:100] + os.urandom(len(b) - 100)),
         'malformed.*batchd.db.*damaged: stop batchd and restore it from a copy'),
        ('a database cut short', 'state', '/batchd.db', lambda p: rewrite(p, lambda b: b[:5000]), 'batchd.db.*damaged.*copy'),
        ('no database at all', 'state', '/batchd.db', lambda p: rewrite(p, lambda b: b'hello' * 1000), 'not a database.*batchd.db.*move it aside'),
        ('the schema of a newer batchd', 'state', '/batchd.db', lambda p: schema(p, 999), r'has schema 999, this batchd \([0-9.]+\) knows schemas up to \d+'),
        ('a table that is gone', 'state', '/batchd.db', without('ALTER TABLE claim RENAME TO kept', 'ALTER TABLE kept RENAME TO claim'),
         "batchd.db' is damaged .*table 'claim' is missing.*put back a copy"),
        ('a column that is gone', 'state', '/batchd.db',
         without('ALTER TABLE todo RENAME COLUMN tags TO kept', 'ALTER TABLE todo RENAME COLUMN kept TO tags'),
         "batchd.db' is damaged .*column 'tags' of table 'todo' is missing.*put back a copy"),
        ('an index that is gone', 'state', '/batchd.db',
         without('DROP INDEX run_project', 'CREATE INDEX run_project ON run(project, run)'),
         "batchd.db' is damaged .*index 'run_project' is missing.*put back a copy"),
        ('a link in the place of the lock', 'state', '/lock', elsewhere, "/lock': Too many levels"),
        ('a state folder of somebody else', 'state', '', given_away, 'belongs to uid 12345: name one of your own'),
        ('a state folder that all can write to', 'state', '', open_to_all, 'everyone can write to .*chmod'),
        ('a state folder that another group can write to', 'state', '', open_to_a_group, 'group 12345 can write to .*chmod g-w'),
        ('a runtime folder of somebody else', 'runtime', '', given_away, 'belongs to uid 12345: name a socket in a folder of your own'),
        ('a runtime folder that is open to all', 'runtime', '', open_to_all, 'is open to others .*chmod 700'),
    )
    def to_start_with(self, which, name, spoil, says):
        b = self.box
        path = (b.state if which == 'state' else os.path.dirname(b.socket)) + name
        if spoil in (given_away, open_to_a_group) and os.getuid() != 0:
            self.skipTest('only root can give a folder away')
        self.begin()
        b.kill_daemon()
        db = b.state + '/batchd.db'
        with contextlib.closing(sqlite3.connect(db)) as d:      # all that is stored is in the one file
            d.execute('PRAGMA wal_checkpoint(TRUNCATE)')
        mend = spoil(path)
        with open(db, 'rb') as f:
            before = f.read()
        for argv in ([BATCHD, '--foreground'], [BATCHCTL, 'status']):
            p = subprocess.run(argv, env=b.env(BATCHD_SOCKET=b.socket), cwd=b.work, capture_output=True, text=True, stdin=subprocess.DEVNULL)
            self.assertIn(p.returncode, (1, 125), p)
            self.assertRegex(p.stderr, says)
        with open(db, 'rb') as f:
            self.assertTrue(f.read() == before, 'the database was written to')
        self.let_go()
        mend()
        b.start()
        self.all_well(restart=False)


def foreign(path):
    """Somebody else's, and closed to us."""
    before = os.lstat(path)
    os.chown(path, 12345, 12345)
    os.chmod(path, 0o700 if os.path.isdir(path) else 0o600)
    return lambda: os.chown(path, before.st_uid, before.st_gid)


def read_only(path):
    mode = os.stat(path).st_mode & 0o777
    os.chmod(path, 0o500 if os.path.isdir(path) else 0o400)
    return lambda: os.chmod(path, mode)


def instead(make):
    def spoil(path):
        os.rename(path, path + '.kept')
        make(path)
        of = os.stat(os.path.dirname(path))
        os.chown(path, of.st_uid, of.st_gid)

        def back():
            (os.rmdir if os.path.isdir(path) else os.unlink)(path)
            os.rename(path + '.kept', path)
        return back
    return spoil


a_folder, a_fifo, a_file = instead(os.mkdir), instead(os.mkfifo), instead(lambda path: open(path, 'w').close())
LOOK = 'look at its owner and mode, and what stands in its place'


@expand
class Ordinary(Scene):
    """Files of ours that an ordinary user may not use: batchd and `doctor` name the file, the reason and the mend."""

    def scene(self, name):
        b = self.box
        self.under, why_not = ordinary(b)
        if why_not:
            self.skipTest(why_not)
        self.begin(under=self.under)
        until(lambda: b.output(self.first, 1), 'its output, and so the files of it')
        b.kill_daemon()
        with contextlib.closing(sqlite3.connect(b.state + '/batchd.db')) as d:
            d.execute('PRAGMA wal_checkpoint(TRUNCATE)')
        for folder, _, files in os.walk(b.state):       # also what we have just made
            for f in files:
                os.chown(os.path.join(folder, f), os.stat(b.state).st_uid, os.stat(b.state).st_gid)
        runtime = os.path.dirname(b.socket)
        return {'socket': b.socket, 'runtime': runtime, 'state': b.state}.get(name, b.state + '/' + name)

    def program(self, *argv):
        return subprocess.run([*self.under, *argv], env=self.box.env(BATCHD_SOCKET=self.box.socket), cwd=self.box.work,
                              capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def doctor_names(self, path):
        said = self.program(BATCHCTL, '--json', 'doctor')
        found = [f for f in json.loads(said.stdout)['checks'] if f['state'] == 'problem' and path in f['text']]
        self.assertTrue(found, said.stdout)
        for f in found:
            self.assertTrue(f['mend'])

    def go_on(self, mend):
        mend()
        self.box.daemon = None
        self.box.start(under=self.under)
        self.let_go()
        self.all_well(restart=False)

    @rows(*[(sentence % what, path, how, says) for what, path in (('lock', 'lock'), ('database', 'batchd.db'), ('folder of runs', 'runs'))
            for sentence, how, says in (("somebody else's %s", foreign, 'Permission denied: ' + LOOK),
                                        ('a file in the place of the %s', a_file, None),
                                        ('a folder in the place of the %s', a_folder, 'Is a directory: ' + LOOK),
                                        ('a read-only %s', read_only, 'Permission denied: ' + LOOK))
            if not (path == 'runs' and how in (a_folder, read_only)) and not (path != 'runs' and how is a_file)],
          ("somebody else's write-ahead log", 'batchd.db-wal', foreign, 'unable to open database file.*' + LOOK),
          ('a file in the place of the socket', 'socket', a_file, 'Socket operation on non-socket: ' + LOOK),
          ('a folder in the place of the socket', 'socket', a_folder, 'Socket operation on non-socket: ' + LOOK),
          ('a link in the place of the socket', 'socket', elsewhere, '(Socket operation on non-socket|Permission denied): ' + LOOK),
          ("somebody else's runtime folder", 'runtime', foreign, 'belongs to uid 12345: name'),
          ('a read-only runtime folder', 'runtime', read_only, 'Permission denied: ' + LOOK),
          ("somebody else's state folder", 'state', foreign, 'belongs to uid 12345: name'))
    def refused(self, name, how, says):
        path = self.scene(name)
        if name == 'batchd.db-wal':
            open(path, 'a').close()
            os.chown(path, os.stat(self.box.state).st_uid, os.stat(self.box.state).st_gid)
        if how is foreign and os.getuid() != 0:
            self.skipTest('only root can give a file away')
        mend = how(path)
        for argv in ([BATCHD, '--foreground'], [BATCHCTL, 'status']):
            p = self.program(*argv)
            self.assertIn(p.returncode, (1, 125), p)
            self.assertIn(os.path.dirname(path) if name == 'batchd.db-wal' else path, p.stderr)
            unseen = argv[0] == BATCHCTL and name == 'runtime' and how is foreign     # who cannot look into it does not know why
            self.assertRegex(p.stderr, 'cannot connect to .*: Permission denied: ' + LOOK if unseen else says or 'Not a directory: ' + LOOK)
        self.doctor_names(path)
        self.go_on(mend)

    @rows(*[('%s %s' % (what, name), name, how) for name in ('1.log', '1.idx')
            for what, how in (("somebody else's", foreign), ('a link in the place of', elsewhere), ('a folder in the place of', a_folder), ('a fifo in the place of', a_fifo))])
    def of_a_run(self, name, how):
        # The op that runs waits with its output until that is mended; all else goes on.
        b = self.box
        path = self.scene('runs/' + name)
        if how is foreign and os.getuid() != 0:
            self.skipTest('only root can give a file away')
        mend = how(path)
        b.start(under=self.under)
        for _ in range(2):
            with self.assertRaisesRegex(RpcError, 'cannot read the output of op %d.1: ' % self.first):
                b.call('run.output', run=self.first, op=1)
        self.assertIsNone(self.try_submit('meanwhile'))
        b.wait(self.taken['meanwhile'])
        with open(self.gate, 'w') as f:
            f.write('\n')
        until(lambda: [t for t in b.call('daemon.status')['troubles'] if 'cannot write output of run %d' % self.first in t], 'a word about it')
        self.doctor_names(path)
        self.quiet()
        mend()
        until(lambda: not alive(self.pid), 'the end of the op')
        self.start_again = lambda: (b.kill_daemon(), b.start(under=self.under))
        self.all_well()

    def test_a_read_only_state_folder(self):
        # What is there can be written to: only files of new runs cannot be made.
        b = self.box
        path = self.scene('state')
        runs = path + '/runs'
        mend = read_only(runs)
        b.start(under=self.under)
        said = self.try_submit('meanwhile')
        self.assertRegex(said or 'it was accepted', "'%s': Permission denied: " % runs + LOOK)
        self.doctor_names(runs)
        self.let_go()
        self.quiet()
        mend()
        self.start_again = lambda: (b.kill_daemon(), b.start(under=self.under))
        self.all_well()


# --- files of a run that go ------------------------------------------------------------------------------------------

def removed(path):
    os.unlink(path)


def cut(path):
    os.truncate(path, os.path.getsize(path) // 2)


def emptied(path):
    os.truncate(path, 0)


@expand
class Logs(Scene):
    @rows(*[('its %s is %s while it %s' % (suffix, how.__name__, 'runs' if running else 'is looked at later'), suffix, how, running)
            for suffix in ('log', 'idx') for how in (removed, cut, emptied) for running in (True, False)])
    def of_a_run(self, suffix, how, running):
        # What is gone is said to be gone; the run's state, other runs and the daemon are as if nothing was.
        b = self.box
        b.start()
        gate = b.fifo('gate')
        run = b.submit(batch([bash('seq 1000; touch began; read x < gate; seq 1001 2000', id='a'), bash('echo other', id='b')]))
        whole = b''.join(b'%d\n' % i for i in range(1, 2001))
        path = '%s/runs/%d.%s' % (b.state, run, suffix)

        def go_on():
            with open(gate, 'w') as f:
                f.write('\n')
            b.wait(run)
        until(lambda: b.exists('began') and os.path.exists(path) and b.get(run)['ops'][1]['state'] == 'succeeded', 'output')
        if running:
            how(path)
            go_on()
        else:
            go_on()
            how(path)
        self.match({'state': 'succeeded', 'ops': [{'stdout_bytes': len(whole)}, {'stdout_bytes': 6}]}, b.get(run))
        for op, bytes_ in ((1, whole), (2, b'other\n')):
            for _ in range(2):
                try:
                    if b.call('run.output', run=run, op=op)['dropped'] > 0:
                        continue        # it says how many are missing
                    data = b.output(run, op)
                    self.assertTrue(data == bytes_, 'op %d: %d bytes, and no word that some are gone' % (op, len(data)))
                except RpcError as e:
                    self.assertIn(e.symbol, ('E_NOT_FOUND', 'E_STORAGE'), e.text)
                    self.assertRegex(e.text, 'output of (run|op) %d.*(no longer there|damaged)' % run)
        b.restart()
        self.match({'state': 'succeeded'}, b.run(batch([bash('echo again')])))
        self.match({'state': 'succeeded'}, b.get(run))


def scribbled(path):
    with open(path, 'r+b') as f:
        f.write(b'garbage' * 9)


@expand
class Runs(Case):
    """The folder of runs' files, and its files, in the hands of somebody."""
    daemon = False

    def stop(self):
        """In order: all that is stored is in the one file."""
        self.box.disconnect()
        self.box.daemon.terminate()
        self.assertEqual(self.box.daemon.wait(PATIENCE), 0)

    def test_the_folder_is_removed_under_a_daemon(self):
        # It is made again, and what is printed from then on is kept.
        b = self.box
        b.start()
        gate = b.fifo('gate')
        run = b.submit(batch([bash('touch began; read x < gate; echo late; exit 4', ok_exits=[4])]))
        until(lambda: b.exists('began'), 'the op')
        shutil.rmtree(b.state + '/runs')
        after = b.submit(batch([bash('echo new')]))
        b.wait(after)
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        self.assertEqual(stat.S_IMODE(os.stat(b.state + '/runs').st_mode), 0o700)
        for _ in range(2):
            self.match({'state': 'succeeded'}, b.get(after))
            self.match({'state': 'succeeded', 'ops': [{'exit': 4}]}, b.get(run))
            self.assertEqual((b.output(run, 1), b.output(after, 1)), (b'late\n', b'new\n'))
            b.restart()

    def test_the_folder_is_removed_while_an_op_is_silent(self):
        # No submit comes between: the op's first byte makes it.
        b = self.box
        b.start()
        gate = b.fifo('gate')
        run = b.submit(batch([bash('touch began; read x < gate; echo late')]))
        until(lambda: b.exists('began'), 'the op')
        shutil.rmtree(b.state + '/runs')
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        self.match({'state': 'succeeded'}, b.get(run))
        self.assertEqual(b.output(run, 1), b'late\n')

    @rows(('missing', os.unlink, 'is missing'), ('empty', lambda path: os.truncate(path, 0), 'is empty'))
    def a_database_that_is(self, spoil, says):
        # Not a first start: its numbers would be given out again.
        b = self.box
        b.start()
        b.run(batch([bash('echo one')]))
        held = b.submit(batch([bash('true')]), held=True)
        self.stop()
        db, kept = b.state + '/batchd.db', b.path('kept')
        shutil.copy(db, kept)
        spoil(db)
        p = subprocess.run([BATCHD, '--foreground'], env=b.env(BATCHD_SOCKET=b.socket), cwd=b.work, capture_output=True, text=True,
                           stdin=subprocess.DEVNULL)
        self.assertEqual(p.returncode, 1, p)
        self.assertRegex(p.stderr, "batchd.db' %s, but '.*/runs' holds files of runs up to %d: put .* back from a copy, or move '.*' away"
                         % (says, held))
        self.assertEqual(sorted(n for n in os.listdir(b.state + '/runs')), ['1.idx', '1.log', '2.env'], 'nothing is touched')
        shutil.copy(kept, db)
        b.start()
        self.assertEqual(b.submit(batch([bash('true')])), held + 1)

    @rows(('cut', lambda path: os.truncate(path, 5)), ('scribbled over', scribbled),
          ('one byte longer', lambda path: os.truncate(path, os.path.getsize(path) + 1)))
    def an_environment_that_is(self, spoil):
        # No command runs with what is left of it.
        b = self.box
        b.start()
        env = {'PATH': '/usr/bin:/bin', 'KEEP': 'safe'}
        run, other = [b.submit(batch([bash('echo "$KEEP" >> ran'), write('made', 'x')]), env_base=env, held=True) for _ in range(2)]
        b.kill_daemon()
        spoil('%s/runs/%d.env' % (b.state, run))
        b.start()
        for r in (run, other):
            b.call('run.resume', run=r)
            b.wait(r)
        self.match({'state': 'failed', 'ops': [{'state': 'failed', 'cause': 'start', 'exit': None}, {'state': 'succeeded'}]}, b.get(run))
        self.assertRegex(b.get(run)['ops'][0]['error'], r"environment in '.*/runs/%d\.env' is damaged: submit it again" % run)
        self.match({'state': 'succeeded'}, b.get(other))
        self.assertEqual(b.text('ran'), 'safe\n')

    @rows(('scribbled over', 'idx', scribbled, r"damaged: '.*\.idx' is not as batchd writes it; put it back from a copy, or move"),
          ('cut', 'idx', cut, r"damaged: '.*\.idx' or its \.log was cut"),
          ('removed', 'idx', os.unlink, r"damaged: '.*\.idx' is missing"),
          ('cut', 'log', cut, 'damaged from byte 5 on'),
          ('removed', 'log', os.unlink, r"damaged: '.*\.log' is missing"))
    def its_output(self, suffix, spoil, says):
        b = self.box
        b.start()
        run = b.run(batch([bash('echo 123456789')]))['run']
        b.restart()
        spoil('%s/runs/%d.%s' % (b.state, run, suffix))
        with self.assertRaisesRegex(RpcError, says):
            b.output(run, 1)

    def test_a_write_that_was_cut_off(self):
        # A write that is not done again says what is known of it.
        b = self.box
        b.start()
        run = b.submit(batch([write('kept', 'x' * 10, append=True, mode='600')]), held=True)
        b.kill_daemon()
        with contextlib.closing(sqlite3.connect(b.state + '/batchd.db', isolation_level=None)) as db:     # it was claimed
            db.execute('UPDATE run SET state = 1, started = created WHERE run = ?', (run,))
            db.execute('INSERT OR REPLACE INTO claim VALUES(?, ?)', (run, struct.pack('=I', 1)))
        b.start()
        b.wait(run)
        self.match({'state': 'interrupted', 'ops': [{'state': 'interrupted', 'cause': 'lost'}]}, b.get(run))
        self.assertRegex(b.get(run)['ops'][0]['error'], "batchd ended while it may have been under way: look whether '%s' has its content"
                         % b.path('kept'))
        b.restart()
        self.assertIn('look whether', b.get(run)['ops'][0]['error'])


del Scene
