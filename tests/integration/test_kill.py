"""
Killed at every step: SIGKILL lands on batchd, on batchd-spawner or on both, as one enters its Nth system call of a kind, for N = 1, 2, 3, ...
until the workload comes through without being hit; strace delivers it. After each the daemon is started again, what was not answered
is sent again under the same key, and the history is checked.

The steps double by default; BATCHD_TEST_LONG=1 takes every single one (an hour).
"""
import contextlib
import os
import signal
import subprocess
import unittest

from harness import BATCHD, LONG, NO_LEAKS, SPAWNER, Case, Closed, RpcError, alive, descendants, expand, process_name, rows, strace_works, until
from history import History

RUNS = 2            # batches of a round
STEPS_MAX = 2000


def next_step(n):
    return n + 1 if LONG else 2 * n


@unittest.skipUnless(strace_works(), 'strace is not installed, or may not trace here')
@expand
class Killed(Case):
    daemon = False

    def start_traced(self, program, syscall, n):
        """The two programs by hand, one of them under strace."""
        b = self.box
        os.makedirs(os.path.dirname(b.socket), 0o700, exist_ok=True)
        trace = ['strace', '-qq', '-f', '-o', '/dev/null', '-e', 'trace=' + syscall, '-e', 'inject=%s:signal=KILL:when=%d' % (syscall, n)]
        spawner = [SPAWNER, '--socket', b.socket + '.spawner']
        daemon = [BATCHD, '--foreground', '--socket', b.socket, '--state-dir', b.state]
        if program == 'spawner':        # its children are not followed: strace without -f
            trace.remove('-f')
        with open(b.log, 'ab') as log:
            def go(argv):
                return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=b.env(**NO_LEAKS), cwd=b.dir)
            self.spawner = go((trace if program == 'spawner' else []) + spawner)
            until(lambda: os.path.exists(b.socket + '.spawner') or self.spawner.poll() is not None, 'the spawner')
            self.daemon_process = go((trace if program == 'batchd' else []) + daemon)

    def work(self, history, first):
        """Submits and waits; False when a connection ended under it."""
        b = self.box
        try:
            until(lambda: self.daemon_process.poll() is not None or b.answers(), 'batchd')
            with b.connect() as r:
                for n in range(first, first + RUNS):
                    run = history.submit(n, r)
                for run in sorted(history.acked):
                    ended = r.call('run.wait', {'run': run, 'timeout_ms': 20000}, timeout=30)
                    self.assertFalse(ended['timed_out'], self.box.get(run))
            return True
        except (OSError, Closed, RpcError, TimeoutError):
            return False

    def hit(self):
        """Was the traced program hit?"""
        return any(p.poll() is not None and p.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
                   for p in (self.daemon_process, self.spawner))

    def end(self, names):
        """What is left of the round's programs ends by its pid: batchd as at a crash, the spawner by itself where it is not named."""
        b = self.box
        b.disconnect()
        # strace may end before the last thread of the one it hit.
        programs = [self.daemon_process.pid] + [p for p in descendants(os.getpid()) if process_name(p) in names]
        for pid in programs:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.daemon_process.wait()
        for pid in programs:
            until(lambda: not alive(pid), 'the end of batchd')

    @rows(
        *[('batchd, as it enters %s' % s, 'batchd', s) for s in
          ('pwrite64', 'fdatasync', 'pipe2', 'sendmsg', 'recvmsg', 'splice', 'ftruncate', 'rename', 'unlink', 'accept4', 'epoll_wait')],
        *[('the spawner, as it enters %s' % s, 'spawner', s) for s in
          ('sendmsg', 'recvmsg', 'clone', 'wait4', 'waitid', 'close', 'epoll_wait')],
        *[('both, as %s enters %s' % ('batchd' if p == 'batchd' else 'the spawner', s), p, s, True)
          for p, s in (('batchd', 'fdatasync'), ('batchd', 'sendmsg'), ('spawner', 'sendmsg'))],
    )
    def at_every(self, program, syscall, both=False):
        history, n, first, rounds = History(self.box), 1, 0, 0
        while n < STEPS_MAX:
            self.start_traced(program, syscall, n)
            through = self.work(history, first)
            hit = self.hit()
            self.end(('batchd', 'batchd-spawner') if both and not through else ('batchd',))
            self.box.start()
            for k in range(first, first + RUNS):
                history.submit(k, self.box.rpc)
            history.settle()
            lost = history.check(both or program == 'spawner', both)
            self.box.stop_quietly()
            rounds += 1
            first += RUNS
            if through and not hit:
                break
            n = next_step(n)
        self.assertLess(n, STEPS_MAX, 'never came through')
        self.assertGreater(rounds, 1, 'it never enters %s' % syscall)
        print('%s at %s: %d rounds, %d steps, %r' % (program, syscall, rounds, n, lost))


if __name__ == '__main__':
    unittest.main()
