"""
The contract's todos as one table: section 1 'Todos', the op kind `todos`, the `todo.*` methods of section 3 and the `todo` verbs of
section 4, sentence by sentence. Each row has a list of its own (t.l), so rows share a daemon.
"""
import json
import os
import resource
import threading
import time
import unittest

from harness import BATCHCTL, Case, RpcError, Rpc, bash, batch, expand, message, rows, todos, together, until


def item(id, content=None, **keys):
    return dict(id=id, content=content or id.upper(), **keys)


class Todos(Case):
    def setUp(self):
        super().setUp()
        self.call = self.box.call
        self.lists = 0

    def fresh(self, case):
        """Runs a row's case with a list of its own."""
        self.lists += 1
        self.l = 'list%d' % self.lists
        case(self)

    def write(self, *items, **keys):
        return self.call('todo.write', dict(dict(list=self.l, todos=list(items)), **keys))

    def merge(self, *items, **keys):
        return self.write(*items, mode='merge', **keys)

    def update(self, id, **fields):
        return self.call('todo.update', dict({'list': self.l, 'id': id}, **fields))

    def claim(self, owner, **keys):
        return self.call('todo.claim', dict({'list': self.l, 'owner': owner}, **keys))['todo']

    def list(self, **keys):
        return self.call('todo.list', dict({'list': self.l}, **keys))['todos']

    def ids(self, **keys):
        return [t['id'] for t in self.list(**keys)]

    def get(self, id):
        return next((t for t in self.list() if t['id'] == id), None)

    def rev(self):
        return self.call('todo.list', list=self.l)['rev']

    def no(self, symbol, method, says=(), **params):
        return self.refused(symbol, method, dict({'list': self.l}, **params), says)

    def run_batch(self, *messages, **keys):
        return self.box.run(batch(*messages, **keys), list=self.l)


# --- an item ---------------------------------------------------------------------------------------------------------

def same(key, value):
    """A row: the key is taken and given back as it was."""
    return lambda t: t.assertEqual(t.write(item('x'), item('it', **{key: value}))['todos'][1][key], value)


def defaults(t):
    t.match({'status': 'pending', 'priority': 'medium', 'active_form': None, 'description': None, 'owner': None, 'blocked_by': [],
             'parent': None, 'tags': [], 'at': None, 'error': None, 'meta': {}, 'started': None, 'completed': None, 'run': None,
             'lease_until': None}, t.write({'content': 'only that'})['todos'][0])


def made_ids(t):
    t.write({'content': 'a'}, {'content': 'b'}, item('t9'))
    ids = t.ids()
    t.assertEqual(len(set(ids)), 3)
    t.write()
    t.write({'content': 'c'})
    t.assertNotIn(t.ids()[0], ids, 'not even after it was removed')


def times(t):
    t.write(item('a'))
    t.match({'started': None, 'completed': None, 'created': lambda c: abs(c - time.time() * 1000) < 60000}, t.get('a'))
    t.update('a', status='in_progress')
    started = t.get('a')['started']
    t.assertIsInstance(started, int)
    t.update('a', status='completed')
    t.match({'started': started, 'completed': lambda c: c >= started}, t.get('a'))
    t.update('a', status='in_progress')
    t.match({'started': lambda s: s >= started, 'completed': None}, t.get('a'))
    t.update('a', status='cancelled')
    t.match({'completed': None}, t.get('a'))
    t.update('a', status='pending')
    t.match({'started': None, 'completed': None}, t.get('a'))


def item_revs(t):
    t.write(item('a'), item('b'))
    t.update('b', priority='low')
    t.assertEqual([x['rev'] for x in t.list()], [1, 2])


def positions(t):
    t.write(item('a'), item('b'), item('c'))
    t.write(item('c'), item('n'), item('a'))
    t.assertEqual(t.ids(), ['c', 'n', 'a'])
    t.assertEqual(sorted(x['position'] for x in t.list()), [x['position'] for x in t.list()])
    t.merge(item('m'), {'id': 'a', 'status': 'completed'})
    t.assertEqual(t.ids(), ['c', 'n', 'a', 'm'], 'a merge moves nobody')


def critical(t):
    t.match({'priority': 'high', 'meta': {'priority': 'critical'}}, t.write(item('a', priority='critical'))['todos'][0])
    t.match({'priority': 'high', 'meta': {'priority': 'critical'}}, t.merge(t.get('a'))['todos'][0])
    t.match({'priority': 'low', 'meta': {}}, t.update('a', priority='low')['todo'])
    t.match({'priority': 'high', 'meta': {'priority': 'critical'}}, t.update('a', priority='critical')['todo'])


def back_as_listed(t):
    t.write(item('a', tags=['x'], meta={'k': [1]}), item('b', blocked_by=['a'], parent='a', owner='me'))
    before = t.list()
    t.write(*before)
    t.assertEqual(t.list(), before)


def unknown_keys(t):
    t.write(item('a', estimate=3, meta={'k': 1}))
    t.assertEqual(t.get('a')['meta'], {'k': 1, 'estimate': 3})
    t.merge({'id': 'a', 'note': 'more'})
    t.assertEqual(t.get('a')['meta'], {'k': 1, 'estimate': 3, 'note': 'more'})


def other_names(t):
    t.write(item('x'), item('a', activeForm='Doing', assignedAgent='me', dependencies=['x']))
    t.match({'active_form': 'Doing', 'owner': 'me', 'blocked_by': ['x'], 'meta': {}}, t.get('a'))
    t.no('E_PARAMS', 'todo.write', 'given twice', todos=[item('b', activeForm='1', active_form='2')])


def names_once(t):
    t.write(item('x'), item('y'), item('a', blocked_by=['y', 'x', 'y'], tags=['b', 'a', 'b']))
    t.match({'blocked_by': ['y', 'x'], 'tags': ['b', 'a']}, t.get('a'))


def long_names(t):
    """What held the daemon for minutes once: it must be refused, or done, at once."""
    other = t.box.connect()
    t.no('E_LIMIT', 'todo.write', 'tags', todos=[item('a', tags=['t%d' % i for i in range(100000)])])
    t.write(item('a', tags=['t%d' % i for i in range(10000)]))
    other.call('rpc.hello')


def limit(t):
    t.write(*[{'content': 'c%d' % i} for i in range(10000)])
    t.no('E_LIMIT', 'todo.write', '10001', todos=[item('a')], mode='merge')
    t.no('E_LIMIT', 'todo.write', '10000', todos=[{'content': str(i)} for i in range(10001)])
    t.assertEqual(t.rev(), 1)


def larger_than_an_answer(t):
    for i in range(6):
        t.merge(*[item('i%d-%d' % (i, k), 'x' * 10000) for k in range(100)])
    got, offset = [], 0
    while offset is not None:
        r = t.call('todo.list', list=t.l, offset=offset)
        got += [x['id'] for x in r['todos']]
        offset = r['next']
    t.assertEqual(got, ['i%d-%d' % (i, k) for i in range(6) for k in range(100)])
    t.assertEqual(t.ids(offset=2, limit=3), got[2:5])


