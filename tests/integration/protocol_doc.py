"""proto/PROTOCOL.md as data: what it says a method takes and answers, so that real answers can be held to it."""
import os
import re

from harness import ROOT

ITEM = re.compile(r'`(\w+)` ([^,(|`]+?)( \([^)]*\))?(?:,|$)')


class Unlike(AssertionError):
    pass


def table_rows(text):
    """The cells of each row of the first table in the text."""
    lines = [l for l in text.split('\n') if l.startswith('|')]
    return [[c.strip() for c in l.strip('|').split('|')] for l in lines[2:]]


class Protocol:
    """`results`: by method (`run.wait of runs` for a second form), `shapes`: by name; both as [(key, type, optional)], where a key None stands
    for all the keys of a shape. `params`: by method, the set of keys."""

    def __init__(self):
        with open(os.path.join(ROOT, 'proto', 'PROTOCOL.md')) as f:
            text = f.read()
        derived = text.index('<!-- begin')
        self.results, self.shapes, self.params = {}, {}, {}
        for method, result in table_rows(text[text.index('## Results'):text.index('**Pages.**')]):
            name = re.sub(r' of (a )?', ' of ', method.replace('`', ''))
            self.results[name] = self.items(result)
        for part in text[text.index('\n## Shapes'):derived].split('\n### ')[1:]:
            name, _, body = part.partition('\n')
            self.shapes[name] = [(k.strip('`'), *self.optional(t)) for k, t, _ in table_rows(body)]
        self.shapes['waited'] += self.shapes['run']
        for part in text[derived:text.index('### Batch', derived)].split('\n#### ')[1:]:
            name, _, body = part.partition('\n')
            self.params[name.strip('`')] = {cells[0].split('`')[1] for cells in table_rows(body)}

    @staticmethod
    def optional(kind):
        bare = re.sub(r' \([^)]*\)$', '', kind)
        return bare, bare != kind

    def items(self, text):
        keys = [(k, t.strip(), bool(o)) for k, t, o in ITEM.findall(text)]
        rest = [w.strip() for w in ITEM.sub('', text).split(',') if w.strip()]
        return keys + [(None, w, False) for w in rest]

    def keys(self, items):
        for key, kind, optional in items:
            if key is None and kind == 'nothing':
                continue
            if key is None:
                yield from self.keys(self.shapes[kind])
            else:
                yield key, kind, optional

    # --- holding answers to it

    def check_map(self, value, items, where):
        if not isinstance(value, dict):
            raise Unlike('%s: a map, not %r' % (where, value))
        known = {key: (kind, optional) for key, kind, optional in self.keys(items)}
        for key in value:
            if key not in known:
                raise Unlike('%s.%s is not in PROTOCOL.md' % (where, key))
        for key, (kind, optional) in known.items():
            if key in value:
                self.check(value[key], kind, '%s.%s' % (where, key))
            elif not optional:
                raise Unlike('%s.%s is missing' % (where, key))

    def check(self, value, kind, where):
        if kind.endswith(' or nil'):
            return value is None or self.check(value, kind[:-7], where)
        if kind.startswith('array of '):
            if not isinstance(value, list):
                raise Unlike('%s: an array, not %r' % (where, value))
            for i, v in enumerate(value):
                self.check(v, kind[9:], '%s[%d]' % (where, i))
            return None
        if kind == 'chunk':
            return [self.check(v, 'int', where) for v in value]
        if kind in self.shapes:
            return self.check_map(value, self.shapes[kind], where)
        python = {'int': int, 'str': str, 'bin': bytes, 'bool': bool, 'float': float, 'map': dict, 'nil': type(None),
                  'bytes': (str, bytes)}[kind]
        if not isinstance(value, python) or isinstance(value, bool) != (kind == 'bool'):
            raise Unlike('%s: %s, not %r' % (where, kind, value))
        if kind == 'bytes' and isinstance(value, bytes):
            try:
                value.decode()
            except UnicodeDecodeError:
                return None
            raise Unlike('%s: valid UTF-8 is sent as str: %r' % (where, value))

    def check_result(self, form, value):
        self.check_map(value, self.results[form], form)

    def check_event(self, event):
        self.check_map(event, self.shapes['event'] + self.shapes[event['type']], event['type'])
