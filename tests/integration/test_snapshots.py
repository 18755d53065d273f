"""
What a reply shows is stored: it is still so after `kill -9`. And what a subscription shows first is what its events go on from.
"""
import contextlib
import itertools
import threading
import time
import unittest

from harness import ENDED, Case, Closed, bash, batch, exec_, until, write
from rpc import PATIENCE

LOOKS = 30      # while others write


class Snapshots(Case):
    def call(self, method, **params):
        return self.box.call(method, params)

    @contextlib.contextmanager
    def busy(self, *workers):
        """Each of `workers` does its work again and again meanwhile, on a connection of its own; whoever raises fails the test."""
        stop, raised = threading.Event(), []

        def work(worker, r):
            try:
                for i in itertools.count(1):
                    if stop.is_set():
                        return
                    worker(r, i)
            except BaseException as e:
                raised.append(e)
        threads = [threading.Thread(target=work, args=(w, self.box.connect())) for w in workers]
        for t in threads:
            t.start()
        try:
            yield raised
        finally:
            stop.set()
            for t in threads:
                t.join()
        self.assertEqual(raised, [])

    @contextlib.contextmanager
    def until_killed(self, *workers):
        """The workers go on until the daemon is killed under them; then the next one serves."""
        def mortal(worker):
            def work(r, i):
                with contextlib.suppress(Closed, OSError):
                    worker(r, i)
            return work
        with self.busy(*map(mortal, workers)):
            yield
            self.box.daemon.kill()
            self.box.daemon.wait()
        self.box.disconnect()
        self.box.daemon = None
        self.box.start()

    def events(self, r, snap):
        """All that came for the subscription, each proved to follow from the one before."""
        r.call('rpc.hello')
        last, events = snap['rev'], [params[-1] for _, params in r.pushes]
        for e in events:
            self.assertEqual((e['sub'], e['prev']), (snap['sub'], last))
            self.assertGreater(e['rev'], last)
            last = e['rev']
        return events

    def subscriptions(self, method, params, *workers):
        """(connection, snapshot) of many that were made while others wrote; their events have come."""
        subs = []
        with self.busy(*workers) as raised:
            while len(subs) < LOOKS and not raised:
                r = self.box.connect()
                subs.append((r, r.call(method, params(r))))
                self.assertEqual(r.pushes, [], 'no event precedes the reply')
                r.receive(time.monotonic() + PATIENCE)
        return subs


class Runs(Snapshots):
    def submit(self, r, b):
        return r.call('batch.submit', batch=dict(b, cwd=self.box.work))['run']

    def replay(self, runs, ops, events):
        """The states that runs and their ops are in after these events: none twice in a row, and none after the end."""
        for e in events:
            known, key = (runs, e['run']) if e['type'] == 'run.state' else (ops, (e['run'], e['op']))
            self.assertNotEqual(known.get(key), e['state'], e)
            self.assertNotIn(known.get(key), ENDED + ('skipped',), e)
            known[key] = e['state']

    def work(self):
        """Runs of all sorts, one after the other."""
        kinds = itertools.cycle([
            batch([exec_('true')] * 3, [write('f', 'x')]),
            batch([bash('exit 3', id='a', retries=2, retry_delay=0), exec_('true', needs=['a'])]),
            batch([exec_('true')], held=True),
            batch([exec_('sleep', '9'), exec_('false')], name='sleepy'),
        ])

        def one(r, i):
            b = next(kinds)
            run = self.submit(r, b)
            if b.get('held'):
                r.call('run.resume', run=run)
            elif b.get('name') == 'sleepy':
                r.call('run.pause', run=run)
                r.call('run.cancel', run=run, now=True)
            r.call('run.wait', run=run)
        return [one, one]

    def states(self, run):
        got = self.call('run.get', run=run)
        return got['state'], {(run, o['index']): o['state'] for o in got['ops']}

    def test_events_of_all_runs_go_on_from_the_snapshot(self):
        for r, snap in self.subscriptions('run.subscribe', lambda r: {}, *self.work()):
            runs, ops = {x['run']: x['state'] for x in snap['runs']}, {}
            self.replay(runs, ops, self.events(r, snap))
            for run in runs:
                state, of = self.states(run)
                self.assertEqual(runs[run], state)
                self.assertEqual({o: s for o, s in ops.items() if o[0] == run}, {o: of[o] for o in ops if o[0] == run})

    def test_so_do_those_of_one(self):
        newest = lambda r: {'run': r.call('run.list', limit=1)['runs'][0]['run']}
        self.box.run(batch([exec_('true')]))
        subs = []
        with self.busy(*self.work()) as raised:
            while len(subs) < 5 * LOOKS and not raised:
                r = self.box.connect()
                subs.append((r, r.call('run.subscribe', newest(r))))
        for r, snap in subs:
            run, events = snap['run'], self.events(r, snap)
            runs, ops = {run: snap['state']}, {(run, o['index']): o['state'] for o in snap['ops']}
            self.replay(runs, ops, events)
            self.assertEqual((runs[run], ops), self.states(run))
            for s in ENDED + ('skipped',):
                self.assertEqual(snap['summary'][s], [o['state'] for o in snap['ops']].count(s))

    def test_what_was_seen_of_runs_is_the_same_after_kill_9(self):
        seen = {}

        def look(r, i):
            for x in r.call('run.list', limit=3)['runs']:
                if x['state'] in ENDED:
                    seen[x['run']] = x
        for life in range(3):
            with self.until_killed(lambda r, i: r.call('run.wait', run=self.submit(r, batch([exec_('true')]))), look, look):
                until(lambda: len(seen) > 5 * (life + 1), 'some ends')
            for run, x in seen.items():
                self.assertEqual({k: v for k, v in self.call('run.get', run=run).items() if k in x}, x)

    def test_what_is_shown_as_ended_can_be_restarted_and_forgotten_at_once(self):
        r = self.box.connect()
        for i in range(LOOKS):
            run = self.submit(r, batch([exec_('sleep', '9')]))
            cancelling = self.box.connect()
            cancelling.request('run.cancel', {'run': run, 'now': True})
            while r.call('run.get', run=run)['state'] not in ENDED:
                pass
            if i % 2:
                self.assertEqual(r.call('run.forget', run=run)['forgotten'], 1)
            else:
                again = r.call('run.restart', run=run)['run']
                r.call('run.cancel', run=again, now=True)
            cancelling.close()


if __name__ == '__main__':
    unittest.main()