@expand
class Item(Todos):
    """An item."""

    @together(
        ('`id` (given', lambda t: t.assertEqual(t.write({'id': 'Ä 1', 'content': 'x'})['todos'][0]['id'], 'Ä 1')),
        ('or made): unique, and never used again', made_ids),
        ('`content`', same('content', 'Ä ☃ \n two lines')),
        ('`status` `pending`', same('status', 'pending')),
        ('`in_progress`', same('status', 'in_progress')),
        ('`completed`', same('status', 'completed')),
        ('`cancelled`', same('status', 'cancelled')),
        ('`priority` `high`', same('priority', 'high')),
        ('`medium`', same('priority', 'medium')),
        ('`low`', same('priority', 'low')),
        ('`medium` default, and all other defaults', defaults),
        ('`active_form`', same('active_form', 'Doing it')),
        ('`description`', same('description', 'long\ntext')),
        ('`owner`', same('owner', 'me')),
        ('`blocked_by` (ids)', same('blocked_by', ['x'])),
        ('`parent`', same('parent', 'x')),
        ('`tags`', same('tags', ['one', 'two'])),
        ('`tags` and `blocked_by` name each once', names_once),
        ('`tags` of any number cost others nothing', long_names),
        ('`at` (`file:line`)', same('at', 'src/main.c:12')),
        ('`error` (why the op that drives it last failed)', same('error', 'exit 1')),
        ('`source` is who wrote it', lambda t: t.assertEqual(t.write(item('a'), source='me')['todos'][0]['source'], 'me')),
        ('`meta`', same('meta', {'k': {'deep': [1, None, 'x']}})),
        ('`meta` (unknown keys are kept here)', unknown_keys),
        ('`position`: the order as written', positions),
        ('`rev`: of the list when it last changed', item_revs),
        ('`created`, `started`, `completed` follow the status, also back', times),
        ('`critical` is `high` with the original in `meta`', critical),
        ('`activeForm`, `assignedAgent`, `dependencies`: the fields they mean', other_names),
        ('an item can be written back as it was listed', back_as_listed),
        ('at most 10 000 items', limit),
        ('a list larger than an answer comes in pages: `offset`, `limit`, `next`', larger_than_an_answer),
    )
    def an_item(self, case):
        self.fresh(case)

    @together(
        ('no `content`', {'id': 'a'}, 'content'), ('an empty one', {'id': 'a', 'content': ''}, 'content'),
        ('`status`', item('a', status='doing'), 'status'), ('`priority`', item('a', priority='urgent'), 'priority'),
        ('`blocked_by` that is no array', item('a', blocked_by='b'), 'blocked_by'), ('`meta` that is no map', item('a', meta=[1]), 'meta'),
        ('`content` that is no str', {'content': 1}, 'content'), ('an item that is no map', 'x', 'todos[0]'),
    )
    def refused_is(self, bad, says):
        self.l = 'bad'
        self.no('E_PARAMS', 'todo.write', says, todos=[bad])
        self.assertEqual((self.rev(), self.list()), (0, []))

    def test_text_is_utf8(self):
        self.l = 'bad'
        self.no('E_UTF8', 'todo.write', 'content', todos=[item('a', b'\xff')])


# --- replace and merge -----------------------------------------------------------------------------------------------

def keeps_ids(t):
    made = t.write({'content': 'one'}, {'content': 'two'})['todos']
    again = t.write({'content': 'two', 'status': 'completed'}, {'content': 'one'})['todos']
    t.assertEqual([x['id'] for x in again], [made[1]['id'], made[0]['id']])
    t.assertEqual([x['status'] for x in t.list()], ['completed', 'pending'])


def duplicates(t):
    a, b, c = [x['id'] for x in t.write({'content': 'same'}, {'content': 'same'}, {'content': 'same'})['todos']]
    t.assertEqual([x['id'] for x in t.write({'content': 'same', 'status': 'completed'}, {'content': 'same'})['todos']], [a, b])
    t.assertEqual([(x['id'], x['status']) for x in t.list()], [(a, 'completed'), (b, 'pending')])
    new = t.write(*[{'content': 'same'}] * 3)['todos'][2]['id']
    t.assertNotIn(new, (a, b, c))


def given_id_wins(t):
    t.write(item('a', 'text'))
    t.assertEqual([x['id'] for x in t.write({'content': 'text'}, item('a', 'text'))['todos']][1], 'a')
    t.assertEqual(len(t.list()), 2)


def removes_absent(t):
    t.write(item('a'), item('b'), source='me')
    t.write(item('o'), source='you')
    r = t.write(item('c'), source='me')
    t.assertEqual([x['id'] for x in r['others']], ['o'])
    t.assertEqual(sorted(t.ids()), ['c', 'o'])
    t.call('todo.restore', list=t.l, rev=1)
    t.assertEqual(t.ids(), ['a', 'b'], 'softly')


def takes_over(t):
    t.write(item('a'), item('b'), source='one')
    t.write({'id': 'a', 'status': 'completed'}, source='two')
    t.assertEqual({x['id']: x['source'] for x in t.list()}, {'a': 'two', 'b': 'one'})
    t.write(source='one')
    t.assertEqual(t.ids(), ['a'])
    t.merge({'id': 'a', 'status': 'pending'}, source='three')
    t.assertEqual(t.get('a')['source'], 'two', 'a merge takes nothing over')


def star(t):
    r = t.box.connect()
    r.call('rpc.hello', client='ed')
    t.write(item('a'), item('b'), source='one')
    t.write(item('c'), source='two')
    answer = r.call('todo.write', list=t.l, todos=[{'id': 'c', 'status': 'completed'}, item('n')], source='*')
    t.assertEqual(answer['others'], [])
    t.assertEqual({x['id']: x['source'] for x in t.list()}, {'c': 'two', 'n': 'ed'})


def client_name(t):
    one, two = t.box.connect(), t.box.connect()
    one.call('rpc.hello', client='one')
    two.call('rpc.hello', client='two')
    one.call('todo.write', list=t.l, todos=[item('a')])
    two.call('todo.write', list=t.l, todos=[item('b')])
    one.call('todo.write', list=t.l, todos=[item('c')])
    t.write(item('d'))
    t.assertEqual({x['id']: x['source'] for x in t.list()}, {'b': 'two', 'c': 'one', 'd': None})


def empty_replace(t):
    t.write(item('a'), item('b'))
    t.match({'todos': [], 'others': [], 'rev': 2}, t.write())
    t.assertEqual(t.list(), [])


def twice(t):
    t.no('E_PARAMS', 'todo.write', 'comes twice', todos=[item('a'), item('a')])


def merge_partial(t):
    t.write(item('a', owner='me', tags=['x'], description='d', meta={'k': 1, 'l': 2}), item('b'))
    t.merge({'id': 'a', 'owner': None, 'description': '', 'tags': [], 'meta': {'k': None}})
    t.match({'content': 'A', 'owner': 'me', 'description': None, 'tags': [], 'meta': {'l': 2}}, t.get('a'))
    t.merge({'id': 'a', 'owner': '', 'meta': {}})
    t.match({'owner': None, 'meta': {}}, t.get('a'))
    t.assertEqual(t.ids(), ['a', 'b'])


def merge_by_content(t):
    t.write({'content': 'run the tests', 'status': 'completed'}, {'content': 'ship'})
    t.merge({'content': 'ship', 'owner': 'me'}, {'content': 'run the tests'})
    t.assertEqual([(x['content'], x['status'], x['owner']) for x in t.list()],
                  [('run the tests', 'completed', None), ('ship', 'pending', 'me'), ('run the tests', 'pending', None)])


def base_rev(t):
    rev = t.write(item('a'))['rev']
    t.assertEqual(t.write(item('a', 'newer'), base_rev=rev)['rev'], rev + 1)
    for method, params in (('todo.write', {'todos': []}), ('todo.update', {'id': 'a', 'content': 'lost'}), ('todo.remove', {'id': 'a'}),
                           ('todo.restore', {'rev': 0})):
        t.no('E_CONFLICT', method, ('revision 2', 'not 1'), base_rev=rev, **params)
    t.assertEqual(t.get('a')['content'], 'newer')


def two_replace(t):
    """Of two that read the same revision and write with it, one is told; without it the later one holds."""
    t.write(item('a'), source='s')
    rs = [t.box.connect() for _ in range(2)]
    ids = [r.request('todo.write', {'list': t.l, 'source': 's', 'base_rev': 1, 'todos': [item('w%d' % i)]}) for i, r in enumerate(rs)]
    got = []
    for r, i in zip(rs, ids):
        try:
            got.append(r.reply(i)['rev'])
        except RpcError as e:
            got.append(e.symbol)
    t.assertCountEqual(got, [2, 'E_CONFLICT'])
    for i, r in enumerate(rs):
        r.call('todo.write', list=t.l, source='s', todos=[item('v%d' % i)])
    t.assertEqual(t.ids(), ['v1'])


