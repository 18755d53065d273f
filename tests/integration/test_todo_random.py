"""
Random writes, merges, updates, claims, releases, removals and restores from several connections, held against a small oracle of lists
and their revisions, with kill -9 in between. BATCHD_SEED repeats a walk that failed.
"""
import copy
import os
import random
import unittest

from harness import Case, RpcError

LISTS = ('one', 'two')
STEPS = 500
KILLS = 6
OWNERS = ('eve', 'bob')
STATUSES = ('pending', 'in_progress', 'completed', 'cancelled')
PRIORITIES = ('high', 'medium', 'low')
CONTENTS = ['c%d' % i for i in range(6)]
COMPARED = ('id', 'content', 'status', 'priority', 'owner', 'blocked_by', 'source')


class Refused(Exception):
    pass


class List:
    """What a list is to do, in the plainest way."""

    def __init__(self):
        self.items, self.past = [], [[]]        # in order; past[rev]
        self.changed = []                       # ids of items that are not what they were, and are there

    @property
    def rev(self):
        return len(self.past) - 1

    def find(self, id):
        return next((t for t in self.items if t['id'] == id), None)

    def need(self, id):
        if not self.find(id):
            raise Refused('E_NOT_FOUND')
        return self.find(id)

    def blocked(self, t):
        return any(self.find(b) and self.find(b)['status'] != 'completed' for b in t['blocked_by'])

    def has_ring(self):
        def walk(id, path):
            t = self.find(id)
            return id in path or (t and any(walk(b, path | {id}) for b in t['blocked_by']))
        return any(walk(t['id'], frozenset()) for t in self.items)

    def set(self, t, fields):
        t.update({k: v for k, v in fields.items() if k in COMPARED})

    def change(self, change):
        """Runs the change; it is a revision, or refused without a trace."""
        before = copy.deepcopy(self.items)
        try:
            result = change()
            if self.has_ring():
                raise Refused('E_PARAMS')
        except Refused:
            self.items = before
            raise
        old = {t['id']: t for t in before}
        self.changed = [t['id'] for t in self.items if t != old.get(t['id'])]
        self.past.append(copy.deepcopy(self.items))
        return result

    def write(self, items, mode, source, ids):
        """`ids`: the answer's, for items that are made."""
        def change():
            taken, found = set(), []
            for x in items:
                if 'id' in x and self.find(x['id']):
                    taken.add(x['id'])
            for x in items:
                t = self.find(x['id']) if 'id' in x else self.by_content(x, mode, source, taken)
                if t:
                    taken.add(t['id'])
                found.append(t)
            for i, (x, t) in enumerate(zip(items, found)):
                if not t:
                    t = {'id': x.get('id', ids[i] if ids else None), 'status': 'pending', 'priority': 'medium', 'owner': None,
                         'blocked_by': [], 'source': source}
                    self.items.append(t)
                    found[i] = t
                elif mode == 'replace':
                    t['source'] = source
                self.set(t, x)
            named = [t['id'] for t in found]
            if mode == 'replace':
                self.items = [t for t in self.items if t['id'] in named or t['source'] != source]
            for x in items:
                if any(not self.find(b) for b in x.get('blocked_by', [])):
                    raise Refused('E_PARAMS')
        self.change(change)

    def by_content(self, x, mode, source, taken):
        fits = [t for t in self.items if t['content'] == x['content'] and t['id'] not in taken and
                (t['source'] == source if mode == 'replace' else
                 not (t['status'] in ('completed', 'cancelled') and x.get('status') not in ('completed', 'cancelled')))]
        return min(fits, key=lambda t: t['source'] != source, default=None)

    def update(self, id, fields):
        def change():
            t = self.need(id)
            had = list(t['blocked_by'])
            self.set(t, fields)
            if any(not self.find(b) and b not in had for b in t['blocked_by']):
                raise Refused('E_PARAMS')
        self.change(change)

    def remove(self, id):
        self.change(lambda: self.items.remove(self.need(id)))

    def claim(self, id, owner):
        def free(t):
            return t['status'] == 'pending' and t['owner'] in (None, owner) and not self.blocked(t)

        def change():
            t = self.need(id)
            if t['status'] in ('completed', 'cancelled'):
                raise Refused('E_STATE')
            if t['owner'] not in (None, owner):
                raise Refused('E_CONFLICT')
            if t['status'] == 'in_progress':
                if not t['owner']:
                    raise Refused('E_CONFLICT')
            elif self.blocked(t):
                raise Refused('E_STATE')
            t.update(status='in_progress', owner=owner)
        if id is None:
            ready = sorted(filter(free, self.items), key=lambda t: PRIORITIES.index(t['priority']))
            if not ready:
                self.changed = []
                return None
            id = ready[0]['id']
        self.change(change)
        return id

    def release(self, id, owner):
        def change():
            t = self.need(id)
            if t['status'] in ('completed', 'cancelled') or (not t['owner'] and t['status'] == 'pending'):
                raise Refused('E_STATE')
            if owner and t['owner'] not in (None, owner):
                raise Refused('E_CONFLICT')
            t.update(status='pending', owner=None)
        self.change(change)

    def restore(self, rev):
        def change():
            if not 0 <= rev <= self.rev:
                raise Refused('E_NOT_FOUND')
            self.items = copy.deepcopy(self.past[rev])
        # What was once a list is one again, whatever its links say.
        ring, self.has_ring = self.has_ring, lambda: False
        try:
            self.change(change)
        finally:
            self.has_ring = ring


