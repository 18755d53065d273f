"""Contract section 1, the table of kinds: write, edit, read; and what a crash between temporary and rename may leave."""
import hashlib
import os
import stat
import unittest

from faults import Inject, no_inject
from harness import Case, bash, batch, edit, exec_, expand, read, rows, until, write

OK = {'state': 'succeeded', 'cause': None}


def failed(cause):
    return {'state': 'failed', 'cause': cause, 'exit': None, 'error': lambda e: e and '\n' not in e}


def sha(content):
    return hashlib.sha256(content).hexdigest()


@expand
class Files(Case):
    """Each row: files before, op, what the op must look like, files after (None: absent)."""

    @rows(
        ('write makes a file', {}, write('f', 'content\n'), OK, {'f': b'content\n'}),
        ('write makes parent folders', {}, write('a/b/c/f', 'x'), OK, {'a/b/c/f': b'x'}),
        ('write replaces', {'f': b'old old old'}, write('f', 'new'), OK, {'f': b'new'}),
        ('write of bytes', {}, write('f', bytes(range(256))), OK, {'f': bytes(range(256))}),
        ('write of nothing', {}, write('f', ''), OK, {'f': b''}),
        ('a name of bytes', {}, write(b'f\xff', 'x'), OK, {b'f\xff': b'x'}),
        ('an absolute path is one', {}, write('./x/../f', 'x'), OK, {'f': b'x'}),
        ('append', {'f': b'one\n'}, write('f', 'two\n', append=True), OK, {'f': b'one\ntwo\n'}),
        ('append to nothing', {}, write('f', 'two\n', append=True), OK, {'f': b'two\n'}),
        ('create_only makes', {}, write('f', 'x', create_only=True), OK, {'f': b'x'}),
        ('create_only does not replace', {'f': b'old'}, write('f', 'x', create_only=True), failed('conflict'), {'f': b'old'}),
        ('create_only does not take the same content for its own', {'f': b'x'}, write('f', 'x', create_only=True), failed('conflict'), {'f': b'x'}),
        ('expect of what is there', {'f': b'old'}, write('f', 'new', expect=sha(b'old')), OK, {'f': b'new'}),
        ('expect of something else', {'f': b'other'}, write('f', 'new', expect=sha(b'old')), failed('conflict'), {'f': b'other'}),
        ('expect of an absent file', {}, write('f', 'new', expect=sha(b'old')), failed('conflict'), {'f': None}),
        ('expect does not take the same content for its own', {'f': b'new'}, write('f', 'new', expect=sha(b'old')), failed('conflict'), {'f': b'new'}),
        ('a folder in the way', {'d/f': b''}, write('d', 'x'), failed('io'), {'d/f': b''}),
        ('a file where a folder should be', {'d': b'x'}, write('d/f', 'x'), failed('io'), {'d': b'x'}),
        ('nobody renames over /dev/null', {}, write('/dev/null', 'x'), failed('io'), {}),
        ('edit replaces the one occurrence', {'f': b'a b c'}, edit('f', 'b', 'B'), OK, {'f': b'a B c'}),
        ('edit with none', {'f': b'a b c'}, edit('f', 'x', 'y'), failed('conflict'), {'f': b'a b c'}),
        ('edit with several', {'f': b'b b'}, edit('f', 'b', 'B'), failed('conflict'), {'f': b'b b'}),
        ('edit of all', {'f': b'b b'}, edit('f', 'b', 'BB', all=True), OK, {'f': b'BB BB'}),
        ('edit of all with none', {'f': b'b b'}, edit('f', 'x', 'BB', all=True), failed('conflict'), {'f': b'b b'}),
        ('edit of bytes', {'f': b'\0\xff\0'}, edit('f', b'\xff', b'\n'), OK, {'f': b'\0\n\0'}),
        ('edit away', {'f': b'abc'}, edit('f', 'b', ''), OK, {'f': b'ac'}),
        ('edit of an absent file', {}, edit('f', 'b', 'c'), failed('io'), {'f': None}),
        ('read of an absent file', {}, read('f'), failed('io'), {}),
        ('read of a folder', {'d/f': b''}, read('d'), failed('io'), {}),
    )
    def file(self, before, op, expected, after):
        b = self.box
        for name, content in before.items():
            b.put(name, content)
        run = b.run(batch([op]))
        self.match([expected], run['ops'])
        for name, content in after.items():
            path = os.path.join(os.fsencode(b.work), name if isinstance(name, bytes) else name.encode())
            if content is None:
                self.assertFalse(os.path.lexists(path))
            else:
                with open(path, 'rb') as f:
                    self.assertEqual(f.read(), content)
        left = [n for _, _, names in os.walk(b.work) for n in names if n not in
                {os.path.basename(k) for k in list(before) + list(after) if isinstance(k, str)} and 'f' not in n]
        self.assertEqual(left, [], 'no temporary stays')

    @rows(
        ('the whole', {}, b'0123456789'),
        ('from an offset', {'offset': 4}, b'456789'),
        ('up to a limit', {'limit': 3}, b'012'),
        ('both', {'offset': 4, 'limit': 3}, b'456'),
        ('past the end', {'offset': 40}, b''),
    )
    def reads(self, keys, expected):
        self.box.put('f', b'0123456789')
        run = self.box.run(batch([read('f', **keys)]))
        self.match([dict(OK, stdout_bytes=len(expected))], run['ops'])
        self.assertEqual(self.box.output(run['run'], 1, 'stdout'), expected)

    def mode(self, name):
        return stat.S_IMODE(os.stat(self.box.path(name)).st_mode)

    def test_modes(self):
        b = self.box
        b.put('kept', 'x', 0o751)
        b.put('changed', 'x', 0o751)
        run = b.run(batch([write('kept', 'y'), write('changed', 'y', mode='600'), write('new', 'y'),
                           write('script', '#!/bin/sh\necho ran\n', mode='755'), write('tight/f', 'y')], umask='027'))
        self.assertEqual(run['state'], 'succeeded')
        self.assertEqual([oct(self.mode(n)) for n in ('kept', 'changed', 'new', 'script', 'tight')],
                         [oct(m) for m in (0o751, 0o600, 0o640, 0o755, 0o750)])
        run = b.run(batch([exec_('./script')], [edit('script', 'ran', 'ran again')], [exec_('./script')]))
        self.assertEqual(b.output(run['run'], 3), b'ran again\n', 'an edit keeps the mode')

    def test_a_final_symlink_is_followed(self):
        b = self.box
        b.put('real/file', 'old')
        os.symlink('real/file', b.path('link'))
        os.symlink('not/yet', b.path('dangling'))
        run = b.run(batch([write('link', 'new'), write('dangling', 'made')]))
        self.assertTrue(os.path.islink(b.path('link')))
        self.assertEqual(b.text('real/file'), 'new')
        self.match(OK, run['ops'][0])

    @rows(('one that replaces', write('d/f', 'new')), ('one that makes', write('d/g', 'new')))
    def is_not_led_astray(self, op):
        # Somebody changes the way to the file between the look at it and the rename.
        b, name = self.box, os.path.basename(op['path'])
        if no_inject():
            self.skipTest(no_inject())
        theirs = ('e/f', 'e/g', 'victim')
        for path in theirs + ('d/f',):
            b.put(path, 'theirs')
        fault = Inject(b.daemon_pid(), 'renameat:delay_enter=2000000')
        self.addCleanup(fault.stop)
        run = b.submit(batch([op]))
        until(lambda: len(os.listdir(b.path('d'))) == 2, 'the temporary')
        if b.exists('d', name):
            os.unlink(b.path('d', name))
        os.symlink('../victim', b.path('d', name))
        os.rename(b.path('d'), b.path('moved'))
        os.symlink('e', b.path('d'))
        b.wait(run)
        self.assertTrue([call for call in fault.seen() if '(DELAYED)' in call])
        self.match([OK], b.get(run)['ops'])
        self.assertEqual([b.text(path) for path in theirs], ['theirs'] * 3)
        self.assertEqual((b.text('moved', name), os.path.islink(b.path('moved', name))), ('new', False))
        self.assertEqual(set(os.listdir(b.path('moved'))), {'f', name})

    def test_a_fifo_is_not_regular(self):
        self.box.fifo('p')
        run = self.box.run(batch([write('p', 'x'), read('p')]), timeout=10)
        self.match([failed('io'), {'state': 'failed'}], run['ops'])

    def test_a_folder_that_is_missing_when_relative_to_the_ops_cwd(self):
        run = self.box.run(batch([write('f', 'x', cwd='made/for/it')]))
        self.match([OK], run['ops'])
        self.assertEqual(self.box.text('made/for/it/f'), 'x')

    def test_a_thousand_writes_beside_each_other(self):
        run = self.box.run(batch([write('d%d/f%d' % (i % 7, i), 'x%d' % i) for i in range(1000)]))
        self.assertEqual(run['state'], 'succeeded', run['summary'])
        self.assertEqual(self.box.text('d3/f997'), 'x997')

    def test_file_ops_have_no_exit_and_no_pid(self):
        run = self.box.run(batch([write('f', 'x')]))
        self.match([{'exit': None, 'pid': None, 'signal': None, 'kind': 'write', 'text': lambda t: 'f' in t}], run['ops'])

    def test_a_read_past_the_cap(self):
        self.box.put('f', b'x' * 100000)
        run = self.box.run(batch([read('f', output_cap=40000)]))
        self.match([dict(OK, stdout_bytes=100000, dropped_bytes=lambda n: n > 0)], run['ops'])


if __name__ == '__main__':
    unittest.main()