@expand
class Writing(Todos):
    """Replace, merge, `base_rev`."""

    @together(
        ('`todo.write` answers {rev, todos, others}', lambda t: t.assertLessEqual({'rev', 'todos', 'others'}, set(t.write(item('a'))))),
        ('`replace` keeps ids, matches items without id by content', keeps_ids),
        ('`replace`: same contents are matched in their order, once each', duplicates),
        ('`replace`: what is named by id is not matched by content', given_id_wins),
        ('`replace` removes (softly, restorable) the items of the same `source` that are absent; others stay, are `others`', removes_absent),
        ('`replace` of an item of another `source` by its id takes it over', takes_over),
        ('`source: "*"` replaces all', star),
        ("`source` defaults to the connection's `client` name", client_name),
        ('`replace` by nothing', empty_replace),
        ('an id that comes twice is refused', twice),
        ('`merge`: nil is absent, empty clears', merge_partial),
        ('`merge` by content: what is done stays done', merge_by_content),
        ('`base_rev` guards against lost updates (`E_CONFLICT`)', base_rev),
        ('`base_rev` of two at once', two_replace),
    )
    def writing(self, case):
        self.fresh(case)


# --- revisions -------------------------------------------------------------------------------------------------------

def one_event(t):
    r = t.box.connect()
    snap = r.call('todo.subscribe', list=t.l)
    t.match({'list': t.l, 'todo_rev': 0, 'todos': []}, snap)
    t.write(item('a'), item('b'))
    e = r.wait_event()
    t.match({'type': 'todo.changed', 'list': t.l, 'sub': snap['sub'], 'todo_rev': 1, 'before': [], 'after': [{'id': 'a'}, {'id': 'b'}]}, e)
    t.write({'id': 'a', 'status': 'completed'}, item('c'))
    e2 = r.wait_event()
    t.match({'before': lambda b: sorted(x['id'] for x in b) == ['a', 'b'], 'after': lambda a: sorted(x['id'] for x in a) == ['a', 'c'],
             'prev': e['rev'], 'todo_rev': 2}, e2)
    t.merge({'id': 'a', 'status': 'completed'})
    t.match({'before': [], 'after': [], 'todo_rev': 3}, r.wait_event())
    t.call('rpc.hello')


def per_list(t):
    t.write(item('a'))
    t.write(item('b'))
    t.assertEqual(t.call('todo.write', list=t.l + '-other', todos=[item('a')])['rev'], 1)
    t.assertEqual(t.rev(), 2)


def past(t):
    t.write(item('a'), item('b'))
    t.write(item('c', status='in_progress', owner='o'))
    t.update('c', status='completed')
    t.assertEqual([t.ids(rev=r) for r in range(4)], [[], ['a', 'b'], ['c'], ['c']])
    t.assertEqual(t.ids(rev=2, status='in_progress', owner='o'), ['c'])
    t.assertEqual(t.ids(rev=3, status='in_progress'), [])
    t.no('E_NOT_FOUND', 'todo.list', 'no revision 4', rev=4)


def restore(t):
    t.write(item('a'), item('b', priority='low'))
    t.write(item('c'))
    t.match({'rev': 3, 'todos': [{'id': 'a'}, {'id': 'b', 'priority': 'low'}]}, t.call('todo.restore', list=t.l, rev=1))
    t.assertEqual(t.call('todo.restore', list=t.l, rev=2, base_rev=3)['rev'], 4)
    t.assertEqual(t.ids(), ['c'])
    t.call('todo.restore', list=t.l, rev=3)
    t.assertEqual(t.ids(), ['a', 'b'], 'of a restore')
    t.call('todo.restore', list=t.l, rev=0)
    t.assertEqual(t.list(), [])
    t.no('E_NOT_FOUND', 'todo.restore', 'no revision 99', rev=99)
    t.no('E_CONFLICT', 'todo.restore', 'revision 6', rev=1, base_rev=5)


def history(t):
    t.write(item('a'), source='me')
    t.update('a', status='completed')
    t.call('todo.remove', list=t.l, id='a')
    t.call('todo.restore', list=t.l, rev=1)
    r = t.call('todo.history', list=t.l)
    t.match({'list': t.l, 'rev': 4, 'next': None,
             'events': [{'rev': 1, 'source': 'me', 'before': [], 'after': [{'id': 'a'}], 'run': None, 'restored': None},
                        {'rev': 2, 'before': [{'status': 'pending'}], 'after': [{'status': 'completed'}], 'time': lambda x: isinstance(x, int)},
                        {'rev': 3, 'before': [{'id': 'a'}], 'after': []},
                        {'rev': 4, 'before': [], 'after': [{'id': 'a', 'status': 'pending'}], 'restored': 1}]}, r)
    t.assertEqual([e['rev'] for e in t.call('todo.history', list=t.l, since=2)['events']], [3, 4])
    r = t.call('todo.history', list=t.l, since=1, limit=2)
    t.assertEqual(([e['rev'] for e in r['events']], r['next']), ([2, 3], 3))


def in_order(t):
    """Requests of one connection take effect in the order they came, those that look into the past too."""
    t.write(item('a'))
    t.write(item('b'))
    r = t.box.connect()
    first = r.request('todo.restore', {'list': t.l, 'rev': 1})
    second = r.request('todo.write', {'list': t.l, 'todos': [item('x')], 'mode': 'merge'})
    third = r.request('todo.list', {'list': t.l, 'rev': 4})
    fourth = r.request('todo.restore', {'list': t.l, 'rev': 4})
    t.assertEqual([r.reply(first)['rev'], r.reply(second)['rev']], [3, 4])
    t.assertEqual([x['id'] for x in r.reply(third)['todos']], ['a', 'x'])
    t.assertEqual(r.reply(fourth)['rev'], 5)
    t.assertEqual(t.ids(), ['a', 'x'])


@expand
class Revisions(Todos):
    """Every change is an event with a revision; any past revision can be listed and restored."""

    @together(
        ('one `todo.changed` a write, `before` and `after` arrays of the changed items', one_event),
        ('`base_rev` counts per list', per_list),
        ('`todo.list` `rev`: any past revision can be listed', past),
        ('`todo.restore`: and restored', restore),
        ('`todo.history` {since?}', history),
        ('`todo.restore` takes effect in its turn', in_order),
    )
    def revisions(self, case):
        self.fresh(case)

    def test_they_outlive_kill_9(self):
        self.l = 'l'
        self.write(item('a'), {'content': 'made'})
        self.write(item('b', status='completed'))
        self.box.restart()
        self.match([{'id': 'b', 'status': 'completed'}], self.list())
        self.assertEqual(self.ids(rev=1), ['a', 't1'])
        self.assertEqual(self.merge({'content': 'made'})['rev'], 3)
        self.assertEqual(self.ids(), ['b', 't2'])
        self.assertEqual(self.call('todo.restore', list='l', rev=1)['rev'], 4)
        self.box.restart()
        self.assertEqual((self.rev(), self.ids()), (4, ['a', 't1']))


class OldStore(Todos):
    daemon = False

    def test_lists_of_a_store_of_the_first_schema(self):
        """A store as it was before a revision knew what it brought back."""
        self.box.put_store('schema-1.sql')
        self.box.start()
        self.l = 'l'
        self.match([{'id': 'a', 'status': 'completed'}, {'id': 'b'}], self.list())
        self.assertEqual(self.ids(rev=1), ['a'])
        self.match({'rev': 2, 'events': [{'restored': None}, {'restored': None}]}, self.call('todo.history', list='l'))
        self.assertEqual(self.call('todo.restore', list='l', rev=1)['rev'], 3)


# --- ready, claim ----------------------------------------------------------------------------------------------------

