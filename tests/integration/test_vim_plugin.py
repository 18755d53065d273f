"""
client/vim in a real Vim on a pty, against the real daemon. Vim is spoken to over a channel to a socket of ours (:help channel-commands):
what blocks the editor blocks the test.
"""
import json
import os
import pty
import shutil
import socket
import subprocess
import unittest

from editors import EditorCase, end
from harness import PATIENCE, ROOT, bash, batch, until

VIM = shutil.which('vim')
PLUGIN = os.path.join(ROOT, 'client', 'vim')


def usable():
    """Vim 9 with channels; vim.tiny has none."""
    if not VIM:
        return False
    out = subprocess.run([VIM, '--version'], capture_output=True, stdin=subprocess.DEVNULL).stdout.decode()
    return '+channel' in out and '+quickfix' in out and int(out.split('IMproved ')[1].split('.')[0]) >= 9


class Vim:
    def __init__(self, box, *commands):
        path = os.path.join(box.dir, 'vim')
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(1)
        listener.settimeout(PATIENCE)
        self.master, slave = pty.openpty()
        argv = [VIM, '-N', '-u', 'NORC', '-i', 'NONE', '-n', '--cmd', 'set rtp^=' + PLUGIN, '--cmd', 'set nomore shortmess+=A',
                '-c', 'filetype plugin on', '-c', "let g:test = ch_open('unix:%s', {'mode': 'json'})" % path]
        for c in commands:
            argv += ['-c', c]
        self.process = subprocess.Popen(argv, env=box.env(BATCHD_SOCKET=box.socket, TERM='xterm'), cwd=box.work,
                                        stdin=slave, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        os.close(slave)
        self.sock, _ = listener.accept()
        listener.close()
        os.unlink(path)
        self.sock.settimeout(PATIENCE)
        self.file = self.sock.makefile('r')
        self.last_id = 0

    def send(self, what):
        self.sock.sendall(json.dumps(what).encode() + b'\n')

    def eval(self, expr):
        self.last_id -= 1
        self.send(['expr', expr, self.last_id])
        decoder, text = json.JSONDecoder(), ''
        while True:
            c = self.sock.recv(65536).decode()
            assert c, 'Vim closed its channel'
            text += c
            try:
                (got, value), _ = decoder.raw_decode(text)
            except ValueError:
                continue
            assert got == self.last_id, text
            return value

    def ex(self, command):
        """Runs an Ex command; what it printed."""
        value = self.eval('execute(%s, "")' % json.dumps(command))
        assert value != 'ERROR', command
        return value

    def lines(self):
        return self.eval('getline(1, "$")')

    def set(self, lines):
        self.eval('[deletebufline("", 1, "$"), setline(1, %s)]' % json.dumps(lines, ensure_ascii=False))

    def said(self):
        return self.eval('execute("messages")')

    def modified(self):
        return self.eval('&modified')

    def close(self):
        try:
            self.send(['ex', 'qall!'])
        except OSError:
            pass
        end(self.process)
        self.sock.close()
        os.close(self.master)


@unittest.skipUnless(usable(), 'no Vim 9 with channels')
class VimPlugin(EditorCase):
    def vim(self, *commands):
        return self.open(Vim(self.box, *commands))

    def test_the_status_line_is_live_over_a_restart(self):
        self.todos({'id': 'a', 'content': 'A'}, {'id': 'b', 'content': 'B', 'status': 'completed'})
        v = self.vim('let g:changed = 0', 'autocmd User BatchdTodosChanged let g:changed += 1')
        status = lambda: v.eval('batchd#statusline()')      # noqa: E731
        self.assertEqual(status(), '')
        until(lambda: status() == 'todos 1/2', 'the counts')
        fifo = self.box.fifo('go')
        run = self.box.submit(batch([bash('read x < %s' % fifo)]))
        until(lambda: status() == '1 run, todos 1/2', 'the run')
        self.box.restart()
        with open(fifo, 'w') as f:
            f.write('x\n')
        self.box.wait(run)
        until(lambda: status() == 'todos 1/2', 'its end')
        self.todos({'id': 'c', 'content': 'C'})
        until(lambda: status() == 'todos 1/3', 'a change after the restart')
        self.assertGreater(v.eval('g:changed'), 1)

    def test_a_missing_daemon_is_no_error(self):
        self.box.stop_quietly()
        v = self.vim('call batchd#statusline()')
        v.ex('Batch todo')
        until(lambda: 'batchd' in v.said(), 'a word')
        self.assertEqual(v.eval('v:errmsg'), '')
        v.ex('Batch run echo started')
        until(lambda: 'run 1 succeeded: 1 of 1 ops well' in v.said(), 'a batchd that was started, and the end of the run')

    def test_the_list_is_edited_in_place(self):
        self.todos({'id': 'a', 'content': 'A', 'owner': 'me'}, {'id': 'b', 'content': 'B', 'priority': 'high'}, {'id': 'c', 'content': 'C'},
                   {'id': 'o d^%', 'content': '!low two\nlines'})
        v = self.vim()
        self.open_list(v, 4)
        self.assertEqual(v.lines(), ['[ ] A ^a', '[ ] !high B ^b', '[ ] C ^c', '[ ] !medium !low two\u23celines ^o%20d%5e%25'])
        v.set(['[x] !high B ^b', 'New one', '[~] !low Another', '[ ] A, really ^a', '[~] !medium !low two\u23celines ^o%20d%5e%25'])
        v.ex('write')
        self.assertEqual(v.modified(), 0)
        got = self.listed()
        self.assertEqual([t['content'] for t in sorted(got.values(), key=lambda t: t['position'])],
                         ['B', 'New one', 'Another', 'A, really', '!low two\nlines'])
        self.match({'status': 'completed', 'priority': 'high'}, got['b'])
        self.match({'content': 'A, really', 'owner': 'me'}, got['a'])
        self.match({'status': 'in_progress', 'priority': 'medium'}, got['o d^%'])
        self.assertEqual(len([x for x in v.lines() if '^' in x]), 5)
        self.box.call('todo.update', cwd=self.box.work, id='a', status='completed')
        until(lambda: '[x] A, really ^a' in v.lines(), 'a change from elsewhere')
        self.assertEqual(v.modified(), 0)

    def test_a_conflict_is_shown_beside_the_edits(self):
        self.todos({'id': 'a', 'content': 'A'})
        v = self.vim()
        self.open_list(v, 1)
        v.set(['[ ] mine ^a'])
        self.box.call('todo.update', cwd=self.box.work, id='a', content='theirs')
        until(lambda: 'has changed elsewhere' in v.said(), 'a word')
        v.ex('write')
        self.assertEqual(self.listed()['a']['content'], 'theirs')
        self.assertEqual(v.lines(), ['[ ] mine ^a'])
        self.assertEqual(v.modified(), 1)
        self.assertEqual(v.eval('sort(map(filter(getwininfo(), "getwinvar(v:val.winnr, \'&diff\')"), "getbufline(v:val.bufnr, 1)[0]"))'),
                         ['[ ] mine ^a', '[ ] theirs ^a'])
        v.ex('write')
        self.assertEqual(self.listed()['a']['content'], 'mine')
        self.assertEqual(v.modified(), 0)

    def test_places_and_signs(self):
        self.box.put('src/a.c', 'one\ntwo\nthree\n')
        self.todos({'id': 'a', 'content': 'A', 'at': 'src/a.c:2'})
        v = self.vim('edit src/a.c', 'call batchd#statusline()')
        signs = 'map(sign_getplaced(bufnr("src/a.c"), {"group": "batchd"})[0].signs, "[v:val.lnum, v:val.name]")'
        until(lambda: v.eval(signs) == [[2, 'BatchdPending']], 'the sign')
        self.box.call('todo.update', cwd=self.box.work, id='a', status='in_progress')
        until(lambda: v.eval(signs) == [[2, 'BatchdInProgress']], 'the other sign')
        v.ex('Batch todo places')
        self.assertEqual(v.eval('map(getqflist(), "[v:val.lnum, v:val.text]")'), [[2, 'A']])
        v.ex('3 | Batch todo here look at this')
        until(lambda: [t['at'] for t in self.listed().values() if t['content'] == 'look at this'] == ['src/a.c:3'], 'the item')

    def test_errors_of_a_run_become_the_quickfix_list(self):
        self.box.put('src/a.c', 'one\ntwo\nthree\n')
        v = self.vim()
        run = self.box.run(batch([bash('echo fine'), bash("echo 'src/a.c:3:7: error: bad' >&2; echo '12:30:45: no file'; exit 3")]))['run']
        v.ex('Batch errors last')
        until(lambda: v.eval('len(getqflist())') == 2, 'the list')
        head, place = v.eval('map(getqflist(), "[v:val.lnum, v:val.col, v:val.text, bufname(v:val.bufnr)]")')
        self.assertIn('op %d.2 failed (exit 3)' % run, head[2])
        self.assertEqual(place[:2], [3, 7])
        self.assertTrue(place[3].endswith('src/a.c'), place)

    def test_a_batch_from_the_buffer(self):
        self.box.put('b.batch', '# notes\n[A]:\n  Bash("echo one")\n  Bash("exit 4")\n')
        v = self.vim('edit b.batch')
        v.ex('Batch submit')
        until(lambda: 'run 1 failed: 1 of 2 ops well; :Batch errors 1' in v.said(), 'its end')
        v.ex('call setline(3, "  Frob(1)")')
        v.ex('2,4Batch submit')
        until(lambda: v.eval('map(getqflist(), "[v:val.lnum, v:val.col]")') == [[3, 3]], 'the fault')

    def test_a_log_grows_while_the_run_prints(self):
        fifo = self.box.fifo('go')
        v = self.vim()
        v.ex('Batch! run echo first; read x < %s; echo " $x" | cat' % fifo)
        until(lambda: v.lines() == ['first'], 'what was printed')
        with open(fifo, 'w') as f:
            f.write('second\n')
        until(lambda: v.lines() == ['first', ' second'], 'the rest')

    def test_commands_and_completion(self):
        self.todos({'id': 'alpha', 'content': 'A'}, {'id': 'beta', 'content': 'B'})
        v = self.vim()
        run = self.box.submit(batch([bash('sleep 1000')], name='long'))
        self.assertEqual(v.eval('getcompletion("Batch re", "cmdline")'), ['restart', 'resume', 'retry'])
        until(lambda: v.eval('getcompletion("Batch cancel ", "cmdline")') == ['last', str(run)], 'the runs')
        until(lambda: v.eval('getcompletion("Batch todo done a", "cmdline")') == ['alpha'], 'the items')
        v.ex('Batch todo done alpha')
        until(lambda: self.listed()['alpha']['status'] == 'completed', 'the item')
        v.ex('Batch cancel long')
        self.assertEqual(self.box.wait(run)['state'], 'cancelled')
        v.ex('Batch frobnicate')
        self.assertIn('no such command: frobnicate; there are cancel, errors', v.said())

    def test_help_has_tags_for_what_there_is(self):
        shutil.copytree(os.path.join(PLUGIN, 'doc'), self.box.path('rt', 'doc'))
        v = self.vim('set rtp^=' + self.box.path('rt'), 'helptags ' + self.box.path('rt', 'doc'))
        for tag in [':Batch', 'batchd#statusline()', 'BatchdTodosChanged', 'batchd-todos', 'g:batchd_list',
                    *(':Batch-' + name for name in v.eval('getcompletion("Batch ", "cmdline")'))]:
            v.ex('help ' + tag)
            self.assertEqual(v.eval('expand("%:t")'), 'batchd.txt', tag)


if __name__ == '__main__':
    unittest.main()
