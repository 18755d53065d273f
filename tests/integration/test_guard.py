"""guard.py: nothing that a test started or made outlives it, whichever of the processes over it is killed."""
import os
import signal
import subprocess
import sys
import unittest

import guard
from harness import Case, alive, expand, proc_stat, rows, until

# A child in a session of its own, as the spawner is, and a test that takes its time.
TEST = 'mkdir -p "$TMPDIR/some" && chmod 500 "$TMPDIR/some"; echo "$TMPDIR" > folder; setsid sh -c "echo \\$\\$ > child; exec sleep 1000" & echo $$ > test; wait; sleep 1000'


@expand
class Guard(Case):
    daemon = False

    def start(self, *argv, **popen):
        env = {k: v for k, v in os.environ.items() if k != guard.GUARDED}
        return subprocess.Popen([sys.executable, guard.__file__, *argv], cwd=self.box.work, env=env, start_new_session=True,
                                stdin=subprocess.DEVNULL, **popen)

    def pid(self, name):
        until(lambda: self.box.exists(name) and self.box.text(name).strip(), 'the pid in %s' % name)
        return int(self.box.text(name))

    @rows(
        ('the test', lambda first, keeper, test: os.kill(test, signal.SIGKILL), -signal.SIGKILL),
        ('the first process', lambda first, keeper, test: os.kill(first, signal.SIGKILL), -signal.SIGKILL),
        ('the keeper', lambda first, keeper, test: os.kill(keeper, signal.SIGKILL), -signal.SIGKILL),
        ('the whole group', lambda first, keeper, test: os.killpg(first, signal.SIGKILL), -signal.SIGKILL),
        ('the whole group, by TERM', lambda first, keeper, test: os.killpg(first, signal.SIGTERM), -signal.SIGTERM),
        ('the first process, by TERM', lambda first, keeper, test: os.kill(first, signal.SIGTERM), -signal.SIGTERM),
    )
    def killed(self, kill, status):
        p = self.start('bash', '-c', TEST)
        child, test = self.pid('child'), self.pid('test')
        keeper = proc_stat(test)[1]
        self.assertEqual(proc_stat(keeper)[1], p.pid)
        kill(p.pid, keeper, test)
        self.assertEqual(p.wait(), status)
        for pid in (child, test, keeper):
            until(lambda: not alive(pid), 'the end of %d' % pid)
        folder = self.box.text('folder').strip()
        self.assertTrue(os.path.basename(folder).startswith('bt-'), folder)
        until(lambda: not os.path.exists(folder), 'the end of %s' % folder)

    @rows(
        ('success', 'exit 0', 0),
        ('a failure', 'exit 3', 3),
        ('a skip', 'exit 77', 77),
        ('a crash', 'kill -SEGV $$', -signal.SIGSEGV),
        ('a child left behind', 'setsid sh -c "echo \\$\\$ > child; exec sleep 1000" & until test -s child; do :; done; exit 4', 4),
    )
    def tells(self, script, status):
        p = self.start('bash', '-c', 'echo "$TMPDIR" > folder; mkdir "$TMPDIR/some"; ' + script)
        self.assertEqual(p.wait(), status)
        self.assertFalse(os.path.exists(self.box.text('folder').strip()))
        if self.box.exists('child'):
            self.assertFalse(alive(self.pid('child')))

    def test_a_program_that_is_not_there(self):
        p = self.start('./nowhere', stderr=subprocess.PIPE)
        self.assertIn(b'nowhere', p.communicate()[1])
        self.assertEqual(p.returncode, 127)


if __name__ == '__main__':
    unittest.main()