def ready(t):
    t.write(item('a', priority='low'), item('b'), item('c', blocked_by=['b', 'a']), item('d', priority='high'),
            item('e', priority='high', error='exit 1'), item('f', status='cancelled'), item('g', blocked_by=['f']),
            item('h', status='in_progress'), item('i', status='completed'), item('j', blocked_by=['i']))
    t.assertEqual(t.ids(ready=True), ['d', 'b', 'j', 'a', 'e'])
    t.update('b', status='completed')
    t.call('todo.remove', list=t.l, id='a')
    t.assertEqual(t.ids(ready=True), ['d', 'c', 'j', 'e'], 'what is removed blocks no more')


def claims(t):
    t.write(item('a', status='completed'), item('b'), item('c', blocked_by=['b']))
    t.match({'id': 'b', 'owner': 'me', 'status': 'in_progress', 'started': lambda s: isinstance(s, int)}, t.claim('me'))
    rev = t.rev()
    t.assertIsNone(t.claim('you'))
    t.assertEqual(t.rev(), rev, 'nothing ready: nothing written')
    t.assertIsNone(t.call('todo.claim', list=t.l + 'none', owner='you')['todo'])


def taken(t):
    t.write(item('apple'), item('b', blocked_by=['apple']), item('c', status='completed'))
    t.claim('me', id='apple')
    t.no('E_CONFLICT', 'todo.claim', ("'apple'", "'me'"), id='apple', owner='you')
    t.no('E_STATE', 'todo.claim', 'blocked', id='b', owner='you')
    t.no('E_STATE', 'todo.claim', 'completed', id='c', owner='you')
    t.no('E_NOT_FOUND', 'todo.claim', "did you mean 'apple'", id='appel', owner='you')
    t.match({'id': 'apple', 'owner': 'me'}, t.claim('me', id='apple'))
    t.no('E_PARAMS', 'todo.claim', 'owner', id='apple')


def assigned(t):
    t.write(item('a', owner='zoe'), item('b'))
    t.match({'id': 'b'}, t.claim('me'))
    t.assertIsNone(t.claim('me'))
    t.match({'id': 'a'}, t.claim('zoe'))


def atomic(t):
    n = 50
    t.write(*[item('i%d' % i) for i in range(n - 10)])
    got, barrier = [], threading.Barrier(n)

    def work(name):
        with Rpc(t.box.socket) as r:
            barrier.wait()
            x = r.call('todo.claim', list=t.l, owner=name)['todo']
            got.append((x and x['id'], name))
    threads = [threading.Thread(target=work, args=('w%d' % i,)) for i in range(n)]
    [x.start() for x in threads]
    [x.join() for x in threads]
    t.assertEqual(sorted(i for i, _ in got if i), sorted('i%d' % i for i in range(n - 10)))
    t.assertEqual({x['id']: x['owner'] for x in t.list()}, {i: name for i, name in got if i})


def release(t):
    t.write(item('a'), item('b'))
    t.claim('me', id='a')
    t.no('E_CONFLICT', 'todo.release', ("'me'", "'you'"), id='a', owner='you')
    t.match({'status': 'pending', 'owner': None, 'started': None}, t.call('todo.release', list=t.l, id='a', owner='me')['todo'])
    t.claim('you', id='a')
    t.match({'owner': None}, t.call('todo.release', list=t.l, id='a')['todo'])
    t.no('E_STATE', 'todo.release', 'nobody holds', id='b')


def lease(t):
    r = t.box.connect()
    t.write(item('a'), item('b'))
    r.call('todo.subscribe', list=t.l)
    held = t.claim('me', id='a', lease_ms=300)
    t.match({'after': [{'lease_until': lambda u: u == held['started'] + 300}]}, r.wait_event())
    e = r.wait_event()
    t.match({'type': 'todo.changed', 'before': [{'id': 'a', 'owner': 'me', 'status': 'in_progress'}],
             'after': [{'id': 'a', 'owner': None, 'status': 'pending', 'lease_until': None}]}, e)
    t.assertGreaterEqual(e['time'], held['lease_until'])
    t.match({'owner': 'you'}, t.claim('you', id='a'))


def renewed(t):
    t.write(item('a'))
    t.claim('me', id='a', lease_ms=100)
    t.claim('me', id='a', lease_ms=600000)
    t.write(item('z'), source='other')
    t.claim('me', id='z', lease_ms=150)
    until(lambda: t.get('z')['owner'] is None, 'the end of the shorter lease')
    t.match({'owner': 'me', 'status': 'in_progress'}, t.get('a'))


@expand
class Claims(Todos):
    """`ready`, `claim`, `release`."""

    @together(
        ('`ready`: pending, `blocked_by` all completed, those with `error` last; by priority, then position', ready),
        ('`todo.claim` {owner} takes the first that is ready; nothing ready: nil', claims),
        ('`todo.claim` {id}: taken: `E_CONFLICT`; its own again', taken),
        ('`todo.claim` leaves what is assigned to others', assigned),
        ('`todo.claim` is atomic', atomic),
        ('`todo.release`', release),
        ('`lease_ms`: given back when it is over', lease),
        ('`lease_ms`: claimed again, it begins anew', renewed),
    )
    def claim_(self, case):
        self.fresh(case)

    def test_a_lease_ends_over_a_restart(self):
        self.l = 'l'
        self.write(item('a'), item('b'))
        self.claim('me', id='a', lease_ms=1)
        self.claim('me', id='b', lease_ms=1500)
        self.box.restart()
        r = self.box.connect()
        r.call('todo.subscribe', list='l')
        until(lambda: self.ids(status='in_progress') == [], 'the end of both leases')
        self.assertEqual([t['owner'] for t in self.list()], [None, None])


# --- warnings and errors ---------------------------------------------------------------------------------------------

def busy(t):
    t.write(item('a', status='in_progress', owner='me'), item('b'), item('c', status='in_progress', owner='you'))
    t.assertFalse(t.update('c', priority='low').get('warnings'))
    r = t.update('b', status='in_progress', owner='me')
    t.assertEqual(r['todo']['status'], 'in_progress')
    t.assertIn("2 items of 'me'", r['warnings'][0])
    t.match({'warnings': lambda w: w}, t.merge({'id': 'b', 'tags': ['x']}))


def rings(t):
    t.no('E_PARAMS', 'todo.write', 'circle', todos=[item('a', blocked_by=['b']), item('b', blocked_by=['a'])])
    t.no('E_PARAMS', 'todo.write', 'circle', todos=[item('a', blocked_by=['a'])])
    t.write(item('a'), item('b', blocked_by=['a']), item('c', blocked_by=['b']))
    t.no('E_PARAMS', 'todo.write', 'circle', todos=[{'id': 'a', 'blocked_by': ['c']}], mode='merge')
    t.no('E_PARAMS', 'todo.update', ('circle', "'a' waits for 'c'"), id='a', blocked_by=['c'])
    t.assertEqual(t.rev(), 1)


def parent_rings(t):
    t.no('E_PARAMS', 'todo.write', 'circle', todos=[item('a', parent='a')])
    t.write(item('a'), item('b', parent='a'), item('c', parent='b'))
    t.no('E_PARAMS', 'todo.update', ('parent', 'circle'), id='a', parent='c')
    t.update('a', parent='nobody yet')


def op_rings(t):
    t.box.call('todo.write', list=t.l, todos=[item('a'), item('b', blocked_by=['a'])], source='me')
    t.refused_batch('E_PARAMS', batch([todos(item('x', blocked_by=['y']), item('y', blocked_by=['x']))]), 'blocked_by')
    run = t.run_batch([todos({'id': 'a', 'blocked_by': ['b']}, mode='merge')])
    t.match([{'state': 'failed', 'cause': 'conflict', 'error': lambda e: 'circle' in e}], run['ops'])
    t.assertEqual(t.get('a')['blocked_by'], [])


def unknown_blocker(t):
    t.write(item('apple'))
    t.no('E_PARAMS', 'todo.write', ("no item 'appel'", "did you mean 'apple'"), mode='merge', todos=[item('b', blocked_by=['appel'])])


