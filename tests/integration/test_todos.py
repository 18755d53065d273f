"""Contract section 1, Todos, and their methods of section 3."""
import threading
import time
import unittest

from harness import Case, Rpc, RpcError, bash, batch, rows, expand, todos, until


def item(id, content=None, **keys):
    return dict(id=id, content=content or id.upper(), **keys)


class Todos(Case):
    def setUp(self):
        super().setUp()
        self.call = self.box.call

    def write(self, *items, **keys):
        return self.call('todo.write', dict(dict(list='l', todos=list(items)), **keys))

    def list(self, **keys):
        return self.call('todo.list', dict({'list': 'l'}, **keys))['todos']

    def ids(self, **keys):
        return [t['id'] for t in self.list(**keys)]


class Items(Todos):
    FIELDS = ('id content status priority active_form description owner blocked_by parent tags at error source meta '
              'position rev created started completed run').split()

    def test_an_item_has_every_field(self):
        r = self.write(item('a', 'Ä content', status='in_progress', priority='high', active_form='Doing', description='long',
                            owner='me', tags=['x', 'y'], at='f.c:12', meta={'k': [1]}), item('b', blocked_by=['a'], parent='a'))
        self.assertEqual(set(r), {'rev', 'todos', 'others'} | set(r) & {'warnings', 'list'})
        a, b = self.list()
        self.assertLessEqual(set(self.FIELDS), set(a))
        self.match({'id': 'a', 'content': 'Ä content', 'status': 'in_progress', 'priority': 'high', 'active_form': 'Doing',
                    'description': 'long', 'owner': 'me', 'tags': ['x', 'y'], 'at': 'f.c:12', 'meta': {'k': [1]},
                    'error': None, 'completed': None}, a)
        self.match({'status': 'pending', 'priority': 'medium', 'blocked_by': ['a'], 'parent': 'a', 'started': None}, b)
        self.assertLess(abs(a['created'] - time.time() * 1000), 60000)
        self.assertLess(a['position'], b['position'])

    def test_an_id_is_made_where_none_is_given(self):
        made = self.write({'content': 'x'}, {'content': 'y'})['todos']
        self.assertEqual(len({t['id'] for t in made}), 2)
        self.assertTrue(all(isinstance(t['id'], str) and t['id'] for t in made))

    def test_unknown_keys_go_to_meta(self):
        self.write(item('a', verify=True, meta={'k': 1}))
        self.assertEqual(self.list()[0]['meta'], {'k': 1, 'verify': True})

    def test_what_is_refused(self):
        for bad, says in ((item('a', status='doing'), 'status'), (item('a', priority='urgent'), 'priority'),
                          ({'id': 'a'}, 'content'), (item('a', blocked_by='b'), 'blocked_by')):
            self.refused('E_PARAMS', 'todo.write', {'list': 'l', 'todos': [bad]}, says)
        self.refused('E_UTF8', 'todo.write', {'list': 'l', 'todos': [item('a', b'\xff')]}, 'content')
        self.assertEqual(self.call('todo.list', list='l')['todos'], [])

    def test_a_cycle_is_refused(self):
        with self.assertRaises(RpcError):
            self.write(item('a', blocked_by=['b']), item('b', blocked_by=['a']))
        self.assertEqual(self.ids(), [])

    def test_times_follow_the_status(self):
        self.write(item('a'))
        self.call('todo.update', list='l', id='a', status='in_progress')
        started = self.list()[0]['started']
        self.assertIsInstance(started, int)
        self.call('todo.update', list='l', id='a', status='completed')
        self.assertIsInstance(self.list()[0]['completed'], int)