class Walk(Case):
    def pick_id(self, l):
        return self.random.choice([t['id'] for t in l.items] + ['ghost']) if self.random.random() < 0.9 else 'ghost'

    def fields(self, l):
        r, x = self.random, {}
        if r.random() < 0.5:
            x['status'] = r.choice(STATUSES)
        if r.random() < 0.3:
            x['priority'] = r.choice(PRIORITIES)
        if r.random() < 0.2:
            x['blocked_by'] = sorted({self.pick_id(l) for _ in range(r.randrange(3))})
        return x

    def item(self, l, used):
        x = dict(self.fields(l), content=self.random.choice(CONTENTS))
        id = self.pick_id(l)
        if self.random.random() < 0.3 and id != 'ghost' and id not in used:
            x['id'] = id
            used.add(id)
        return x

    def step(self):
        """One random request to the daemon and to the oracle: both take it, or both refuse it for the same reason."""
        r = self.random
        name = r.choice(LISTS)
        l, conn, kind = self.lists[name], r.choice(self.connections), r.random()
        params, apply = {'list': name}, None
        if kind < 0.35:
            used = set()
            items, mode, source = [self.item(l, used) for _ in range(r.randrange(5))], r.choice(('replace', 'merge')), r.choice('ab')
            params.update(todos=items, mode=mode, source=source)
            method, apply = 'todo.write', lambda got: l.write(items, mode, source, got and [t['id'] for t in got['todos']])
        elif kind < 0.55:
            id, fields = self.pick_id(l), self.fields(l)
            params.update(fields, id=id)
            method, apply = 'todo.update', lambda got: l.update(id, fields)
        elif kind < 0.65:
            id = self.pick_id(l)
            params.update(id=id)
            method, apply = 'todo.remove', lambda got: l.remove(id)
        elif kind < 0.8:
            id, owner = r.choice((None, self.pick_id(l))), r.choice(OWNERS)
            params.update(id=id, owner=owner)
            method, apply = 'todo.claim', lambda got: self.assertEqual(l.claim(id, owner), got and got['todo'] and got['todo']['id'])
        elif kind < 0.9:
            id, owner = self.pick_id(l), r.choice(OWNERS + (None,))
            params.update(id=id, owner=owner)
            method, apply = 'todo.release', lambda got: l.release(id, owner)
        else:
            rev = r.randrange(l.rev + 2)
            params.update(rev=rev)
            method, apply = 'todo.restore', lambda got: l.restore(rev)
        if method in ('todo.write', 'todo.update', 'todo.remove', 'todo.restore') and r.random() < 0.2:
            params['base_rev'] = l.rev - r.randrange(2)
        self.last = (method, params)
        self.both(conn, method, params, l, apply)

    def both(self, conn, method, params, l, apply):
        if params.get('base_rev', l.rev) < 0:
            del params['base_rev']
        want = None
        try:
            got = conn.call(method, params)
        except RpcError as e:
            got, want = None, e.symbol
        rev = l.rev
        try:
            if params.get('base_rev', rev) != rev and not (method == 'todo.restore' and params['rev'] > rev):
                raise Refused('E_CONFLICT')
            apply(got)
            self.assertIsNone(want, 'refused, and the oracle took it')
            self.assertEqual(got['rev'], l.rev)
            self.after(method, params, l, got)
        except Refused as e:
            self.assertEqual(want, str(e))

    def after(self, method, params, l, got):
        now = self.box.call('todo.list', list=params['list'])['todos']
        if l.rev > 0 and got.get('todo', got) is not None:
            self.assertLessEqual(set(l.changed), {t['id'] for t in now if t['rev'] == l.rev}, 'their revision is the list\'s')
        if params.get('mode') == 'replace':
            written = [t['id'] for t in got['todos']]
            self.assertEqual([t['id'] for t in now if t['id'] in written], written, 'in the order written')

    def shown(self, items):
        return sorted(({k: t[k] for k in COMPARED} for t in items), key=lambda t: t['id'])

    def compare(self, all_past=False):
        for name, l in self.lists.items():
            got = self.box.call('todo.list', list=name)
            self.assertEqual(got['rev'], l.rev)
            self.assertEqual(self.shown(got['todos']), self.shown(l.items))
            l.items.sort(key=lambda t: [x['id'] for x in got['todos']].index(t['id']))      # the order is another test's
            for rev in range(l.rev + 1) if all_past else [self.random.randrange(l.rev + 1)]:
                self.assertEqual(self.shown(self.box.call('todo.list', list=name, rev=rev)['todos']), self.shown(l.past[rev]), 'revision %d' % rev)

    def reconnect(self):
        self.connections = [self.box.connect() for _ in range(3)]

    def test_a_random_walk(self):
        seed = int(os.environ.get('BATCHD_SEED', random.randrange(1 << 30)))
        self.random = random.Random(seed)
        self.lists = {name: List() for name in LISTS}
        kills = sorted(self.random.sample(range(STEPS), KILLS))
        self.reconnect()
        for n in range(STEPS):
            try:
                self.step()
                if n in kills:
                    self.box.restart()
                    self.reconnect()
                self.compare(all_past=n == STEPS - 1)
            except AssertionError as e:
                raise AssertionError('BATCHD_SEED=%d, step %d, %r: %s' % (seed, n, self.last, e))


if __name__ == '__main__':
    unittest.main()