def not_found(t):
    t.write(item('apple'))
    for method, params in (('todo.update', {'status': 'pending'}), ('todo.remove', {}), ('todo.release', {})):
        t.no('E_NOT_FOUND', method, "no item 'appel' in list '%s' (did you mean 'apple'?)" % t.l, id='appel', **params)


def no_list(t):
    for method, params in (('todo.write', {'todos': []}), ('todo.list', {}), ('todo.update', {'id': 'a'}), ('todo.claim', {'owner': 'me'}),
                           ('todo.release', {'id': 'a'}), ('todo.remove', {'id': 'a'}), ('todo.history', {}), ('todo.restore', {'rev': 0})):
        t.refused('E_PARAMS', method, params, ('list', 'cwd'))
    with Rpc(t.box.socket) as r:
        r.call('rpc.hello', cwd=t.box.work)
        r.call('todo.write', todos=[item('by-hello')])
        t.assertEqual([x['id'] for x in r.call('todo.list')['todos']], ['by-hello'])


def unknown_param(t):
    t.write(item('a'))
    t.no('E_PARAMS', 'todo.update', 'prioritty', id='a', prioritty='low')


@expand
class Refused(Todos):
    """Warnings and errors."""

    @together(
        ('More than one `in_progress` per owner is a warning', busy),
        ('a `blocked_by` cycle is refused', rings),
        ('a `parent` cycle too', parent_rings),
        ('of a `todos` op when it is submitted, or when it runs', op_rings),
        ('`blocked_by` of an unknown id', unknown_blocker),
        ('`E_NOT_FOUND` for an unknown id, with what may have been meant', not_found),
        ("Todo methods with neither `list` nor `cwd` (nor hello's `cwd`): `E_PARAMS`", no_list),
        ('`todo.update`: unknown keys are refused', unknown_param),
    )
    def refused_(self, case):
        self.fresh(case)


# --- lists -----------------------------------------------------------------------------------------------------------

def project_of(marker):
    def case(t):
        folder = os.path.join(t.box.dir, 'p' + marker)
        os.makedirs(os.path.join(folder, marker))
        os.makedirs(os.path.join(folder, 'a', 'b'))
        t.call('todo.write', cwd=os.path.join(folder, 'a', 'b'), todos=[item('x')])
        t.match({'list': folder, 'todos': [{'id': 'x'}]}, t.call('todo.list', cwd=os.path.join(folder, 'a')))
        t.match([{'id': 'x'}], t.call('todo.list', list=folder)['todos'])
    return case


def odd_project(folder, listed):
    """A path that no list's name can be, as it is."""
    def check(t):
        path = os.path.join(t.box.work.encode(), folder)
        os.makedirs(os.path.join(path, b'.git'))
        name = t.box.work + '/' + listed
        run = t.box.run(dict(batch([bash('"%s" todo add mine && printf %%s "$BATCHD_LIST" >&2' % BATCHCTL)]), cwd=path))
        t.match([{'state': 'succeeded'}], run['ops'])
        t.assertEqual(t.box.output(run['run'], 1, 'stderr').decode(), name)
        t.assertEqual(t.call('todo.list', cwd=path)['list'], name)
        t.match([{'content': 'mine'}], t.call('todo.list', list=name)['todos'])
    return check


def no_project(t):
    t.assertEqual(t.call('todo.list', cwd='/usr')['list'], 'default')


def lists_of_all(t):
    t.write(item('a'), item('b', status='completed'), item('c', status='in_progress'))
    with t.assertRaises(RpcError):
        t.call('todo.update', list='never', id='a', status='pending')
    row = next(x for x in t.call('todo.lists')['lists'] if x['list'] == t.l)
    t.match({'rev': 1, 'total': 3, 'pending': 1, 'in_progress': 1, 'completed': 1, 'cancelled': 0}, row)
    t.assertEqual(t.call('todo.lists', list=t.l)['lists'], [row])
    t.assertEqual(t.call('todo.lists', list='never')['lists'], [])
    t.assertNotIn('never', [x['list'] for x in t.call('todo.lists')['lists']])


def long_path(t):
    folder = os.path.join(t.box.dir, *['a' * 100] * 5)
    os.makedirs(os.path.join(folder, '.git'))
    name = t.call('todo.write', cwd=folder, todos=[item('x')])['list']
    t.assertEqual(name, folder)
    t.assertEqual([x['id'] for x in t.call('todo.list', list=name)['todos']], ['x'])


def subscribe_all(t):
    t.write(item('a'))
    r = t.box.connect()
    snap = r.call('todo.subscribe')
    t.match([{'id': 'a'}], next(x for x in snap['lists'] if x['list'] == t.l)['todos'])
    t.call('todo.write', list=t.l + 'x', todos=[item('b')])
    t.write(item('c'))
    t.assertEqual([r.wait_event()['list'], r.wait_event()['list']], [t.l + 'x', t.l])


def subscribe_one(t):
    r = t.box.connect()
    sub = r.call('todo.subscribe', list=t.l)['sub']
    t.call('todo.write', list=t.l + 'x', todos=[item('b')])
    t.write(item('c'))
    t.assertEqual(r.wait_event()['list'], t.l)
    r.call('rpc.unsubscribe', sub=sub)


@expand
class Lists(Todos):
    """A project is the nearest parent of a folder that holds one of four, else the list `default`."""

    @together(
        ('`.batchd`', project_of('.batchd')), ('`.git`', project_of('.git')), ('`.jj`', project_of('.jj')), ('`.hg`', project_of('.hg')),
        ('whose path holds a control character', odd_project(b'a\nb', 'a\\x0ab')),
        ('whose path is not UTF-8', odd_project('ü'.encode() + b'\xff', '\\xc3\\xbc\\xff')),
        ('else the list `default`', no_project),
        ('`todo.lists`', lists_of_all),
        ('a list is named by its path, however long', long_path),
        ('`todo.subscribe` without `list`: all', subscribe_all),
        ('`todo.subscribe` of one list', subscribe_one),
    )
    def lists_(self, case):
        self.fresh(case)


# --- ops that drive items --------------------------------------------------------------------------------------------

class gate:
    """An op that runs until the gate is opened."""

    def __init__(self, t, **keys):
        t.gates = getattr(t, 'gates', 0) + 1
        self.path = t.box.fifo('gate%d' % t.gates)
        self.op = bash('read x < %s; exit "${x:-0}"' % self.path, **keys)

    def open(self, status=0):
        with open(self.path, 'w') as f:
            f.write('%d\n' % status)


def started_then_completed(t):
    t.write(item('a'))
    g = gate(t, todo='a')
    run = t.box.submit(batch([g.op]), list=t.l)
    until(lambda: t.get('a')['status'] == 'in_progress', 'in_progress')
    t.match({'run': run}, t.get('a'))
    g.open()
    t.box.wait(run)
    t.match({'status': 'completed', 'error': None, 'run': run}, t.get('a'))
    t.match({'events': [{}, {'run': run, 'source': 'batch'}, {'run': run}]}, t.call('todo.history', list=t.l))


def all_ops(t):
    t.write(item('a'))
    g = gate(t, todo='a')
    run = t.box.submit(batch([bash('true', todo='a'), g.op]), list=t.l)
    until(lambda: t.box.get(run)['ops'][0]['state'] == 'succeeded', 'the first')
    t.assertEqual(t.get('a')['status'], 'in_progress')
    g.open()
    t.box.wait(run)
    t.assertEqual(t.get('a')['status'], 'completed')


def failed(t):
    t.write(item('a'), item('b'))
    t.run_batch([bash('exit 3', todo='a'), bash('true', todo='b')])
    t.match({'status': 'pending', 'error': 'exit 3: exit 3', 'started': None}, t.get('a'))
    t.match({'status': 'completed', 'error': None}, t.get('b'))
    t.run_batch([bash('true', todo='a')])
    t.match({'status': 'completed', 'error': None}, t.get('a'))


