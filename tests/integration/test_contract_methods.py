"""Contract section 3, the methods, shapes and events: every method with every param and every key of its result, held to proto/PROTOCOL.md
key by key; the output of an op against an oracle."""
import os
import random
import time
import unittest

from harness import ENDED, PATIENCE, SLOW, Case, bash, batch, exec_, expand, message, rows, todos, together, until
from protocol_doc import Protocol

PROTOCOL = Protocol()


class Methods(Case):
    def setUp(self):
        super().setUp()
        self.call(None, 'rpc.hello', client='test')

    def call(self, keys, method, params=None, form=None, connection=None, **more):
        """The result, which is like PROTOCOL.md says and has the keys that the contract names."""
        params = dict(params or {}, **more)
        result = (connection or self.box.rpc).call(method, params)
        PROTOCOL.check_result(form or method, result)
        if keys is not None:
            self.assertLessEqual(set(keys.split()), set(result))
        return result

    def done(self, b, **keys):
        """A run that has ended."""
        run = self.box.submit(b, **keys)
        self.box.wait(run)
        return run

    def running(self, before=':', command='exec sleep 60', **keys):
        run = self.box.submit(batch([bash('%s; touch up; %s' % (before, command), id='it')]), **keys)
        until(lambda: self.box.exists('up'), 'the op')
        os.unlink(self.box.path('up'))
        return run


def ids(runs):
    return [r['run'] for r in runs]


RUN = 'run name key state cwd project group order order_used origin parent created started ended messages summary'
OP = ('index id message kind text state cause exit signal attempts pid started ended duration_ms stdout_bytes stderr_bytes dropped_bytes lingering '
      'todo error')
ITEM = ('id content status priority active_form description owner blocked_by parent tags at error source meta position rev created started completed '
        'run')