class Writing(Todos):
    def test_replace_keeps_ids_and_matches_by_content(self):
        made = self.write({'content': 'one'}, {'content': 'two'})['todos']
        again = self.write({'content': 'two', 'status': 'completed'}, {'content': 'one'})['todos']
        self.assertEqual([t['id'] for t in again], [made[1]['id'], made[0]['id']])
        self.assertEqual([t['status'] for t in self.list()], ['completed', 'pending'])

    def test_replace_removes_what_is_absent_of_the_same_source(self):
        self.write(item('a'), item('b'), source='me')
        r = self.write(item('c'), source='me')
        self.assertEqual(self.ids(), ['c'])
        self.assertEqual(r['others'], [])

    def test_others_stay_and_are_returned(self):
        self.write(item('a'), source='one')
        r = self.write(item('b'), source='two')
        self.assertEqual([t['id'] for t in r['others']], ['a'])
        self.assertEqual(set(self.ids()), {'a', 'b'})

    def test_the_source_star_replaces_all(self):
        self.write(item('a'), source='one')
        self.write(item('b'), source='two')
        self.write(item('c'), source='*')
        self.assertEqual(self.ids(), ['c'])

    def test_the_source_defaults_to_the_client(self):
        one, two = self.box.connect(), self.box.connect()
        one.call('rpc.hello', client='one')
        two.call('rpc.hello', client='two')
        one.call('todo.write', list='l', todos=[item('a')])
        two.call('todo.write', list='l', todos=[item('b')])
        one.call('todo.write', list='l', todos=[item('c')])
        self.assertEqual({t['id']: t['source'] for t in self.list()}, {'b': 'two', 'c': 'one'})

    def test_merge_changes_what_is_named(self):
        self.write(item('a'), item('b', priority='high'))
        self.write({'id': 'b', 'status': 'completed'}, item('c'), mode='merge')
        self.match([{'id': 'a', 'status': 'pending'}, {'id': 'b', 'status': 'completed', 'priority': 'high', 'content': 'B'},
                    {'id': 'c'}], self.list())

    def test_base_rev_guards_against_lost_updates(self):
        rev = self.write(item('a'))['rev']
        rev2 = self.write(item('a', 'newer'), base_rev=rev)['rev']
        self.assertGreater(rev2, rev)
        self.refused('E_CONFLICT', 'todo.write', {'list': 'l', 'todos': [item('a', 'lost')], 'base_rev': rev})
        self.assertEqual(self.list()[0]['content'], 'newer')

    def test_revisions_count_per_list(self):
        first = self.write(item('a'))['rev']
        other = self.call('todo.write', list='m', todos=[item('a')])['rev']
        self.assertEqual(first, other)
        self.assertEqual(self.write(item('b'))['rev'], first + 1)

    def test_lists_and_projects(self):
        b = self.box
        self.call('todo.write', cwd=b.work, todos=[item('p')])
        self.assertEqual([t['id'] for t in self.call('todo.list', cwd=b.path('sub') if b.exists('sub') else b.work)['todos']], ['p'])
        self.write(item('a'))
        names = [x['list'] for x in self.call('todo.lists')['lists']]
        self.assertIn('l', names)
        self.assertEqual(len(names), 2)
        # Outside any project the list is `default`.
        self.call('todo.write', cwd='/usr', todos=[item('d')])
        self.assertEqual([t['id'] for t in self.call('todo.list', list='default')['todos']], ['d'])


class Changing(Todos):
    def setUp(self):
        super().setUp()
        self.write(item('a'), item('b', blocked_by=['a']), item('c', priority='high'))

    def test_update(self):
        r = self.call('todo.update', list='l', id='a', status='in_progress', owner='me', tags=['t'])
        self.match({'id': 'a', 'status': 'in_progress', 'owner': 'me', 'tags': ['t'], 'content': 'A'}, r['todo'])
        self.refused('E_NOT_FOUND', 'todo.update', {'list': 'l', 'id': 'ghost', 'status': 'pending'}, 'ghost')
        self.refused('E_PARAMS', 'todo.update', {'list': 'l', 'id': 'a', 'status': 'asleep'}, 'status')

    def test_remove(self):
        self.call('todo.remove', list='l', id='c')
        self.assertEqual(self.ids(), ['a', 'b'])
        self.refused('E_NOT_FOUND', 'todo.remove', {'list': 'l', 'id': 'c'}, 'c')

    def test_filters(self):
        self.call('todo.update', list='l', id='a', status='in_progress', owner='me')
        self.assertEqual(self.ids(status='in_progress'), ['a'])
        self.assertEqual(self.ids(owner='me'), ['a'])
        self.assertEqual(self.ids(status='completed'), [])

    def test_ready(self):
        self.assertEqual(set(self.ids(ready=True)), {'a', 'c'})
        self.call('todo.update', list='l', id='a', status='completed')
        self.assertEqual(set(self.ids(ready=True)), {'b', 'c'})

    def test_ready_has_those_with_error_last(self):
        run = self.box.run(batch([bash('false', todo='c')], list='l'))
        self.assertEqual(run['state'], 'failed')
        self.assertEqual(self.ids(ready=True), ['a', 'c'])

    def test_more_than_one_in_progress_is_a_warning(self):
        self.call('todo.update', list='l', id='a', status='in_progress', owner='me')
        r = self.call('todo.update', list='l', id='c', status='in_progress', owner='me')
        self.assertEqual(r['todo']['status'], 'in_progress')
        self.assertTrue(r.get('warnings') or r.get('warning'), r)

    def test_an_update_that_makes_a_cycle(self):
        with self.assertRaises(RpcError):
            self.call('todo.update', list='l', id='a', blocked_by=['b'])