def failed_and_another(t):
    """A sibling that starts after the failure takes neither the error away nor the item up again."""
    t.write(item('a'))
    run = t.run_batch([bash('exit 3', todo='a', id='x'), bash('true', todo='a', after_any=['x'])])
    t.assertEqual([o['state'] for o in run['ops']], ['failed', 'succeeded'])
    t.match({'status': 'pending', 'error': 'exit 3: exit 3'}, t.get('a'))


def retried(t):
    t.write(item('a'))
    t.run_batch([bash('test -e %s || { touch %s; exit 1; }' % (t.l, t.l), todo='a', retries=1, retry_delay=0)])
    t.match({'status': 'completed', 'error': None}, t.get('a'))
    t.assertEqual([[x['status'] for x in e['after']] for e in t.call('todo.history', list=t.l)['events'][1:]], [['in_progress'], ['completed']])


def skipped(t):
    t.write(item('a'), item('b'))
    t.run_batch([bash('false', todo='a')], [bash('true', todo='b')])
    t.match({'status': 'pending', 'error': None, 'run': None}, t.get('b'))


def cancelled(t):
    t.write(item('a'))
    g = gate(t, todo='a')
    run = t.box.submit(batch([g.op]), list=t.l)
    until(lambda: t.get('a')['status'] == 'in_progress', 'in_progress')
    t.call('run.cancel', run=run)
    t.box.wait(run)
    t.match({'status': 'pending', 'error': lambda e: 'cancel' in e}, t.get('a'))


def timed_out(t):
    t.write(item('a'))
    t.run_batch([bash('sleep 60', todo='a', timeout='100ms')])
    t.match({'status': 'pending', 'error': lambda e: 'timeout' in e}, t.get('a'))


def changed_by_another(t):
    t.write(item('a'), item('b'))
    g = gate(t, todo='a'), gate(t, todo='b')
    run = t.box.submit(batch([g[0].op, g[1].op]), list=t.l)
    until(lambda: len(t.ids(status='in_progress')) == 2, 'in_progress')
    t.update('a', status='cancelled')
    t.update('b', owner='me')
    g[0].open()
    g[1].open(1)
    t.box.wait(run)
    t.match([{'status': 'cancelled'}, {'status': 'in_progress', 'owner': 'me', 'error': None}], t.list())


def leased(t):
    """An op that starts on a claimed item: the run gives it back, not the lease."""
    t.write(item('a'))
    g = gate(t, todo='a')
    t.claim('me', id='a', lease_ms=400)
    until_ms = t.get('a')['lease_until']
    run = t.box.submit(batch([g.op]), list=t.l)
    until(lambda: t.get('a')['run'] == run, 'the move')
    until(lambda: time.time() * 1000 > until_ms + 100, 'the end of what was its lease')
    t.match({'owner': 'me', 'status': 'in_progress', 'lease_until': None}, t.get('a'))
    g.open()
    t.box.wait(run)
    t.match({'owner': 'me', 'status': 'completed'}, t.get('a'))


def unknown_todo(t):
    t.write(item('a'))
    b = batch([bash('true', todo='a'), bash('true', todo='ghost')], list=t.l)
    t.refused_batch('E_PARAMS', b, ('messages[0].ops[1].todo', "'ghost'"))
    t.refused_batch('E_PARAMS', batch([bash('true', todo='x')], [todos(item('x'))], list=t.l), 'messages[0].ops[0].todo')
    t.refused_batch('E_PARAMS', batch([todos(item('x'), list='elsewhere')], [bash('true', todo='x')], list=t.l), 'todo')


def set_by_the_batch(t):
    run = t.run_batch([todos(item('x'), item('y')), bash('true', todo='x')], [bash('false', todo='y')])
    t.assertEqual([o['state'] for o in run['ops']], ['succeeded', 'succeeded', 'failed'])
    t.match([{'id': 'x', 'status': 'completed'}, {'id': 'y', 'status': 'pending', 'error': lambda e: e}], t.list())


def restarted(t):
    flag = t.box.path(t.l)
    t.write(item('a'), item('b'))
    run = t.run_batch([bash('true', todo='a'), bash('true', todo='b'), bash('test -e %s' % flag, todo='b')])
    t.match([{'status': 'completed'}, {'status': 'pending', 'error': lambda e: e}], t.list())
    rev = t.get('a')['rev']
    t.box.put(flag)
    new = t.call('run.restart', run=run['run'], failed=True)['run']
    t.box.wait(new)
    t.match([{'status': 'completed', 'rev': rev}, {'status': 'completed', 'error': None, 'run': new}], t.list())


def op_list(t):
    """The batch's `list`, else the project's; the op hears it as BATCHD_LIST; a `todos` op may name another."""
    t.run_batch([todos(item('x'), list=t.l + '-named'), todos(item('y')), bash('printf %s "$BATCHD_LIST"', id='o')])
    t.assertEqual((t.ids(), [x['id'] for x in t.call('todo.list', list=t.l + '-named')['todos']]), (['y'], ['x']))
    run = t.box.run(batch([todos(item('of-project')), bash('printf %s "$BATCHD_LIST"')]))
    t.assertEqual(t.box.output(run['run'], 2).decode(), t.box.work)
    t.assertEqual([x['id'] for x in t.call('todo.list', cwd=t.box.work)['todos']], ['of-project'])


def op_modes(t):
    t.write(item('mine'), source='me')
    t.run_batch([todos(item('x'), item('y'))], [todos({'id': 'y', 'status': 'completed'}, item('z'), mode='merge')])
    t.match([{'id': 'mine'}, {'id': 'x', 'source': 'batch'}, {'id': 'y', 'status': 'completed'}, {'id': 'z'}], t.list())
    t.run_batch([todos(item('w'), mode='replace')])
    t.assertEqual(t.ids(), ['mine', 'w'])


def op_begins(t):
    """`todos` when the message begins."""
    run = t.run_batch([bash('batchctl todo list --json', id='look'), todos(item('x'))])
    t.match([{'id': 'x'}], json.loads(t.box.output(run['run'], 'look'))['todos'])


