"""`batchctl top` on a pseudo-terminal, seen through a small terminal of our own: what stands on the screen, and how it is left."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
import unittest

from harness import BATCHCTL, PATIENCE, Case, bash, batch, until

WAIT = 'until [ -e go ]; do sleep 0.05; done'
SEQUENCE = re.compile(r'\x1b\[([?0-9;]*)([A-Za-z])')


class Screen:
    """As much of a terminal as top uses: two screens, a cursor, clearing, wrapping. Anything else is an error."""

    def __init__(self, rows, cols):
        self.main, self.alternate, self.cursor = [], False, True
        self.resize(rows, cols)

    def resize(self, rows, cols):
        self.rows, self.cols = rows, cols
        self.clear()

    def clear(self):
        self.lines, self.x, self.y = [''] * self.rows, 0, 0

    def put(self, c):
        if self.x == self.cols:
            assert self.cursor, 'a line of top is wider than the screen: %r' % self.lines[self.y]
            self.x = 0
            self.feed('\n')
        line = self.lines[self.y].ljust(self.x)
        self.lines[self.y] = line[:self.x] + c + line[self.x + 1:]
        self.x += 1

    def feed(self, text):
        """Takes the text; what is left is the beginning of a sequence."""
        at = 0
        while at < len(text):
            c = text[at]
            if c == '\x1b':
                m = SEQUENCE.match(text, at)
                if not m:
                    assert re.fullmatch(r'\x1b(\[[?0-9;]*)?', text[at:]), repr(text[at:at + 20])
                    return text[at:]
                self.control(m.group(1), m.group(2))
                at = m.end()
                continue
            at += 1
            if not self.alternate:
                self.main.append(c)
            elif c == '\r':
                self.x = 0
            elif c == '\n':
                if self.y == self.rows - 1:
                    self.lines = self.lines[1:] + ['']
                self.y = min(self.y + 1, self.rows - 1)
            elif c >= ' ':
                self.put(c)
        return ''

    def control(self, args, letter):
        if (args, letter) in (('?1049', 'h'), ('?1049', 'l')):
            self.alternate = letter == 'h'
            self.clear()
        elif args == '?25':
            self.cursor = letter == 'h'
        elif letter == 'H':
            self.x = self.y = 0
        elif letter == 'K':
            self.lines[self.y] = self.lines[self.y][:self.x]
        elif letter == 'J':
            first = 0 if args == '2' else self.y + 1
            self.lines[first:] = [''] * (self.rows - first)
            if args != '2':
                self.lines[self.y] = self.lines[self.y][:self.x]
        elif letter == 'A':
            self.y = max(self.y - int(args or 1), 0)
        elif letter == 'C':
            self.x = min(self.x + int(args or 1), self.cols - 1)
        else:
            assert letter == 'm', (args, letter)


class Top:
    def __init__(self, box, *args, rows=24, cols=80):
        self.master, self.slave = pty.openpty()
        self.screen, self.rest = Screen(rows, cols), ''
        self.size(rows, cols)
        self.found = termios.tcgetattr(self.slave)
        env = box.env(BATCHD_SOCKET=box.socket, TERM='xterm')
        self.process = subprocess.Popen([BATCHCTL, 'top', *args], stdin=self.slave, stdout=self.slave, stderr=self.slave, env=env, cwd=box.work,
                                        start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))

    def size(self, rows, cols):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack('HHHH', rows, cols, 0, 0))

    def read(self, seconds):
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        self.rest = self.screen.feed(self.rest + os.read(self.master, 65536).decode('utf-8', 'replace'))
        return True

    def text(self):
        return '\n'.join(self.screen.lines)

    def until(self, condition, what):
        """Reads until the condition holds for what is on the screen."""
        end = time.monotonic() + PATIENCE
        while not condition(self.text()):
            if time.monotonic() > end:
                raise AssertionError('%s did not come:\n%s\n%s' % (what, self.text(), ''.join(self.screen.main)))
            self.read(0.1)
        return self.text()

    def shows(self, *words):
        return self.until(lambda t: all(w in t for w in words), words)

    def type(self, keys):
        os.write(self.master, keys.encode())
        return self

    def ended(self):
        """Its exit status, with the terminal as it was found."""
        def over():
            self.read(0.01)
            return self.process.poll() is not None
        until(over, 'the end of top')
        while self.read(0):
            pass
        assert not self.screen.alternate and self.screen.cursor, 'the screen is as it was'
        assert termios.tcgetattr(self.slave) == self.found, 'the terminal is as it was'
        return self.process.returncode

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


class Tops(Case):
    def top(self, *args, **keys):
        t = Top(self.box, *args, **keys)
        self.addCleanup(t.close)
        return t

    def running(self, *more, **keys):
        run = self.box.submit(batch([bash(WAIT, id='wait'), *more]), **keys)
        until(lambda: self.box.call('run.get', run=run)['ops'][0]['state'] == 'running', 'the op at work')
        return run

    def row(self, text, run):
        return next((line for line in text.split('\n') if re.match('[> ] +%d  ' % run, line)), '')

    def row_says(self, t, run, *words):
        return t.until(lambda text: all(w in self.row(text, run) for w in words), (run, words))

    def state(self, run):
        return self.box.call('run.get', run=run, ops='none')['state']

    def test_live(self):
        """What is submitted, runs and ends appears without a key or a question."""
        t = self.top()
        t.shows('no runs yet', 'q quit')
        run = self.running(bash('exit 3', id='bad'), name='mine')
        self.row_says(t, run, 'mine', 'running', '1/2')
        t.shows('✗ bad', '1 of 1 run', 'wait  until')
        self.box.put('go')
        self.row_says(t, run, 'failed', '2/2')
        self.assertEqual(t.type('q').ended(), 0)

    def test_it_does_not_poll(self):
        """At rest it wakes for nothing: no question, not even a clock."""
        self.box.wait(self.box.submit(batch([bash('true')])))
        t = self.top()
        t.shows('succeeded')

        def ticks():
            with open('/proc/%d/status' % t.process.pid) as f:
                return sum(int(line.split()[1]) for line in f if 'ctxt_switches' in line)

        # Settled when it has not woken over a while that holds many clock ticks of a view that polls.
        end, last, since = time.monotonic() + PATIENCE, ticks(), time.monotonic()
        while time.monotonic() - since < 3:
            self.assertLess(time.monotonic(), end, 'it goes on waking')
            t.read(0.2)
            if ticks() != last:
                last, since = ticks(), time.monotonic()
        t.type('q').ended()

    def test_keys_select(self):
        runs = [self.box.submit(batch([bash('true')]), name='r%d' % i) for i in range(3)]
        for run in runs:
            self.box.wait(run)
        t = self.top()
        t.shows('r0', 'r1', '> %5d' % runs[2])
        for keys, run in (('j', 1), ('\x1b[B', 0), ('j', 0), ('k', 1), ('\x1bOA', 2), ('G', 0), ('g', 2), ('\x1b[200~', 2)):
            t.type(keys).shows('> %5d' % runs[run], 'run %d ' % runs[run])
        t.type('q').ended()

    def test_cancel_asks(self):
        run = self.running()
        t = self.top()
        t.shows('running')
        t.type('c').shows('cancel run %d? y/n' % run)
        t.type('n').shows('q quit')
        self.assertEqual(self.state(run), 'running')
        t.type('c').shows('y/n')
        t.type('y')
        self.row_says(t, run, 'cancelled')
        t.shows('cancelled run %d' % run)
        t.type('q').ended()

    def test_pause_and_retry(self):
        run = self.running(bash('exit 3', id='bad'))
        t = self.top()
        self.row_says(t, run, 'running', '1/2')
        t.type('p')
        self.row_says(t, run, 'paused')
        t.type('p')
        self.row_says(t, run, 'running')
        self.box.put('go')
        self.row_says(t, run, 'failed')
        t.type('r').shows('run again what failed of run %d? y/n' % run)
        t.type('y')
        self.row_says(t, run + 1, 'failed')
        self.assertEqual(self.box.call('run.get', run=run + 1)['origin'], run)
        t.type('q').ended()

    def test_follow_and_back(self):
        run = self.box.submit(batch([bash('echo some output; %s; echo more' % WAIT, id='wait')]))
        t = self.top()
        self.row_says(t, run, 'running')
        t.type('f').shows('some output')
        self.box.put('go')
        t.shows('more', 'press Enter')
        t.type('\n')
        self.row_says(t, run, 'succeeded')
        t.type('e').shows('it ended well', 'press Enter')
        t.type('\n').shows('q quit')
        t.type('e').shows('it ended well', 'press Enter')
        t.type('jq').shows('q quit')  # back from there, not the end
        self.assertEqual(t.type('q').ended(), 0)

    def test_interrupting_follow_comes_back(self):
        run = self.running()
        t = self.top()
        t.shows('running')
        t.type('f').until(lambda text: 'q quit' not in text and 'run %d ' % run in text, 'the other screen')
        time.sleep(0.3)     # its first lines come before it heeds ^C
        t.type('\x03').shows('run %d goes on' % run, 'press Enter')
        t.type('\n').shows('q quit')
        self.assertEqual(self.state(run), 'running')
        t.type('q').ended()
        self.box.put('go')
        self.box.wait(run)

    def test_every_end_leaves_the_terminal(self):
        run = self.running()
        for name, end, status in (('^C', lambda t: t.type('\x03'), 130),
                                  ('TERM', lambda t: t.process.send_signal(signal.SIGTERM), 143),
                                  ('HUP', lambda t: t.process.send_signal(signal.SIGHUP), 129)):
            with self.subTest(name):
                t = self.top()
                t.shows('running', 'q quit')
                end(t)
                self.assertEqual(t.ended(), status)
                self.assertIn('the runs go on: `batchctl top` comes back to them', ''.join(t.screen.main))
        with self.subTest('TERM while it follows'):
            t = self.top()
            t.shows('running', 'q quit')
            t.type('f').until(lambda text: 'q quit' not in text and 'run %d ' % run in text, 'the other screen')
            t.process.send_signal(signal.SIGTERM)
            self.assertEqual(t.ended(), 143)
        self.assertEqual(self.state(run), 'running')
        self.box.put('go')
        self.box.wait(run)

    def test_stop_and_go_on(self):
        t = self.top()
        t.shows('q quit')
        t.type('\x1a')
        until(lambda: os.waitpid(t.process.pid, os.WUNTRACED | os.WNOHANG)[0] == t.process.pid, 'that it stops')
        while t.read(0.05):
            pass
        self.assertFalse(t.screen.alternate)
        self.assertEqual(termios.tcgetattr(t.slave), t.found)
        t.process.send_signal(signal.SIGCONT)
        t.until(lambda text: t.screen.alternate and 'q quit' in text, 'that it goes on')
        self.assertEqual(t.type('q').ended(), 0)

    def test_the_daemon_goes_and_comes(self):
        run = self.running()
        t = self.top()
        t.shows('running')
        self.box.kill_daemon()
        t.shows('batchd went away')
        self.box.start()
        t.shows('q quit')
        self.box.put('go')
        self.row_says(t, run, 'succeeded')
        self.box.kill_daemon()
        t.shows('batchd went away')
        self.assertEqual(t.type('q').ended(), 0)
        self.box.start()

    def test_sizes(self):
        nameless = self.box.submit(batch([bash('echo früh; true'), bash('false')]))
        self.box.wait(nameless)
        run = self.running(name='n' * 100)
        t = self.top(rows=8, cols=40)
        t.shows('running', 'RUN')
        for rows, cols in ((24, 80), (50, 200), (3, 20), (1, 10), (24, 80)):
            while t.read(0):
                pass
            t.screen.resize(rows, cols)
            t.size(rows, cols)
            t.shows('batchctl'[:cols - 2])
            self.assertIsNone(t.process.poll())
        self.row_says(t, run, 'running')
        self.row_says(t, nameless, ' echo früh; true  ', ' failed ')
        t.type('q').ended()
        self.box.put('go')
        self.box.wait(run)

    def test_other_projects(self):
        os.makedirs(os.path.join(self.box.dir, 'other', '.batchd'))
        other = self.box.submit(batch([bash('true')]), cwd=os.path.join(self.box.dir, 'other'), name='theirs')
        mine = self.box.submit(batch([bash('true')]), name='mine')
        self.box.wait(other)
        self.box.wait(mine)
        t = self.top()
        self.assertNotIn('theirs', self.row_says(t, mine, 'succeeded'))
        t.type('q').ended()
        t = self.top('--everywhere')
        self.row_says(t, other, 'theirs')
        t.type('q').ended()

    def test_without_a_terminal(self):
        done = self.box.ctl('top', check=2)
        self.assertEqual((done.out, done.errors.count('\n')), (b'', 1))
        self.assertIn('needs a terminal', done.errors)


if __name__ == '__main__':
    unittest.main()
