"""
What a reply shows is stored: it is still so after `kill -9`. And what a subscription shows first is what its events go on from.
"""
import contextlib
import itertools
import resource
import threading
import time
import unittest

from harness import ENDED, Case, Closed, RpcError, bash, batch, exec_, until, write
from rpc import PATIENCE

LOOKS = 30      # while others write


def said(x):
    """Without nils."""
    if isinstance(x, dict):
        return {k: said(v) for k, v in x.items() if v is not None}
    return [said(v) for v in x] if isinstance(x, list) else x


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


def writes(list, *ids):
    return [lambda r, i, id=id: r.call('todo.write', list=list, mode='merge', todos=[{'id': id, 'content': '%s%d' % (id, i)}])
            for id in ids]


class Todos(Snapshots):
    def replay(self, snap, events):
        """What the list holds after these events."""
        items, rev = {t['id']: t for t in snap['todos']}, snap['todo_rev']
        for e in events:
            rev += 1
            self.assertEqual(e['todo_rev'], rev)
            for t in e['before']:
                self.assertEqual(items.pop(t['id']), t)
            items.update((t['id'], t) for t in e['after'])
        return rev, sorted(items.values(), key=lambda t: t['position'])

    def now(self, list):
        got = self.call('todo.list', list=list)
        return got['rev'], got['todos']

    def test_events_of_a_list_go_on_from_the_snapshot(self):
        subs = self.subscriptions('todo.subscribe', lambda r: {'list': 'l'}, *writes('l', 'a', 'b'))
        for r, snap in subs:
            self.assertEqual(self.replay(snap, self.events(r, snap)), self.now('l'))

    def test_so_do_those_of_all_lists(self):
        subs = self.subscriptions('todo.subscribe', lambda r: {}, *writes('x', 'a', 'b'), *writes('y', 'a'))
        for r, snap in subs:
            events, lists = self.events(r, snap), {l['list']: l for l in snap['lists']}
            for list in 'xy':
                known = lists.get(list, {'todos': [], 'todo_rev': 0})
                self.assertEqual(self.replay(known, [e for e in events if e['list'] == list]), self.now(list))

    def test_a_history_ends_at_its_revision(self):
        with self.busy(*writes('l', 'a', 'b')):
            for _ in range(LOOKS):
                got = self.call('todo.history', list='l', limit=100000)
                self.assertEqual([e['rev'] for e in got['events']], list(range(1, got['rev'] + 1)))

    def test_a_list_that_was_seen_is_the_same_after_kill_9(self):
        seen, told = {}, {}

        def look(r, i):
            got = r.call('todo.list', list='l')
            seen[got['rev']] = got['todos']
            told.update((l['rev'], l['total']) for l in r.call('todo.lists')['lists'])
        for life in range(3):
            with self.until_killed(*writes('l', 'a%d' % life, 'b'), look, look):
                until(lambda: len(seen) > 20 * (life + 1), 'some revisions')
            for rev, todos in seen.items():
                self.assertEqual(self.call('todo.list', list='l', rev=rev)['todos'], todos, 'revision %d' % rev)
            for rev, total in told.items():
                self.assertEqual(len(self.call('todo.list', list='l', rev=rev)['todos']), total, 'revision %d' % rev)

    def test_a_refusal_that_names_a_revision_holds_after_kill_9(self):
        named = [0]

        def conflict(r, i):
            try:
                r.call('todo.write', list='l', todos=[], base_rev=0)
            except RpcError as e:
                named.append(int(e.text.split('is at revision ')[1].split(',')[0]))
        self.call('todo.write', list='l', todos=[{'id': 'a', 'content': 'a'}])
        for life in range(3):
            with self.until_killed(*writes('l', 'a', 'b'), conflict, conflict):
                until(lambda: len(named) > 50 * (life + 1), 'some refusals')
            self.assertGreaterEqual(self.call('todo.list', list='l')['rev'], max(named))

    def test_what_finds_no_room_is_not_shown(self):
        self.call('todo.write', list='l', todos=[{'id': 'a', 'content': 'a'}])
        self.call('group.set', group='g', slots=3)
        before, groups, pid = self.now('l'), self.call('group.list'), self.box.daemon_pid()
        soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)

        def in_vain(method, **params):
            def work(r, i):
                with self.assertRaises(RpcError) as e:
                    r.call(method, params)
                self.assertEqual(e.exception.symbol, 'E_STORAGE')
            return work

        def shown(method, params=None):
            """Or an error that says why it cannot be."""
            try:
                return r.call(method, params)
            except RpcError as e:
                self.assertEqual((e.symbol, e.caller), ('E_STORAGE', False))
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
        with self.busy(in_vain('todo.update', list='l', id='a', content='b'), in_vain('group.set', group='g', slots=7)):
            r = self.box.connect()
            for _ in range(LOOKS * 10):
                got = shown('todo.list', {'list': 'l'})
                self.assertIn(got and (got['rev'], got['todos']), (before, None))
                got = shown('todo.subscribe', {'list': 'l'})
                self.assertIn(got and (got['todo_rev'], got['todos']), (before, None))
                self.assertIn(shown('group.list'), (groups, None))
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
        self.call('todo.update', list='l', id='a', content='c')
        self.assertEqual(self.now('l')[0], before[0] + 1)


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

    def test_a_connection_is_shown_what_it_has_done(self):
        r = self.box.connect()
        run, held = (self.submit(r, b) for b in (batch([exec_('sleep', '9')]), batch([exec_('true')], held=True)))
        self.box.wait(self.submit(r, batch([exec_('true')])))
        for method, which, state in (('run.pause', run, 'paused'), ('run.resume', run, 'running'), ('run.cancel', held, 'cancelled')):
            ids = [r.request(method, {'run': which}), r.request('run.get', {'run': which}), r.request('run.list')]
            listed = {x['run']: x['state'] for x in r.reply(ids[2])['runs']}
            self.assertEqual([r.reply(n)['state'] for n in ids[:2]] + [listed[which]], [state] * 3)

    def test_who_asks_the_same_again_is_told_what_is(self):
        """Also by answers that are kept: for each way to ask its own, and none of what is gone."""
        run = self.box.run(batch([exec_('true'), exec_('false', id='f')], on_failure='continue'))['run']
        ways = [dict(ops='none'), dict(ops='failed'), dict(offset=2), dict(limit=1), dict(limit=0), {}]
        r, brief = self.box.connect(), self.box.connect()
        brief.call('rpc.hello', omit_nil=True)
        first = [(r.call('run.get', run=run, **w), brief.call('run.get', run=run, **w)) for w in ways]
        for (full, less), w in zip(first, ways):
            self.assertEqual(said(full), less)
            for _ in range(3):
                self.assertEqual((r.call('run.get', run=run, **w), brief.call('run.get', run=run, **w)), (full, less))
        self.assertEqual([[o['index'] for o in full.get('ops', ())] for full, _ in first], [[], [2], [2], [1], [], [1, 2]])
        brief.call('run.forget', run=run)
        for c in (r, brief):
            for w in ways:
                with self.assertRaisesRegex(RpcError, 'E_NOT_FOUND'):
                    c.call('run.get', run=run, **w)

    def test_reads_of_a_run_that_is_forgotten_meanwhile(self):
        """None is answered with the run after one has been told that there is none."""
        for i in range(LOOKS):
            run = self.box.run(batch([exec_('true')]))['run']
            readers = [self.box.connect() for _ in range(3)]
            forget = self.box.connect()
            for r in readers:
                r.call('run.get', run=run)
            asked = [(r, r.request('run.get', {'run': run})) for r in readers]
            forgotten = forget.request('run.forget', {'run': run})
            asked += [(r, r.request('run.get', {'run': run, 'limit': 1})) for r in readers]
            forget.reply(forgotten)
            for r, n in asked:
                with contextlib.suppress(RpcError):
                    r.reply(n)
            for r in readers:
                for w in ({}, {'limit': 1}):
                    with self.assertRaisesRegex(RpcError, 'E_NOT_FOUND'):
                        r.call('run.get', run=run, **w)

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