class Results(Methods):
    """Methods (params → result)."""

    def test_rpc_hello(self):
        """`rpc.hello` {client?, protocol?, cwd?, omit_nil?} → {server, version, protocol, limits, capabilities}"""
        r = self.call('server version protocol limits capabilities', 'rpc.hello', client='c', protocol=1, cwd=self.box.work,
                      omit_nil=False)
        self.match({'server': 'batchd', 'protocol': 1}, r)
        self.assertEqual(set(r['capabilities']) | {'daemon.reload'}, set(PROTOCOL.params))
        self.call(None, 'todo.write', todos=[{'id': 'a', 'content': 'A'}])
        self.match({'todos': [{'id': 'a', 'source': 'c'}]}, self.call(None, 'todo.list', cwd=self.box.work))
        self.refused('E_VERSION', 'rpc.hello', {'protocol': 2})

    def test_batch_submit_and_check(self):
        """`batch.submit` {batch} → {run, existing} · `batch.check` {batch} → {plan, warnings}"""
        b = dict(batch([bash('true', id='x'), bash('true')], [todos({'content': 'T'})]), cwd=self.box.work, key='k', jobs=1000)
        self.match({'plan': {'ops': 3, 'messages': [{'index': 1, 'count': 2,
                                                     'ops': [{'index': 1, 'id': 'x', 'kind': 'bash', 'text': 'true'}, {}]}, {}]},
                    'warnings': [lambda w: 'jobs' in w]}, self.call('plan warnings', 'batch.check', batch=b))
        self.assertEqual(self.call(None, 'run.list')['runs'], [], 'nothing was accepted')
        self.match({'run': 1, 'existing': False, 'warnings': [lambda w: 'jobs' in w]},
                   self.call('run existing', 'batch.submit', batch=b))
        self.match({'run': 1, 'existing': True}, self.call(None, 'batch.submit', batch=b))
        self.refused('E_KEY', 'batch.submit', {'batch': dict(b, jobs=1)}, 'run 1')
        self.call(None, 'batch.submit', batch=dict(b, key='told'), notify=['echo $BATCHD_STATE > ' + self.box.path('told')])
        until(lambda: self.box.exists('told') and self.box.text('told') == 'succeeded\n', 'the notification')

    def test_run_list(self):
        """`run.list` {state?, name?, group?, project?, limit?, before?} → {runs}; newest first, default 100"""
        b = self.box
        other = b.path('other')
        os.makedirs(other + '/.git')
        plain, failed = self.done(batch([exec_('true')])), self.done(batch([exec_('false')]), name='n', group='g')
        elsewhere, held = self.done(batch([exec_('true')]), cwd=other), b.submit(batch([exec_('true')]), held=True, name='n')
        for params, expected in (({}, [held, elsewhere, failed, plain]), ({'state': 'failed'}, [failed]),
                                 ({'state': ['failed', 'paused']}, [held, failed]),
                                 ({'state': 'interrupted'}, []), ({'name': 'n'}, [held, failed]), ({'group': 'g'}, [failed]),
                                 ({'project': other}, [elsewhere]), ({'project': other + '/../' + os.path.basename(other) + '/'}, [elsewhere]),
                                 ({'project': b.work, 'name': 'n', 'state': 'paused'}, [held]),
                                 ({'limit': 2}, [held, elsewhere]), ({'before': failed}, [plain]),
                                 ({'before': held, 'limit': 1}, [elsewhere]), ({'before': 1}, [])):
            r = self.call('runs', 'run.list', params)
            self.assertEqual(ids(r['runs']), expected, params)
            self.assertEqual(r['next'], expected[-1] if 'limit' in params else None)
        self.assertTrue(all('ops' not in r for r in self.call(None, 'run.list')['runs']))
        for _ in range(100):
            b.submit(batch([exec_('true')]), held=True)
        self.assertEqual(len(self.call(None, 'run.list')['runs']), 100)

    def test_run_get(self):
        """`run.get` {run, ops?: all|failed|none, offset?, limit?, output?: bytes} → run; as many ops as fit, `next` = index of the first not sent, or nil"""
        b = self.box
        states = [exec_('true'), bash('exit 3'), bash('echo 0123456789; exit 1'), exec_('true', needs=['f']),
                  bash('false', id='f'), exec_('true')]
        live = b.submit(batch([exec_('true')], [bash('echo on; exec sleep 60')]))
        until(lambda: self.call(None, 'run.get', run=live, output=9)['ops'][1]['out']['head'] == b'on\n', 'its output')
        for run in (self.done(batch(states)), live):
            r = self.call(RUN + ' ops ops_total next', 'run.get', run=run)
            index = [o['index'] for o in r['ops']]
            self.assertEqual((index, r['ops_total'], r['next']), (list(range(1, len(index) + 1)), len(index), None))
            for offset in range(len(index) + 3):
                for limit in range(len(index) + 2):
                    r = self.call(None, 'run.get', run=run, offset=offset, limit=limit, ops='all')
                    want = index[max(offset - 1, 0):]
                    self.assertEqual(([o['index'] for o in r['ops']], r['next']), (want[:limit], (want[limit:] + [None])[0]))
        run = live + 1
        for limit, offset, expected, following in ((9, 1, [2, 3, 5], None), (1, 1, [2], 3), (2, 1, [2, 3], 5),
                                                   (2, 3, [3, 5], None), (1, 4, [5], None), (0, 1, [], 2)):
            r = self.call(None, 'run.get', run=run, ops='failed', limit=limit, offset=offset)
            self.assertEqual(([o['index'] for o in r['ops']], r['next']), (expected, following))
        self.assertNotIn('ops', self.call(None, 'run.get', run=run, ops='none'))
        for n, out in ((0, (b'', b'', 11)), (3, (b'012', b'89\n', 5)), (6, (b'012345', b'6789\n', 0)),
                       (100, (b'0123456789\n', b'', 0))):
            self.match({'ops': [{'out': dict(zip(('head', 'tail', 'dropped'), out))}]},
                       self.call(None, 'run.get', run=run, output=n, offset=3, limit=1))
        self.refused('E_NOT_FOUND', 'run.get', {'run': 99}, '99')

    def test_run_plan_and_explain(self):
        """`run.plan` {run, offset?, limit?} → {run, ops, next} · `run.explain` {run, op} → {run, op, waits}"""
        run = self.box.submit(batch([exec_('true', id='x'), exec_('true', needs=['x'])]), held=True)
        self.match({'run': run, 'ops': [{'index': 1}, {'index': 2}], 'next': None}, self.call('run ops next', 'run.plan', run=run))
        self.match({'ops': [{'index': 1}], 'next': 2}, self.call(None, 'run.plan', run=run, offset=1, limit=1))
        self.match({'run': run, 'op': {'index': 1}, 'waits': [{}]}, self.call('run op waits', 'run.explain', run=run, op='x'))
        self.refused('E_NOT_FOUND', 'run.plan', {'run': 99}, '99')
        self.refused('E_NOT_FOUND', 'run.explain', {'run': run, 'op': 3}, '3')

    def test_run_wait(self):
        """`run.wait` {run | runs, any?, timeout_ms, output?} → run, without ops unless `output` is asked for (or {runs}), `timed_out`"""
        run = self.done(batch([bash('echo x')]))
        self.assertNotIn('ops', self.call(RUN + ' timed_out', 'run.wait', run=run, timeout_ms=100))
        self.match({'ops': [{'out': {'head': b'x\n'}}]}, self.call(None, 'run.wait', run=run, timeout_ms=100, output=10))
        r = self.call('runs timed_out', 'run.wait', runs=[run, run], any=True, timeout_ms=0, output=1, form='run.wait of runs')
        self.match({'timed_out': False, 'runs': [{'run': run, 'ops': [{'out': {'head': b'x', 'tail': b'\n'}}]}] * 2}, r)
        self.call(None, 'run.wait', runs=[run], form='run.wait of runs')

    def test_run_cancel(self):
        """`run.cancel` {run, op?, signal?, grace?, now?} → run (`signal`: sends only that)"""
        b = self.box
        run = self.running("trap 'echo usr1' USR1", 'while :; do sleep .02; done')
        for name in ('USR1', 'SIGUSR1', 'sigusr1', '10'):
            self.match({'state': 'running'}, self.call(RUN, 'run.cancel', run=run, signal=name))
        until(lambda: b.output(run, 1).count(b'usr1') >= 1, 'the signal')
        self.refused('E_PARAMS', 'run.cancel', {'run': run, 'signal': 'NOPE'}, 'NOPE')
        self.refused('E_NOT_FOUND', 'run.cancel', {'run': run, 'op': 'ghost'}, 'ghost')
        self.refused('E_NOT_FOUND', 'run.cancel', {'run': run, 'op': 'ghost', 'signal': 'USR1'}, "no op 'ghost'")
        self.refused('E_PARAMS', 'run.cancel', {'run': run, 'op': 'ghost', 'signal': 'NOPE'}, "no signal 'NOPE'")
        self.refused('E_NOT_FOUND', 'run.cancel', {'run': run, 'op': 7}, '7')
        self.call(RUN, 'run.cancel', run=run, op='it', grace='1s')
        self.match({'state': 'failed', 'ops': [{'state': 'cancelled', 'cause': 'cancel', 'signal': 'SIGTERM'}]},
                   b.wait(run) and b.get(run))
        run = self.running("trap '' TERM", 'while :; do sleep .02; done')
        self.call(RUN, 'run.cancel', run=run, grace=0)
        self.match({'state': 'cancelled', 'ops': [{'signal': 'SIGKILL'}]}, b.wait(run) and b.get(run))
        for now in (False, True):
            run = b.submit(batch([bash('exec sleep 60')], message(exec_('true'), always=True)))
            self.call(RUN, 'run.cancel', run=run, now=now)
            self.match({'state': 'cancelled', 'ops': [{}, {'state': 'cancelled' if now else 'succeeded'}]},
                       b.wait(run) and b.get(run))
        self.refused('E_STATE', 'run.cancel', {'run': run}, 'ended')

    def test_run_pause_and_resume(self):
        """`run.pause` {run, freeze?} (starts nothing new; freeze: also stops what runs) · `run.resume` {run}"""
        b = self.box
        run = b.submit(batch([bash('touch up; read x < %s' % b.fifo('gate'))], [bash('touch second')]))
        until(lambda: b.exists('up'), 'the op')
        pid = self.call(None, 'run.get', run=run)['ops'][0]['pid']
        state = lambda: open('/proc/%d/stat' % pid).read().rpartition(')')[2].split()[0]
        self.match({'state': 'paused'}, self.call(RUN, 'run.pause', run=run, freeze=True))
        until(lambda: state() == 'T', 'the freeze')
        self.match({'state': 'running'}, self.call(RUN, 'run.resume', run=run))
        until(lambda: state() == 'S', 'the thaw')
        self.match({'state': 'paused'}, self.call(RUN, 'run.pause', run=run))
        with open(b.path('gate'), 'w') as f:
            f.write('\n')
        until(lambda: self.call(None, 'run.get', run=run)['ops'][0]['state'] == 'succeeded', 'what runs goes on')
        self.match({'state': 'paused', 'ops': [{}, {'state': lambda s: s in ('waiting', 'ready')}]},
                   self.call(None, 'run.get', run=run))
        self.call(RUN, 'run.resume', run=run)
        self.match({'state': 'succeeded'}, b.wait(run))
        for method in ('run.pause', 'run.resume'):
            self.refused('E_STATE', method, {'run': run})
            self.refused('E_NOT_FOUND', method, {'run': 99})

    def test_run_restart(self):
        """`run.restart` {run, failed?, env_base?} → {run} (a new run with `origin`; `failed` takes over what succeeded, cause `reused`)"""
        b = self.box
        run = self.done(batch([bash('echo once >> log'), bash('echo $V >> log; test -e ok')]), key='k',
                        env_base=dict(b.env(), V='1'))
        self.match({'run': run + 1, 'origin': run, 'reused': 0},
                   self.call('run', 'run.restart', run=run, env_base=dict(b.env(), V='2')))
        b.wait(run + 1)
        b.put('ok')
        self.match({'run': run + 2, 'reused': 1}, self.call('run', 'run.restart', run=run + 1, failed=True,
                                                            env_base=dict(b.env(), V='3')))
        b.wait(run + 2)
        self.match({'state': 'succeeded', 'origin': run + 1, 'key': None,
                    'ops': [{'state': 'succeeded', 'cause': 'reused', 'attempts': 0}, {'state': 'succeeded', 'cause': None}]},
                   b.get(run + 2))
        self.assertEqual(sorted(b.text('log').split()), ['1', '2', '3', 'once', 'once'])
        self.refused('E_STATE', 'run.restart', {'run': run + 2, 'failed': True})
        self.refused('E_STATE', 'run.restart', {'run': b.submit(batch([exec_('true')]), held=True)})
        self.refused('E_NOT_FOUND', 'run.restart', {'run': 99})

    def test_run_forget(self):
        """`run.forget` {run | before | state} → {forgotten}"""
        b = self.box
        first, second, third = [self.done(batch([bash('echo x; exit %d' % i)])) for i in (0, 1, 1)]
        held = b.submit(batch([exec_('true')]), held=True)
        when = b.get(third)['ended']
        self.refused('E_PARAMS', 'run.forget', {})
        self.refused('E_STATE', 'run.forget', {'run': held})
        self.refused('E_NOT_FOUND', 'run.forget', {'run': 99})
        self.assertEqual(self.call('forgotten', 'run.forget', run=first), {'forgotten': 1})
        self.refused('E_NOT_FOUND', 'run.get', {'run': first})
        self.refused('E_NOT_FOUND', 'run.output', {'run': first, 'op': 1})
        self.assertEqual([self.call(None, 'run.forget', before=when)['forgotten'], ids(self.call(None, 'run.list')['runs'])],
                         [1, [held, third]])
        self.assertEqual(self.call(None, 'run.forget', state=['paused', 'succeeded'])['forgotten'], 0)
        self.assertEqual(self.call(None, 'run.forget', state='failed')['forgotten'], 1)
        self.assertEqual(b.submit(batch([exec_('true')])), held + 1, 'ids are never reused')

    def test_todo_methods(self):
        """`todo.write` {list|cwd, todos, mode?, base_rev?, source?} → {rev, todos, others} · `todo.list` · `todo.update` · `todo.claim` · `todo.release` ·
        `todo.remove` · `todo.history` · `todo.restore` · `todo.lists`: the shapes of their results"""
        call = self.call
        item = {'id': 'a', 'content': 'A', 'status': 'pending', 'priority': 'high', 'active_form': 'Aing', 'description': 'd',
                'blocked_by': [], 'tags': ['t'], 'at': 'f:1',
                'meta': {'m': 1}, 'parent': None}
        r = call('rev todos others', 'todo.write', list='l', todos=[item, {'content': 'B', 'blocked_by': ['a'], 'x': 1}],
                 mode='replace', base_rev=0, source='s')
        self.match({'list': 'l', 'rev': 1, 'others': [], 'todos': [dict(item, source='s'), {'content': 'B', 'meta': {'x': 1}}]},
                   r)
        self.assertLessEqual(set(ITEM.split()), set(r['todos'][0]))
        self.match({'others': [{'id': 'a'}, {}]}, call(None, 'todo.write', list='l', todos=[{'id': 'c', 'content': 'C'}]))
        for params, expected in (({}, 3), ({'status': 'pending'}, 3), ({'status': ['completed', 'cancelled']}, 0),
                                 ({'ready': True}, 2), ({'owner': 'o'}, 0), ({'rev': 1}, 2), ({'rev': 0}, 0),
                                 ({'offset': 1}, 2), ({'offset': 1, 'limit': 1}, 1)):
            self.assertEqual(len(call('list rev todos', 'todo.list', params, list='l')['todos']), expected, params)
        self.match({'rev': 3, 'todo': {'status': 'in_progress'}},
                   call('rev todo', 'todo.update', list='l', id='a', status='in_progress', owner='o', base_rev=2))
        self.refused('E_CONFLICT', 'todo.update', {'list': 'l', 'id': 'a', 'content': 'x', 'base_rev': 2})
        self.refused('E_CONFLICT', 'todo.claim', {'list': 'l', 'id': 'a', 'owner': 'other'}, 'o')
        self.match({'todo': {'id': 'a', 'status': 'pending', 'owner': None}},
                   call('rev todo', 'todo.release', list='l', id='a', owner='o'))
        self.match({'todo': {'id': 'a', 'owner': 'o', 'lease_until': lambda t: t > time.time() * 1000}},
                   call('rev todo', 'todo.claim', list='l', owner='o', lease_ms=60000))
        self.match({'todo': {'id': 'c'}}, call(None, 'todo.claim', list='l', owner='p', id='c'))
        self.match({'todo': None, 'rev': 6}, call(None, 'todo.claim', list='l', owner='q'), 'nothing ready: nil')
        self.match({'todo': {'id': 'c'}}, call('rev todo', 'todo.remove', list='l', id='c', base_rev=6))
        r = call('rev events', 'todo.history', list='l', since=1, limit=3)
        self.assertEqual(([e['rev'] for e in r['events']], r['next'], r['rev']), ([2, 3, 4], 4, 7))
        self.match({'rev': 8, 'todos': [{'id': 'a', 'owner': None}, {'content': 'B'}]},
                   call('rev todos', 'todo.restore', list='l', rev=1, base_rev=7))
        folder = {'cwd': self.box.work}
        call(None, 'todo.write', folder, todos=[{'id': 'f', 'content': 'F'}], mode='merge')
        for method, params in (('todo.list', {}), ('todo.update', {'id': 'f', 'status': 'in_progress'}),
                               ('todo.release', {'id': 'f'}), ('todo.claim', {'owner': 'o'}), ('todo.remove', {'id': 'f'}),
                               ('todo.history', {}), ('todo.restore', {'rev': 1})):
            self.assertEqual(call(None, method, folder, **params)['list'], self.box.work)
        self.match({'lists': [{'list': self.box.work, 'total': 1, 'pending': 1},
                              {'list': 'l', 'rev': 8, 'total': 2, 'pending': 2, 'in_progress': 0, 'completed': 0,
                               'cancelled': 0}]},
                   call('lists', 'todo.lists'))
        self.match({'lists': [{'list': self.box.work}], 'next': self.box.work}, call(None, 'todo.lists', limit=1))
        self.match({'lists': [{'list': 'l'}], 'next': None}, call(None, 'todo.lists', after=self.box.work, limit=1))
        self.match({'lists': [{'list': 'l'}]}, call(None, 'todo.lists', list='l'))
        self.match({'lists': [{'list': self.box.work}]}, call(None, 'todo.lists', folder))
        self.match({'events': [{'rev': 8, 'restored': 1}]}, call(None, 'todo.history', list='l', since=7))
        for method in ('write', 'list', 'update', 'claim', 'release', 'remove', 'history', 'restore'):
            self.refused('E_PARAMS', 'todo.' + method,
                         {'write': {'todos': []}, 'list': {}, 'history': {}, 'claim': {'owner': 'o'},
                          'restore': {'rev': 1}}.get(method, {'id': 'a'}), 'list')

    def test_groups(self):
        """`group.list` · `group.set` {group, slots?, paused?}"""
        b = self.box
        self.match({'group': 'g', 'slots': 2, 'used': 0, 'runs': 0, 'paused': False},
                   self.call('group slots paused', 'group.set', group='g', slots=2))
        self.match({'slots': 2, 'paused': True}, self.call(None, 'group.set', group='g', paused=True))
        run = b.submit(batch([bash('touch ran')]), group='g')
        self.match({'g': {'runs': 1, 'used': 0}}, {g['group']: g for g in self.call('groups', 'group.list')['groups']})
        self.assertFalse(b.exists('ran'))
        self.call(None, 'group.set', group='g', paused=False, slots=3)
        b.wait(run)
        self.match({'default': {'slots': lambda n: n >= 8}, 'g': {'slots': 3, 'runs': 0}},
                   {g['group']: g for g in self.call(None, 'group.list')['groups']})
        for params in ({'group': 'g'}, {'group': 'g', 'slots': 0}, {'group': 'last', 'slots': 1}, {'group': '7', 'slots': 1},
                       {'slots': 1}):
            self.refused('E_PARAMS', 'group.set', params)

    def groups(self):
        """By name, fetched page by page."""
        groups, after = {}, {}
        while True:
            page = self.call('groups', 'group.list', dict(after, limit=2))
            self.assertLessEqual(len(page['groups']), 2)
            groups.update((g['group'], g) for g in page['groups'])
            self.assertEqual(sorted(groups), list(groups))
            if page['next'] is None:
                return groups
            self.assertEqual(page['next'], list(groups)[-1])
            after = {'after': page['next']}

    def test_groups_come_and_go(self):
        """A group is there once a batch was accepted for it, till batchd's next start, and when it was set by hand or in batchd.conf."""
        b = self.box
        refused = dict(batch([bash('true')]), cwd=b.work, group='refused', needs_runs=[99])
        self.refused('E_NOT_FOUND', 'batch.submit', {'batch': refused})
        self.call(None, 'batch.check', batch=dict(batch([bash('true')]), cwd=b.work, group='checked'))
        key = dict(batch([bash('true')]), key='k')
        self.done(key)
        self.refused('E_KEY', 'batch.submit', {'batch': dict(key, cwd=b.work, group='other-key')}, 'run 1')
        self.assertEqual(list(self.groups()), ['default'])
        held = b.submit(batch([bash('true')]), group='a', held=True)
        waits = b.submit(batch([bash('true')]), group='a', needs_runs=[held])
        running = self.running(group='b')
        self.call(None, 'group.set', group='by-hand', slots=2)
        self.call(None, 'group.set', group='stopped', paused=True)
        self.match({'slots': 1, 'paused': False}, self.call(None, 'group.set', group='nothing-set', paused=False))
        expected = {'a': {'runs': 2, 'used': 0}, 'b': {'runs': 1, 'used': 1}, 'by-hand': {'runs': 0}, 'default': {'runs': 0},
                    'stopped': {'runs': 0}}
        for _ in range(2):
            self.match(expected, self.groups())
            self.assertEqual(list(self.groups()), list(expected))
            b.restart()
        self.call(None, 'run.resume', run=held)
        b.wait(waits)
        self.call(None, 'run.cancel', run=running)
        b.wait(running)
        self.call(None, 'group.set', group='stopped', paused=False)
        self.assertEqual(list(self.groups()), ['a', 'b', 'by-hand', 'default'])
        b.restart()
        self.assertEqual(list(self.groups()), ['by-hand', 'default'])

    def test_subscriptions(self):
        """`todo.subscribe` {list|cwd, push?} · `run.subscribe` {run?, output?, push?, since?} · `rpc.unsubscribe` {sub}"""
        run = self.done(batch([bash('echo x')]))
        self.box.call('todo.write', list='l', todos=[{'content': 'x'}])
        subs = [self.call('sub rev', 'run.subscribe'),
                self.call('sub rev', 'run.subscribe', run=run, output='sizes', push=['a'], since=0, form='run.subscribe of run'),
                self.call('sub rev', 'todo.subscribe'),
                self.call('sub rev', 'todo.subscribe', list='l', push=['b'], form='todo.subscribe of list'),
                self.call('sub rev', 'todo.subscribe', cwd=self.box.work, form='todo.subscribe of list')]
        self.assertEqual(len({s['sub'] for s in subs}), 5)
        for s in subs:
            self.assertEqual(self.call('sub', 'rpc.unsubscribe', sub=s['sub']), {'sub': s['sub']})
        self.refused('E_NOT_FOUND', 'run.subscribe', {'run': 99})

    def test_daemon(self):
        """`daemon.status` · `daemon.stop` {drain?}"""
        b = self.box
        r = self.call('pid version socket state_dir started running_ops draining live_runs connections subscriptions',
                      'daemon.status')
        self.match({'pid': b.daemon.pid, 'socket': b.socket, 'state_dir': b.state, 'running_ops': 0, 'live_runs': 0,
                    'connections': 1, 'subscriptions': 0}, r)
        self.running()
        self.match({'running_ops': 1, 'live_runs': 1}, self.call(None, 'daemon.status'))
        self.match({'stopping': True, 'draining': False}, self.call('stopping draining', 'daemon.stop', drain=False))
        b.disconnect()
        self.assertEqual(b.daemon.wait(PATIENCE), 0)
        b.daemon = None


