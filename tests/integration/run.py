#!/usr/bin/python3
"""
Runs the integration tests: run.py [-j N] [-k WORD]... [--list] [--durations N] [test_FILE.py|FILE...]

Each test runs in one of N worker processes with a limit of its own. A failed test prints its traceback and the daemon's log. The
last line is always `N passed, N failed, N skipped`.
"""
import argparse
import multiprocessing
import os
import resource
import signal
import sys
import time
import traceback
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True
import guard  # noqa: E402
import harness  # noqa: E402

LIMIT = int(60 * harness.SLOW * (60 if harness.LONG else 1))


class Result(unittest.TestResult):
    """The outcome of one test, as a row that can cross a process border."""

    def __init__(self):
        super().__init__()
        self.row = ('passed', '')

    def addSuccess(self, test):
        pass

    def addSkip(self, test, reason):
        self.row = ('skipped', reason)

    def note(self, err):
        self.row = ('failed', ''.join(traceback.format_exception(*err)))

    def addFailure(self, test, err):
        self.note(err)

    def addError(self, test, err):
        self.note(err)

    def addSubTest(self, test, subtest, err):
        if err is not None and self.row[0] != 'failed':
            self.row = ('failed', '%s\n%s' % (subtest, ''.join(traceback.format_exception(*err))))


def flatten(suite):
    for t in suite:
        if isinstance(t, unittest.TestSuite):
            yield from flatten(t)
        else:
            yield t


def load(files):
    loader = unittest.TestLoader()
    return loader, [t for f in files for t in flatten(loader.loadTestsFromName(os.path.basename(f).removesuffix('.py')))]


class Overdue(Exception):
    pass


def overdue(*_):
    raise Overdue('the test took longer than its %d s' % LIMIT)


def cpu_seconds():
    """Of this process and of all it has reaped: a test's daemons and ops among them, for it is a subreaper."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def run_one(name):
    begun, cpu = time.monotonic(), cpu_seconds()
    result = Result()
    signal.signal(signal.SIGALRM, overdue)
    signal.alarm(LIMIT)
    try:
        unittest.TestLoader().loadTestsFromName(name).run(result)
    except Overdue as e:
        result.row = ('failed', str(e))
    finally:
        signal.alarm(0)
    return (name,) + result.row + (time.monotonic() - begun, cpu_seconds() - cpu)


def print_durations(took, count):
    """The slowest: what is much longer than its CPU time is waiting for something."""
    took.sort(reverse=True)
    for seconds, cpu, name in [*took[:count], (sum(t[0] for t in took), sum(t[1] for t in took), 'all')]:
        print('%7.1f s, CPU %6.1f s  %s' % (seconds, cpu, name))


def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[1])
    ap.add_argument('-j', '--jobs', type=int, default=int(os.environ.get('BATCHD_TEST_JOBS', '2')))
    ap.add_argument('-k', action='append', default=[], metavar='WORD', help='only tests whose name holds one of the words')
    ap.add_argument('-l', '--list', action='store_true', help='name the tests and end')
    ap.add_argument('--durations', type=int, default=0, metavar='N', help='name the N slowest, with the CPU time each took')
    ap.add_argument('-q', '--quiet', action='store_true', help='name only what did not pass')
    ap.add_argument('files', nargs='*')
    args = ap.parse_args()
    for ignored in (s for s in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT) if signal.getsignal(s) == signal.SIG_IGN):
        signal.signal(ignored, lambda *_: None)     # by nohup or a shell's &: what is tested is not to inherit that
    files = args.files or sorted(f for f in os.listdir(HERE) if f.startswith('test_') and f.endswith('.py'))
    files = [f if os.path.basename(f).startswith('test_') else 'test_' + f for f in files]
    loader, tests = load(files)
    names = [t.id() for t in tests if not args.k or any(w in t.id() for w in args.k)]
    for e in loader.errors:
        print(e)
    if args.list:
        print('\n'.join(names))
        return 0
    if not os.access(harness.BATCHCTL, os.X_OK):
        print('%s is not built: build first, or set BATCHD_BUILD to the build folder' % harness.BATCHCTL)
        print('0 passed, 1 failed, 0 skipped')
        return 1
    count = {'passed': 0, 'failed': len(loader.errors), 'skipped': 0}
    names = [n for n in names if not n.startswith('unittest.loader')]
    took = []
    with multiprocessing.get_context('fork').Pool(max(1, args.jobs)) as pool:
        for name, outcome, text, seconds, cpu in pool.imap_unordered(run_one, names):
            count[outcome] += 1
            took.append((seconds, cpu, name))
            if outcome == 'failed':
                print('FAILED  %s (%.1f s)\n%s' % (name, seconds, text), flush=True)
            elif outcome == 'skipped':
                print('skipped %s: %s' % (name, text), flush=True)
            elif not args.quiet:
                print('ok      %s (%.1f s)' % (name, seconds), flush=True)
    if args.durations:
        print_durations(took, args.durations)
    print('%(passed)d passed, %(failed)d failed, %(skipped)d skipped' % count)
    return 1 if count['failed'] or not count['passed'] + count['skipped'] else 0


if __name__ == '__main__':
    if guard.GUARDED not in os.environ:
        guard.main([sys.executable, *sys.argv])
    sys.exit(main())