class Claims(Todos):
    def test_claim_takes_the_next_ready(self):
        self.write(item('a', status='completed'), item('b'), item('c', blocked_by=['b']))
        r = self.call('todo.claim', list='l', owner='me')
        self.match({'id': 'b', 'owner': 'me', 'status': 'in_progress'}, r['todo'])
        self.assertIsNone(self.call('todo.claim', list='l', owner='you')['todo'], 'nothing ready: nil')

    def test_taken(self):
        self.write(item('a'))
        self.call('todo.claim', list='l', id='a', owner='me')
        self.refused('E_CONFLICT', 'todo.claim', {'list': 'l', 'id': 'a', 'owner': 'you'}, 'me')
        self.refused('E_NOT_FOUND', 'todo.claim', {'list': 'l', 'id': 'z', 'owner': 'you'}, 'z')

    def test_claims_are_atomic(self):
        self.write(*[item('t%d' % i) for i in range(40)])
        got, lock = [], threading.Lock()

        def work(name):
            with Rpc(self.box.socket) as r:
                while True:
                    t = r.call('todo.claim', list='l', owner=name)['todo']
                    if t is None:
                        return
                    with lock:
                        got.append(t['id'])
        threads = [threading.Thread(target=work, args=('w%d' % i,)) for i in range(4)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        self.assertEqual(sorted(got), sorted('t%d' % i for i in range(40)))

    def test_release(self):
        self.write(item('a'))
        self.call('todo.claim', list='l', owner='me')
        self.match({'status': 'pending', 'owner': None}, self.call('todo.release', list='l', id='a')['todo'])
        self.match({'id': 'a'}, self.call('todo.claim', list='l', owner='you')['todo'])

    def test_a_lease_runs_out(self):
        self.write(item('a'))
        self.call('todo.claim', list='l', owner='me', lease_ms=200)
        got = until(lambda: self.call('todo.claim', list='l', owner='you')['todo'], 'the end of the lease')
        self.match({'id': 'a', 'owner': 'you'}, got)


class Past(Todos):
    """Every change is an event with a revision; any past revision can be listed and restored."""

    def test_history(self):
        self.write(item('a'))
        self.call('todo.update', list='l', id='a', status='completed')
        events = self.call('todo.history', list='l')['events']
        self.assertEqual([e['rev'] for e in events], sorted(e['rev'] for e in events))
        self.assertEqual(len(events), 2)
        self.match([{'status': 'pending'}], events[1]['before'])
        self.match([{'status': 'completed'}], events[1]['after'])
        self.assertEqual(len(self.call('todo.history', list='l', since=events[0]['rev'])['events']), 1)

    def test_a_past_revision_is_listed_and_restored(self):
        rev = self.write(item('a'), item('b'))['rev']
        self.write(item('c'))
        self.assertEqual(self.ids(), ['c'])
        self.assertEqual(self.ids(rev=rev), ['a', 'b'])
        after = self.call('todo.restore', list='l', rev=rev)
        self.assertGreater(after['rev'], rev)
        self.assertEqual(self.ids(), ['a', 'b'])

    def test_it_outlives_kill_9(self):
        rev = self.write(item('a'), item('b'))['rev']
        self.write(item('b', status='completed'))
        self.box.restart()
        self.match([{'id': 'b', 'status': 'completed'}], self.list())
        self.assertEqual(self.ids(rev=rev), ['a', 'b'])
        self.assertEqual(self.write(item('z'))['rev'], rev + 2)

    def test_events(self):
        r = self.box.connect()
        snap = r.call('todo.subscribe', list='l')
        self.assertIn('rev', snap)
        self.write(item('a'), item('b'))
        e = r.wait_event()
        self.match({'type': 'todo.changed', 'list': 'l', 'before': lambda b: not [x for x in b or [] if x],
                    'after': [{'id': 'a'}, {'id': 'b'}]}, e)
        self.call('todo.update', list='l', id='a', status='completed')
        e2 = r.wait_event()
        self.match({'before': [{'id': 'a', 'status': 'pending'}], 'after': [{'id': 'a', 'status': 'completed'}],
                    'prev': e['rev']}, e2)

    def test_a_list_of_others_is_not_told(self):
        r = self.box.connect()
        r.call('todo.subscribe', list='l')
        self.call('todo.write', list='m', todos=[item('x')])
        self.write(item('a'))
        self.assertEqual(r.wait_event()['list'], 'l')


@expand
class Driven(Todos):
    """An op with `todo: ID` moves the item."""

    def setUp(self):
        super().setUp()
        self.write(item('a'), item('b'))

    def status(self, id):
        return next(t for t in self.list() if t['id'] == id)

    def test_in_progress_then_completed(self):
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('read x < gate', todo='a')]), list='l')
        until(lambda: self.status('a')['status'] == 'in_progress', 'in_progress')
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        self.match({'status': 'completed', 'run': lambda r: r, 'error': None}, self.status('a'))

    def test_completed_when_all_ops_that_drive_it_succeeded(self):
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('true', todo='a')], [bash('read x < gate', todo='a')]), list='l')
        until(lambda: b.get(run)['ops'][1]['state'] == 'running', 'the second')
        self.assertEqual(self.status('a')['status'], 'in_progress')
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        self.assertEqual(self.status('a')['status'], 'completed')

    def test_on_failure_back_to_pending_with_error(self):
        self.box.run(batch([bash('echo why >&2; exit 3', todo='a'), bash('true', todo='b')], list='l'))
        self.match({'status': 'pending', 'error': lambda e: e}, self.status('a'))
        self.match({'status': 'completed', 'error': None}, self.status('b'))
        self.box.run(batch([bash('true', todo='a')], list='l'))
        self.match({'status': 'completed', 'error': None}, self.status('a'))

    def test_what_someone_else_changed_is_not_moved(self):
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('read x < gate', todo='a')]), list='l')
        until(lambda: self.status('a')['status'] == 'in_progress', 'in_progress')
        self.call('todo.update', list='l', id='a', status='cancelled')
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        self.assertEqual(self.status('a')['status'], 'cancelled')

    def test_an_item_set_by_the_batch_itself(self):
        run = self.box.run(batch([todos(item('new', status='pending')), bash('true', todo='new')],
                                 [bash('false', todo='late'), todos(item('late'), mode='merge')], list='m'))
        self.assertEqual([o['state'] for o in run['ops']], ['succeeded', 'succeeded', 'failed', 'succeeded'])
        got = {t['id']: t['status'] for t in self.call('todo.list', list='m')['todos']}
        self.assertEqual(got, {'new': 'completed', 'late': 'pending'})

    def test_a_todos_op_replaces_or_merges(self):
        run = self.box.run(batch([todos(item('x'), item('y'))], [todos({'id': 'y', 'status': 'completed'}, mode='merge')], list='m'))
        self.assertEqual(run['state'], 'succeeded', run['ops'])
        self.match([{'id': 'x', 'status': 'pending'}, {'id': 'y', 'status': 'completed'}], self.call('todo.list', list='m')['todos'])

    def test_a_todos_op_may_name_its_list(self):
        self.box.run(batch([todos(item('x'), list='named')], list='m'))
        self.assertEqual([t['id'] for t in self.call('todo.list', list='named')['todos']], ['x'])

    def test_the_project_is_the_default_list(self):
        self.box.run(batch([todos(item('x'))]))
        self.assertEqual([t['id'] for t in self.call('todo.list', cwd=self.box.work)['todos']], ['x'])


if __name__ == '__main__':
    unittest.main()