@expand
class Shapes(Methods):
    """Shapes: run, op. Key by key."""

    def test_a_run(self):
        b = self.box
        spec = dict(batch(message(bash('echo out; echo err >&2', id='x'), exec_('true', todo='t', description='does nothing', meta={'id': 'tool-1', 'deep': [{'a': []}]}), name='first'),
                          message(bash('exit 4', optional=True)), [bash('kill -SEGV $$')], [exec_('true')]),
                    name='n', key='k', group='g', order='serial', priority=3, list='l', meta={'a': [1, {'b': None}]})
        b.call('todo.write', list='l', todos=[{'id': 't', 'content': 'T'}])
        run = self.done(spec)
        r = self.call(RUN, 'run.get', run=run)
        self.match({'run': run, 'name': 'n', 'key': 'k', 'state': 'failed', 'cwd': b.work, 'project': b.work, 'group': 'g',
                    'order': 'serial', 'order_used': 'serial', 'origin': None, 'parent': None,
                    'priority': 3, 'list': 'l', 'meta': {'a': [1, {'b': None}]},
                    'messages': [{'index': 1, 'name': 'first', 'state': 'succeeded'},
                                 {'index': 2, 'name': None, 'state': 'succeeded'}, {'state': 'failed'}, {'state': 'skipped'}],
                    'summary': {'ops': 5, 'succeeded': 2, 'failed': 2, 'skipped': 1, 'cancelled': 0, 'interrupted': 0}}, r)
        s = r['summary']
        self.assertEqual(s['serial_ms'], sum(o['duration_ms'] or 0 for o in r['ops']))
        self.assertLessEqual(s['critical_ms'], s['serial_ms'])
        self.assertTrue(r['created'] <= r['started'] <= r['ended'])
        for op in r['ops']:
            self.assertLessEqual(set(OP.split()), set(op))
        self.match([{'index': 1, 'id': 'x', 'message': 1, 'kind': 'bash', 'text': 'echo out; echo err >&2', 'state': 'succeeded',
                     'cause': None, 'exit': 0, 'signal': None, 'attempts': 1,
                     'pid': lambda p: p > 1, 'stdout_bytes': 4, 'stderr_bytes': 4, 'dropped_bytes': 0, 'lingering': 0,
                     'todo': None, 'error': None},
                    {'index': 2, 'id': None, 'message': 1, 'kind': 'exec', 'text': 'true', 'todo': 't', 'description': 'does nothing', 'meta': {'id': 'tool-1', 'deep': [{'a': []}]}},
                    {'message': 2, 'state': 'failed', 'cause': 'exit', 'exit': 4},
                    {'message': 3, 'state': 'failed', 'cause': 'signal', 'exit': None, 'signal': 'SIGSEGV'},
                    {'message': 4, 'state': 'skipped', 'cause': 'dependency', 'exit': None, 'attempts': 0, 'pid': None,
                     'started': None, 'duration_ms': None}], r['ops'])
        listed = self.call(None, 'run.list')['runs'][0]
        self.assertEqual({k: v for k, v in r.items() if k not in ('ops', 'ops_total', 'next', 'env_names')}, listed,
                         'run.list does not add `ops` and `ops_total`')

    @together(
        ('command', bash('echo  two  blanks'), 'echo  two  blanks'),
        ('path', {'kind': 'write', 'path': 'a b', 'content': ''}, 'a b'), ('argv as shown', exec_('printf', '%s', 'a b'), None),
        ('≤ 200 characters', bash(': ' + 'ä' * 1000), lambda t: len(t) <= 200),
        ('bytes', bash(b': \xff\xfe'), lambda t: isinstance(t, str)), ('lines', bash('true\ntrue'), lambda t: isinstance(t, str)),
    )
    def text(self, op, expected):
        run = self.done(batch([op]))
        text = self.call(None, 'run.get', run=run)['ops'][0]['text']
        if expected:
            self.match(expected, text)

    # How a path that holds everything is shown in an error, wherever it is.
    ODD, SHOWN = b'a\nb\x1b[31m\xff/', 'a\\nb\\x1b[31m\\xff/'

    @together(
        ('read', {'kind': 'read', 'path': ODD + b'x'}, "cannot read '{here}/%sx': no such file or directory" % SHOWN),
        ('edit', dict(kind='edit', path=ODD + b'x', old='a', new='b'), "cannot edit '{here}/%sx': no such file or directory" % SHOWN),
        ('no occurrence', dict(kind='edit', path=ODD + b'f', old='a', new='b'),
         "the text to replace is not in '{here}/%sf': read it again" % SHOWN),
        ('write into a file', dict(kind='write', path=ODD + b'f/x', content=''), "cannot write '{here}/%sf/x': not a directory" % SHOWN),
        ('create_only', dict(kind='write', path=ODD + b'f', content='', create_only=True),
         "'{here}/%sf' exists already: leave out create_only to replace it" % SHOWN),
        ('expect', dict(kind='write', path=ODD + b'f', content='x', expect='e' * 64),
         lambda here: lambda e: e.startswith("'%s/%sf' is not what was expected" % (here, Shapes.SHOWN))),
        ('cwd', dict(kind='bash', command='true', cwd=ODD + b'f'), "cannot enter '%sf': not a directory" % SHOWN),
        ('argv', dict(kind='exec', argv=[ODD + b'x']), "cannot run '%sx': no such file or directory" % SHOWN),
        ('stdin', dict(kind='exec', argv=['true'], stdin={'file': ODD + b'x'}),
         "cannot open stdin '%sx': no such file or directory" % SHOWN),
        ('a long path', {'kind': 'read', 'path': '/a' * 2000}, lambda here: lambda e: e.endswith(': no such file or directory')),
    )
    def errors(self, op, expected):
        """op: `error` (one line, or nil), which the todo item has too"""
        here, run = self.box.work, None
        os.makedirs(os.fsencode(here) + b'/' + self.ODD, exist_ok=True)
        with open(os.fsencode(here) + b'/' + self.ODD + b'f', 'w') as f:
            f.write('text')
        error = expected(here) if callable(expected) else expected.format(here=here)
        run = self.done(batch([todos(dict(id='t', content='T')), dict(op, todo='t')]))
        self.match({'ops': [{}, {'state': 'failed', 'error': error}]}, self.call(None, 'run.get', run=run))
        item = self.call(None, 'todo.list', cwd=here)['todos'][0]
        self.match({'id': 't', 'error': lambda e: e.isprintable()}, item)

    @rows(
        ('a live run', lambda b: b.submit(batch([bash('exec sleep 60')], [exec_('true')]))),
        ('a held one', lambda b: b.submit(batch([exec_('true')]), held=True)),
        ('a waiting one', lambda b: b.submit(batch([exec_('true')]), needs_runs=[b.submit(batch([exec_('true')]), held=True)])),
        ('one with every kind', lambda b: b.run(batch([bash('x'), exec_('/nonexistent'),
                                                       {'kind': 'write', 'path': 'f', 'content': 'x'},
                                                       {'kind': 'read', 'path': 'f'},
                                                    {'kind': 'edit', 'path': 'f2', 'old': 'x', 'new': 'y'},
                                                    todos({'content': 'x'})]))['run']),
        ('a folder that is not UTF-8', lambda b: (os.mkdir(os.fsencode(b.work) + b'/\xff'),
                                                  b.run(batch([exec_('true')]), cwd=os.fsencode(b.work) + b'/\xff'))[1]['run']),
        ('a restart', lambda b: b.call('run.restart', run=b.run(batch([exec_('true')]))['run'])['run']),
    )
    def of(self, make):
        run = make(self.box)
        for params in ({}, {'output': 10}, {'ops': 'none'}, {'ops': 'failed'}):
            self.call(None, 'run.get', params, run=run)
        self.call(None, 'run.list')
        self.call(None, 'run.wait', run=run, timeout_ms=0)
        self.call(None, 'run.subscribe', run=run, form='run.subscribe of run')