@expand
class Driven(Todos):
    """An op with `todo: ID`."""

    @together(
        ('`todo: ID` moves the item to `in_progress` when it starts, to `completed` when it succeeded', started_then_completed),
        ('`completed` when all ops of the run that drive it succeeded', all_ops),
        ('on failure back to `pending` with `error`', failed),
        ('`error` stays when another op of the run starts later', failed_and_another),
        ('`retries`: in_progress until the last try', retried),
        ('`skipped`: an item that was not begun stays as it is', skipped),
        ('`cancelled`', cancelled),
        ('`timeout`', timed_out),
        ('it does not move an item that someone else changed since', changed_by_another),
        ('`lease_ms` ends with the op that takes over', leased),
        ('A `todo` that is neither in the list nor set by this or an earlier message: refused', unknown_todo),
        ('`todos` of this or an earlier message set it', set_by_the_batch),
        ('`run.restart` {failed}: drives what it repeats', restarted),
        ('`list`', op_list),
        ('`todos`: `replace` (default) or `merge`, `mode`', op_modes),
        ('`todos` when the message begins', op_begins),
    )
    def driven(self, case):
        self.fresh(case)

    def kill_between(self, *steps):
        """A run with an op on each of a, b, with batchd killed before each step."""
        self.l = 'l'
        self.write(item('a'), item('b'))
        a, b = gate(self, todo='a'), gate(self, todo='b')
        run = self.box.submit(batch([a.op, b.op]), list='l')
        until(lambda: len(self.ids(status='in_progress')) == 2, 'in_progress')
        for step in steps:
            self.box.restart()
            step(self, a, b)
        self.box.wait(run)
        return run

    def test_the_move_is_made_after_kill_9(self):
        run = self.kill_between(lambda t, a, b: (a.open(), b.open(1)))
        self.match([{'id': 'a', 'status': 'completed', 'run': run}, {'id': 'b', 'status': 'pending', 'error': lambda e: e}], self.list())

    def test_an_op_that_ends_while_batchd_is_away(self):
        self.l = 'l'
        self.write(item('a'))
        a = gate(self, todo='a')
        run = self.box.submit(batch([a.op]), list='l')
        until(lambda: self.ids(status='in_progress') == ['a'], 'in_progress')
        self.box.kill_daemon()
        a.open()
        self.box.start()
        self.box.wait(run)
        self.match([{'status': 'completed'}], self.list())

    def test_of_items_that_are_gone_the_others_are_moved_after_kill_9(self):
        def gone(t, a, b):
            t.call('todo.remove', list='l', id='a')
            t.box.restart()
            a.open()
            b.open()
        self.kill_between(gone)
        self.match([{'id': 'b', 'status': 'completed'}], self.list())

    def full(self):
        """A write that comes after all before it, and finds no room."""
        with self.assertRaises(RpcError) as e:
            self.call('todo.write', list='other', todos=[item('x')])
        self.assertEqual((e.exception.symbol, e.exception.caller), ('E_STORAGE', False))

    def test_moves_on_a_full_disk_are_made_when_there_is_room(self):
        self.l = 'l'
        self.write(item('a'), item('b'))
        a, b = gate(self, todo='a'), gate(self, todo='b')
        run = self.box.submit(batch([a.op, b.op]), list='l')
        until(lambda: len(self.call('todo.history', list='l')['events']) == 3, 'both in_progress, and stored')
        pid = self.box.daemon_pid()
        soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
        self.full()
        a.open()
        b.open(1)
        until(lambda: self.call('daemon.status')['running_ops'] == 0, 'the end of the ops')
        self.full()
        self.match(['running'] * 2, [o['state'] for o in self.box.get(run)['ops']])     # what is not stored is not shown
        self.match([{'status': 'in_progress'}] * 2, self.list())
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
        self.box.wait(run)
        self.match(['succeeded', 'failed'], [o['state'] for o in self.box.get(run)['ops']])
        until(lambda: self.get('a')['status'] == 'completed', 'the moves')
        until(lambda: self.get('b')['error'], 'the other move')
        self.match({'status': 'pending', 'owner': None}, self.get('b'))
        self.box.restart()
        self.match([{'status': 'completed'}, {'status': 'pending', 'error': lambda e: e}], self.list())


# --- batchctl todo ---------------------------------------------------------------------------------------------------

class Ctl(Todos):
    def todo(self, *args, check=0, **keys):
        return self.box.ctl('todo', '--list', self.l, *args, check=check, **keys)

    def shown(self, *args, **keys):
        return self.todo(*args, **keys).text


def ctl_list(t):
    t.todo('add', 'Write the tests', '--id', 'tests', '--priority', 'high', '--owner', 'me', '--tag', 'x', '--at', 'a.c:1')
    t.assertEqual(t.shown('list'), '[ ] tests  Write the tests  high  @me  a.c:1  #x\n')
    t.assertEqual(t.box.ctl('todo', '--list', t.l, check=0).text, t.shown('list'))
    t.assertEqual(t.todo('list', '--json').json, t.call('todo.list', list=t.l))
    t.assertEqual(t.todo('list', '--status', 'completed').out, b'')
    t.match({'list': 'x', 'rev': 0, 'todos': []}, t.box.ctl('todo', 'list', '--list', 'x', '--json', check=0).json)


def ctl_long_list(t):
    for i in range(6):
        t.merge(*[item('i%d-%d' % (i, k), 'x' * 10000) for k in range(100)])
    t.assertEqual(len(t.todo('list', '--json').json['todos']), 600)
    t.assertEqual(len(t.shown('list').splitlines()), 600)


def ctl_add(t):
    t.assertEqual(t.shown('add', 'two', 'words'), 't1\n')
    t.assertEqual(t.shown('add', 'wide 字 ☃', '--blocked-by', 't1', '--id', 'ü'), 'ü\n')
    t.match([{'content': 'two words'}, {'content': 'wide 字 ☃', 'blocked_by': ['t1'], 'source': 'batchctl'}], t.list())
    t.match({'todos': [{'id': 't2'}], 'rev': 3}, t.todo('add', 'third', '--json').json)
    t.todo('add', check=2)


def ctl_moves(t):
    t.write(item('a'), item('b'), item('c'))
    t.todo('start', 'a', 'b', '--owner', 'me')
    t.match([{'status': 'in_progress', 'owner': 'me'}] * 2 + [{'status': 'pending'}], t.list())
    t.todo('done', 'a')
    t.todo('rm', 'b')
    t.match([{'id': 'a', 'status': 'completed'}, {'id': 'c'}], t.list())
    t.match({'todo': {'id': 'c', 'status': 'completed'}}, t.todo('done', 'c', '--json').json)
    d = t.todo('done', 'cc', check=2)
    t.assertIn("no item 'cc'", d.errors)


def ctl_moves_some(t):
    for verb, done in (('rm', 'removed'), ('done', 'done'), ('start', 'in progress'), ('release', 'released')):
        t.write(item('a'), item('b'))
        r = t.todo(verb, 'a', 'ghost', 'b', check=2)
        t.assertEqual(r.text, '%s: a\n%s: b\n' % (done, done))
        t.assertIn("no item 'ghost'", r.errors)
        t.assertEqual([w for w in r.errors.splitlines()[1:] if 'warning' not in w], [], r)
    t.match({'results': [{'todo': {'id': 'a'}}, {'todo': {'id': 'b'}}]}, t.todo('done', 'a', 'ghost', 'b', '--json', check=2).json)
    t.assertEqual(t.todo('done', 'ghost', '--json', check=2).out, b'')


def ctl_warns(t):
    def warned(*args, **keys):
        r = t.todo(*args, **keys)
        t.assertRegex(r.errors, r"^batchctl todo \w+: warning: \d items of 'me' are in_progress: 'a', 'b'.*\n$", args)
        return r
    busy = dict(status='in_progress', owner='me')
    warned('write', '-', input=json.dumps([item('a', **busy), item('b', **busy)]))
    t.assertEqual(warned('add', 'C', '--id', 'c', '--status', 'in_progress', '--owner', 'me').text, 'c\n')
    t.assertTrue(warned('set', 'a', 'priority=high', '--json').json['warnings'])
    t.write(item('d'), item('e'))
    t.match({'results': [{}, {}]}, warned('start', 'd', 'e', '--owner', 'me', '--json').json)
    t.merge(item('f'))
    warned('claim', '--owner', 'me', 'f')
    t.assertEqual(t.todo('start', 'd', '-q').errors, '')
    t.assertEqual(t.todo('done', 'a', 'b', 'c', 'd').errors, '')


def ctl_set(t):
    t.write(item('a'), item('b'))
    t.todo('set', 'a', 'priority=low', 'owner=me', 'tags=x,y', 'blocked_by=b', 'meta.k=v', 'description=long text')
    t.match({'priority': 'low', 'owner': 'me', 'tags': ['x', 'y'], 'blocked_by': ['b'], 'meta': {'k': 'v'}, 'description': 'long text'}, t.get('a'))
    t.todo('set', 'a', 'owner=', 'tags=', 'blocked_by=')
    t.match({'owner': None, 'tags': [], 'blocked_by': []}, t.get('a'))
    t.assertIn('prioritty', t.todo('set', 'a', 'prioritty=low', check=2).errors)
    t.todo('set', 'a', 'status=doing', check=2)


def ctl_write(t):
    t.todo('write', '-', input=json.dumps([item('a'), item('b')]))
    t.todo('write', '-', '--mode', 'merge', input=json.dumps({'todos': [{'id': 'a', 'status': 'completed'}]}))
    t.match([{'id': 'a', 'status': 'completed', 'source': 'batchctl'}, {'id': 'b'}], t.list())
    t.assertIn('revision 2', t.todo('write', '-', '--base-rev', '1', input='[]', check=2).errors)
    t.todo('write', t.box.put('%s.json' % t.l, json.dumps([item('c')])), '--source', '*')
    t.assertEqual(t.ids(), ['c'])
    t.assertEqual(t.todo('write', '-', '--json', input='[]').json['others'], [])
    t.todo('write', '-', input='{', check=2)