class Events(Methods):
    """event: `type` (`run.state`, `op.state`, `op.output`, `todo.changed`, `resync`), `sub`, `rev`, `prev`, `time`, and what it is about."""

    def events(self, r, over):
        events = []
        while not events or not over(events[-1]):
            e = r.wait_event()
            PROTOCOL.check_event(e)
            events.append(e)
        return events

    @staticmethod
    def ended(run):
        return lambda e: e['type'] == 'run.state' and e['run'] == run and e['state'] in ENDED

    def test_every_state_is_told(self):
        b, r = self.box, self.box.connect()
        r.call('run.subscribe')
        r.call('todo.subscribe')
        b.call('todo.write', list='l', todos=[{'id': 't', 'content': 'T'}])
        spec = batch([bash('test $BATCHD_ATTEMPT = 2', retries=1, retry_delay=0.05), exec_('/nonexistent', optional=True),
                      bash('exec sleep 60', timeout=0.1 * SLOW, optional=True), exec_('true', todo='t')],
                     message(bash('until test -e up; do sleep .01; done; false'), bash('touch up; exec sleep 60', id='c'), on_failure='kill'), [exec_('true')], list='l',
                     name='n')
        run = b.submit(spec, held=True)
        b.call('run.resume', run=run)
        events = self.events(r, self.ended(run))
        seen = lambda key, **want: [e[key] for e in events if all(e.get(k) == v for k, v in want.items())]
        self.assertEqual(seen('state', type='run.state', run=run),
                         ['paused', 'queued', 'running',
                          'failed'] if 'queued' in seen('state', type='run.state') else ['paused', 'running', 'failed'])
        for op, states in ((1, ['running', 'waiting', 'running', 'succeeded']), (2, ['failed']), (3, ['running', 'failed']),
                           (4, ['running', 'succeeded']), (5, ['running', 'failed']),
                           (6, ['running', 'cancelled']), (7, ['skipped'])):
            self.assertEqual([s for s in seen('state', type='op.state', op=op) if s != 'running' or op != 2], states,
                             'op %d' % op)
        self.assertEqual([seen('cause', type='op.state', op=op)[-1] for op in range(1, 8)],
                         [None, 'start', 'timeout', None, 'exit', 'dependency', 'dependency'])
        self.assertEqual([seen('exit', type='op.state', op=op)[-1] for op in range(1, 8)], [0, None, None, 0, 1, None, None])
        changed = [e for e in events if e['type'] == 'todo.changed']
        self.assertEqual([(e['todo_rev'], e['after'][0]['status']) for e in changed],
                         [(1, 'pending'), (2, 'in_progress'), (3, 'completed')])
        self.match([{'before': [], 'run': None}, {'before': [{'status': 'pending'}], 'run': run},
                    {'before': [{'status': 'in_progress'}]}], changed)
        last = events[-1]
        self.match({'name': 'n', 'summary': {'ops': 7},
                    'messages': [{'state': 'succeeded'}, {'state': 'failed'}, {'state': 'skipped'}]}, last)

    def test_output_sizes_and_data(self):
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('echo first; read x < gate; echo second; echo third >&2; echo fourth')], [bash('echo more')]),
                       held=True)
        readers = {}
        for output in ('sizes', 'data', False):
            readers[output] = b.connect()
            readers[output].call('run.subscribe', run=run, output=output)
        everything = b.connect()
        everything.call('run.subscribe', output='data')
        b.call('run.resume', run=run)
        first = self.events(readers['data'], lambda e: e['type'] == 'op.output')[-1]
        self.match({'run': run, 'op': 1, 'attempt': 1, 'stream': 'stdout', 'offset': 0, 'size': 6, 'data': b'first\n'}, first)
        with open(gate, 'w') as f:
            f.write('\n')
        whole = {1: {'stdout': b'first\nsecond\nfourth\n', 'stderr': b'third\n'}, 2: {'stdout': b'more\n', 'stderr': b''}}
        told = {name: self.events(r, self.ended(run)) for name, r in [*readers.items(), ('all', everything)]}
        self.assertFalse([e for e in told[False] if e['type'] == 'op.output'])
        for name in ('data', 'all'):
            got = {op: {'stdout': b'', 'stderr': b''} for op in whole}
            for e in ([first] if name == 'data' else []) + [e for e in told[name] if e['type'] == 'op.output']:
                self.assertEqual(len(got[e['op']][e['stream']]), e['offset'])
                got[e['op']][e['stream']] += e['data']
            self.assertEqual(got, whole, name)
            order = [(e['type'], e.get('op')) for e in told[name] if e['type'] == 'op.output' or e.get('state') == 'succeeded']
            self.assertLess(max(i for i, o in enumerate(order) if o == ('op.output', 1)), order.index(('op.state', 1)),
                            'the end of an op comes after its output')
        at = {(1, 'stdout'): 0, (1, 'stderr'): 0, (2, 'stdout'): 0}
        for e in told['sizes']:
            if e['type'] == 'op.output':
                self.assertNotIn('data', e)
                self.assertEqual(e['offset'], at[e['op'], e['stream']])
                at[e['op'], e['stream']] = e['size']
        self.assertEqual(at, {(op, stream): len(whole[op][stream]) for op, stream in at})

    def test_output_since(self):
        b = self.box
        run = b.submit(batch([bash('echo first; read x < %s; echo second' % b.fifo('gate'))]))
        until(lambda: b.output(run, 1) == b'first\n', 'its output')
        old, new = b.connect(), b.connect()
        old.call('run.subscribe', run=run, output='data')
        new.call('run.subscribe', run=run, output='data', since=0)
        with open(b.path('gate'), 'w') as f:
            f.write('\n')
        for r, expected in ((old, [(0, b'first\n'), (6, b'second\n')]), (new, [(6, b'second\n')])):
            self.assertEqual([(e['offset'], e['data']) for e in self.events(r, self.ended(run)) if e['type'] == 'op.output'],
                             expected)
        again = b.connect()
        again.call('run.subscribe', run=run, output='data')
        self.assertEqual(b''.join(e['data'] for e in self.events(again, self.ended(run)) if e['type'] == 'op.output'),
                         b'first\nsecond\n', 'a run that has ended')

    def test_dropped_output_is_passed_over(self):
        b, r = self.box, self.box.connect()
        run = self.done(batch([bash('seq 1 100000')], output_cap=50000))
        whole = b''.join(b'%d\n' % i for i in range(1, 100001))
        r.call('run.subscribe', run=run, output='data')
        kept, at = 0, 0
        for e in self.events(r, self.ended(run)):
            if e['type'] == 'op.output':
                self.assertGreaterEqual(e['offset'], at)
                at = e['offset'] + len(e['data'])
                self.assertEqual(whole[e['offset']:at], e['data'])
                kept += len(e['data'])
        self.assertEqual((at, kept), (len(whole), len(whole) - b.get(run)['ops'][0]['dropped_bytes']))


TALK = r'''
import os, random, sys
r = random.Random(int(sys.argv[1]))
for i in range(int(sys.argv[2])):
    line = ('%d ' % i + 'x' * r.randrange(60)).encode() + (b'\n' if r.random() < .9 else b'')
    os.write(r.choice((1, 1, 2)), line)
'''


class Output(Methods):
    """`run.output` {run, op, attempt?, stream?, offset?, limit?, tail?, lines?} → {data, offset, size, end, dropped}"""

    def talk(self, seed, n, cap):
        """A run whose op printed what is returned: stdout, stderr."""
        self.box.put('talk.py', TALK.encode())
        run = self.done(batch([exec_('/usr/bin/python3', 'talk.py', str(seed), str(n))], output_cap=cap))
        r = random.Random(seed)
        whole = {'stdout': b'', 'stderr': b''}
        for i in range(n):
            line = ('%d ' % i + 'x' * r.randrange(60)).encode() + (b'\n' if r.random() < .9 else b'')
            whole[r.choice(('stdout', 'stdout', 'stderr'))] += line
        return run, whole

    def pages(self, run, limit, own, **params):
        """(data, its position) of every piece as a client finds them that adds length and dropped to its own offset, or to the reply's."""
        at, pieces, dropped = 0, [], 0
        while True:
            r = self.call('data offset size end dropped', 'run.output', params, run=run, op=1, offset=at, limit=limit)
            self.assertEqual(r['offset'], at)
            self.assertLessEqual(len(r['data']), limit)
            before = len(r['data']) if r['gap'] is None else min(r['gap'] - r['offset'], len(r['data']))
            pieces += [(at, r['data'][:before]), (at + before + r['dropped'], r['data'][before:])]
            if 'stream' not in params:
                self.assertEqual(sum(c[2] for c in r['chunks']), len(r['data']), '`chunks` say which')
            dropped += r['dropped']
            step = (at if own else r['offset']) + len(r['data']) + r['dropped']
            if r['end']:
                self.assertEqual(step, r['size'])
                return [p for p in pieces if p[1]], r['size'], dropped
            self.assertGreater(step, at)
            at = step

    def check_pages(self, run, whole, limits):
        op = self.call(None, 'run.get', run=run)['ops'][0]
        self.assertEqual((op['stdout_bytes'], op['stderr_bytes']), (len(whole['stdout']), len(whole['stderr'])),
                         'as printed, before any dropping')
        for stream, printed in whole.items():
            gone = set()
            for limit in limits:
                pieces, size, dropped = self.pages(run, limit, limit % 2, stream=stream)
                self.assertEqual(size, len(printed))
                for at, data in pieces:
                    self.assertEqual(printed[at:at + len(data)], data)
                self.assertEqual(sum(len(d) for _, d in pieces) + dropped, size)
                gone.add(dropped)
            self.assertEqual(len(gone), 1)
        for limit in limits:
            pieces, size, dropped = self.pages(run, limit, limit % 2)
            self.assertEqual((size, dropped), (op['stdout_bytes'] + op['stderr_bytes'], op['dropped_bytes']))
            self.assertEqual(sum(len(d) for _, d in pieces), size - dropped)

    def stream_positions(self, run, whole, offset, limit):
        """A page over both streams, whose `starts`, `chunks`, `gap` and `dropped_each` say of each byte where it stands in its own stream."""
        r = self.call('starts chunks dropped_each', 'run.output', run=run, op=1, offset=offset, limit=limit)
        at, data, place = list(r['starts']), r['data'], r['offset']
        self.assertEqual((sum(at), sum(r['dropped_each'])), (offset, r['dropped']))
        for _, stream, n in r['chunks'] + [[0, 0, 0]]:
            while n or (place == r['gap'] and r['dropped']):
                if place == r['gap']:
                    at = [a + d for a, d in zip(at, r['dropped_each'])]
                    place += r['dropped']
                    continue
                now = min(n, r['gap'] - place) if r['gap'] is not None and place < r['gap'] else n
                name = ('stdout', 'stderr')[stream - 1]
                self.assertEqual(data[:now], whole[name][at[stream - 1]:at[stream - 1] + now])
                at[stream - 1], data, n, place = at[stream - 1] + now, data[now:], n - now, place + now
        self.assertEqual(data, b'')
        return at, r['end']

    def check_stream_positions(self, run, whole, limits):
        op = self.call(None, 'run.get', run=run)['ops'][0]
        for limit in limits:
            offset, end = 0, False
            while not end:
                at, end = self.stream_positions(run, whole, offset, limit)
                if not end:
                    self.assertEqual(self.call(None, 'run.output', run=run, op=1, offset=sum(at), limit=0)['starts'], at)
                offset = sum(at)
            self.assertEqual(at, [op['stdout_bytes'], op['stderr_bytes']])

    def test_stream_positions(self):
        """`starts`: the positions in stdout and in stderr of `offset`; `dropped_each`: what the missing bytes are of each"""
        run, whole = self.talk(4, 3000, 9000)
        self.check_stream_positions(run, whole, (97, 1000, 1 << 20))
        r = self.call(None, 'run.output', run=run, op=1)
        gap = range(r['gap'], r['gap'] + r['dropped'])
        for offset in [gap[0] - 300 + i for i in range(301)] + [gap[0] + 1, gap[len(gap) // 2], gap[-1], gap[-1] + 1, gap[-1] + 2]:
            self.stream_positions(run, whole, offset, 100)
        one_sided = self.done(batch([bash('echo begin >&2; seq 1 9999; echo end >&2')], output_cap=1000))
        numbers = b''.join(b'%d\n' % i for i in range(1, 10000))
        self.check_stream_positions(one_sided, {'stdout': numbers, 'stderr': b'begin\nend\n'}, (1, 50, 700, 1 << 20))
        self.check_stream_positions(*self.talk(5, 300, 0), (77, 1 << 20))

    def test_pages_of_what_is_all_there(self):
        run, whole = self.talk(1, 300, 0)
        self.check_pages(run, whole, (64, 77, 1000, 5000, 1 << 20))

    def test_pages_of_what_lost_its_middle(self):
        run, whole = self.talk(2, 3000, 9000)
        r = self.call(None, 'run.output', run=run, op=1, stream='stdout')
        gap, dropped = r['gap'], r['dropped']
        self.assertGreater(dropped, 10000)
        self.check_pages(run, whole, (97, 1000, gap, gap + 1, gap - 1, gap // 2 if gap % 2 == 0 else 1001, 1 << 20))
        for offset in (gap - 1, gap, gap + 1, gap + dropped - 1, gap + dropped, gap + dropped + 1):
            r = self.call(None, 'run.output', run=run, op=1, stream='stdout', offset=offset, limit=10)
            self.assertEqual(r['offset'], offset)
            missing = max(0, gap + dropped - max(gap, offset))
            expected = (whole['stdout'][offset:gap] + whole['stdout'][max(offset, gap + dropped):])[:10]
            self.assertEqual((r['data'], r['dropped']), (expected, missing))
        self.assertNotIn(b'dropped', self.box.output(run, 1), 'no marker inside `data`')

    def test_offset_limit_tail_lines_stream(self):
        run, whole = self.talk(3, 200, 0)
        both = self.box.output(run, 1)
        for stream, printed in (('stdout', whole['stdout']), ('stderr', whole['stderr']), ('both', both), (None, both)):
            params = {'stream': stream} if stream else {}
            get = lambda **k: self.call(None, 'run.output', dict(params, **k), run=run, op=1)
            n = len(printed)
            for offset in (0, 1, n - 1, n, n + 100):
                for limit in (0, 1, 10, n, 1 << 30):
                    self.match({'data': printed[offset:offset + limit], 'size': n, 'dropped': 0, 'end': offset + limit >= n,
                                'offset': offset}, get(offset=offset, limit=limit))
            for tail in (0, 1, 10, n - 1, n, n + 1, 1 << 40):
                self.match({'data': printed[max(n - tail, 0):], 'offset': max(n - tail, 0), 'end': True}, get(tail=tail))
            self.match({'data': printed[-3:]}, get(tail=10, limit=3))
            lines = printed.splitlines(True)
            for k in (0, 1, 2, 7, len(lines), len(lines) + 1):
                self.match({'data': b''.join(lines[len(lines) - min(k, len(lines)):]), 'end': True}, get(lines=k))
            self.match({'data': printed[-5:]}, get(lines=1000, limit=5))
        self.assertEqual(self.call(None, 'run.output', run=run, op=1)['starts'], [0, 0])

    def test_attempt(self):
        run = self.done(batch([bash('echo try $BATCHD_ATTEMPT; test $BATCHD_ATTEMPT = 3', retries=2, retry_delay=0, id='me')]))
        for attempt in (1, 2, 3):
            self.match({'data': b'try %d\n' % attempt, 'attempt': attempt, 'end': True},
                       self.call(None, 'run.output', run=run, op='me', attempt=attempt))
        self.match({'data': b'try 3\n', 'attempt': 3}, self.call(None, 'run.output', run=run, op=1))
        self.refused('E_NOT_FOUND', 'run.output', {'run': run, 'op': 1, 'attempt': 4})
        for params in ({'op': 2}, {'op': 'ghost'}, {'op': 1, 'run': 99}):
            self.refused('E_NOT_FOUND', 'run.output', dict({'run': run}, **params))
        for params in ({}, {'op': 1, 'stream': 'stdin'}, {'op': 1, 'offset': -1}, {'op': 1, 'offset': 1, 'tail': 1},
                       {'op': 1, 'tail': 1, 'lines': 1}, {'op': 0}):
            self.refused('E_PARAMS', 'run.output', dict({'run': run}, **params))

    def test_while_it_runs(self):
        b = self.box
        b.put('talk.py', TALK.encode())
        run = b.submit(batch([bash('/usr/bin/python3 talk.py 4 4000; echo first; read x < %s; echo over' % b.fifo('gate'))],
                             output_cap=20000))
        at = 0
        until(lambda: self.call(None, 'run.output', run=run, op=1, tail=6)['data'] == b'first\n', 'its output')
        while True:
            r = self.call(None, 'run.output', run=run, op=1, offset=at, limit=700)
            self.assertEqual((r['offset'], r['end']), (at, False))
            at += len(r['data']) + r['dropped']
            if not r['data']:
                break
        with open(b.path('gate'), 'w') as f:
            f.write('\n')
        b.wait(run)
        self.match({'data': b'over\n', 'end': True}, self.call(None, 'run.output', run=run, op=1, offset=at))


class Complete(unittest.TestCase):
    def test_every_method_has_its_results(self):
        self.assertEqual(set(PROTOCOL.params), {r.split(' of ')[0] for r in PROTOCOL.results})

    def test_every_method_and_param_stands_in_a_row(self):
        text = ''
        for name in ('methods', 'wire', 'todos'):
            try:
                with open(os.path.join(os.path.dirname(__file__), 'test_contract_%s.py' % name)) as f:
                    text += f.read()
            except FileNotFoundError:
                pass
        item = set(ITEM.split()) | {'activeForm', 'assignedAgent', 'blockedBy', 'dependencies', 'dependsOn', 'lease_until'}
        for method, params in PROTOCOL.params.items():
            self.assertIn("'%s'" % method, text)
            for param in params - item:
                self.assertRegex(text, r"\b%s=|'%s':" % (param, param), '%s of %s' % (param, method))


if __name__ == '__main__':
    unittest.main()