def ctl_claim(t):
    t.write(item('a'))
    t.assertEqual(t.shown('claim', '--owner', 'me', '--lease', '10m'), 'a\n')
    t.assertGreater(t.get('a')['lease_until'], time.time() * 1000)
    t.assertEqual(t.todo('claim', '--owner', 'you', check=1).out, b'')
    t.assertIn("'me'", t.todo('claim', 'a', '--owner', 'you', check=2).errors)
    t.todo('release', 'a')
    t.match({'owner': None, 'status': 'pending'}, t.get('a'))
    t.match({'todo': {'id': 'a'}}, t.todo('claim', '--owner', 'me', '--json').json)
    t.match({'todo': None}, t.todo('claim', '--owner', 'you', '--json', check=1).json)


def ctl_ready(t):
    t.write(item('a'), item('b', blocked_by=['a']))
    t.assertEqual(t.shown('ready'), '[ ] a   A\n')
    t.assertEqual([x['id'] for x in t.todo('ready', '--json').json['todos']], ['a'])


def ctl_log(t):
    for i in range(120):
        t.write(item('a', 'v%d' % i))
    lines = t.shown('log').splitlines()
    t.assertEqual(len(lines), 120, 'all of it')
    t.assertRegex(lines[0], r'^ *1  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  \+ a  v0$')
    t.update('a', status='completed')
    t.assertIn('pending -> completed', t.shown('log', '--since', '120'))
    t.assertEqual([e['rev'] for e in t.todo('log', '--json').json['events']], list(range(1, 122)))


def ctl_undo(t):
    t.todo('add', 'one', '--id', 'a')
    t.todo('add', 'two', '--id', 'b')
    t.todo('done', 'a')
    t.todo('done', 'a')                     # changes nothing
    t.todo('undo')
    t.match([{'id': 'a', 'status': 'pending'}, {'id': 'b'}], t.list())
    d = t.todo('undo')
    t.assertEqual(t.ids(), ['a'], 'undo after undo goes back one more')
    t.todo('add', 'three', '--id', 'c')
    t.todo('undo')
    t.assertEqual(t.ids(), ['a'])
    t.todo('undo')
    t.assertEqual(t.ids(), [])
    t.assertIn('nothing to take back', t.todo('undo', check=2).errors)
    t.assertIn('todo undo 5', d.text)
    t.todo('undo', '4')
    t.match([{'id': 'a', 'status': 'completed'}, {'id': 'b'}], t.list())
    t.todo('undo', 'x', check=2)


def ctl_lists(t):
    t.write(item('a'))
    t.assertIn(t.l, t.box.ctl('todo', 'lists', check=0).text.splitlines())
    t.assertEqual(t.box.ctl('todo', 'lists', '--json', check=0).json, t.call('todo.lists'))


def ctl_status(t):
    t.assertEqual(t.shown('status', '--format', '{in_progress}/{open}'), '0/0\n')
    t.write(item('a', status='in_progress'), item('b'), item('c', status='completed'))
    t.assertEqual(t.shown('status', '--format', '{in_progress}/{open}'), '1/2\n')
    t.assertEqual(t.shown('status'), '1/2\n')
    t.assertEqual(t.shown('status', '--format', '{{{pending} {completed} {cancelled} {total}}}'), '{1 1 0 3}\n')
    t.match({'in_progress': 1, 'open': 2}, t.todo('status', '--json').json)
    t.todo('status', '--format', '{nonsense}', check=2)


def ctl_env(t):
    env = {'BATCHD_LIST': t.l}
    t.box.ctl('todo', 'add', 'x', env=env, check=0)
    t.assertEqual(t.ids(), ['t1'])
    t.box.ctl('todo', 'add', 'x', '--list', t.l + '2', env=env, check=0)
    t.assertEqual(t.ids(), ['t1'])
    sub = os.path.join(t.box.work, 'sub')
    os.makedirs(sub, exist_ok=True)
    t.box.ctl('todo', 'add', 'x', '--id', t.l, cwd=sub, check=0)
    t.assertIn(t.l, [x['id'] for x in t.call('todo.list', list=t.box.work)['todos']])


def ctl_watch(t):
    p = t.box.ctl_start('todo', 'watch', '--list', t.l, '--json')
    until(lambda: t.merge(item('a')) and select_in(p.stdout), 'the first event')
    t.match({'type': 'todo.changed', 'list': t.l}, json.loads(p.stdout.readline()))
    p.terminate()
    t.assertNotEqual(p.wait(), 0)
    p.stdout.close()
    p.stderr.close()


def ctl_watch_revisions(t):
    t.box.run(batch([bash('true')]))        # the store's revision runs ahead of the list's
    t.write(item('a'))
    p = t.box.ctl_start('todo', 'watch', '--list', t.l)
    n = 0
    while not select_in(p.stdout):
        t.merge(item('a', 'v%d' % n))
        n += 1
    shown = p.stdout.readline()
    p.terminate()
    p.wait()
    p.stdout.close()
    p.stderr.close()
    t.assertIn(shown.decode() if isinstance(shown, bytes) else shown, t.shown('log'))


def select_in(f):
    import select
    return select.select([f], [], [], 0.1)[0]


def ctl_help(t):
    for sub in 'list add start done set rm write claim release ready log undo lists watch status'.split():
        t.assertIn('--list', t.box.ctl('todo', sub, '--help', check=0).text, sub)


@expand
class Verbs(Ctl):
    """`todo [list|add|start|done|set|rm|write|claim|release|ready|log|undo|lists|watch|status]`"""

    @together(
        ('`todo list`; `--json` prints the result of `todo.list`', ctl_list),
        ('`todo list` shows all of a long one', ctl_long_list),
        ('`todo add`', ctl_add),
        ('`todo start`, `todo done`, `todo rm`', ctl_moves),
        ('of several items the others are done and told when one is not there', ctl_moves_some),
        ('More than one `in_progress` per owner is a warning', ctl_warns),
        ('`todo set`', ctl_set),
        ('`todo write`', ctl_write),
        ('`todo claim`, `todo release`', ctl_claim),
        ('`todo ready`', ctl_ready),
        ('`todo log`', ctl_log),
        ('`todo undo`', ctl_undo),
        ('`todo lists`', ctl_lists),
        ('`todo status --format`', ctl_status),
        ('all take `--list`; `BATCHD_LIST`', ctl_env),
        ('`todo watch`', ctl_watch),
        ('`todo watch` shows the revisions that `todo log` and `todo undo` have', ctl_watch_revisions),
        ('all take `--list`, and say so', ctl_help),
    )
    def verb(self, case):
        self.fresh(case)

    def test_watch_goes_on_over_a_restart(self):
        self.l = 'l'
        p = self.box.ctl_start('todo', 'watch', '--list', 'l')
        try:
            until(lambda: self.merge(item('a', str(time.monotonic()))) and select_in(p.stdout) and os.read(p.stdout.fileno(), 65536), 'the first event')
            self.box.restart()
            until(lambda: self.merge(item('b', str(time.monotonic()))) and select_in(p.stdout) and b'  b  ' in os.read(p.stdout.fileno(), 65536),
                  'an event after the restart')
        finally:
            p.terminate()
            p.wait()
            p.stdout.close()
            p.stderr.close()


class NoDaemon(Ctl):
    daemon = False

    def test_status_starts_no_daemon(self):
        self.l = 'l'
        self.assertEqual(self.todo('status', check=125).out, b'')
        self.assertFalse(os.path.exists(self.box.socket))

    def test_the_others_start_one(self):
        self.l = 'l'
        self.assertEqual(self.shown('add', 'x'), 't1\n')


if __name__ == '__main__':
    unittest.main()
