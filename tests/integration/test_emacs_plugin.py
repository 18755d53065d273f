"""
client/emacs in a real Emacs, against the real daemon. Emacs runs as a server and is asked through emacsclient: what blocks the editor
blocks the test.
"""
import json
import os
import shutil
import subprocess
import unittest

from editors import EditorCase, end
from harness import PATIENCE, ROOT, bash, batch, until

EMACS = shutil.which('emacs')
CLIENT = shutil.which('emacsclient')
PLUGIN = os.path.join(ROOT, 'client', 'emacs', 'batchd.el')


def usable():
    """Emacs 28 or newer, with its client."""
    if not EMACS or not CLIENT:
        return False
    out = subprocess.run([EMACS, '--version'], capture_output=True, stdin=subprocess.DEVNULL).stdout.decode()
    return int(out.split()[2].split('.')[0]) >= 28


class Emacs:
    def __init__(self, box):
        self.box, self.name = box, os.path.join(box.dir, 'emacs')
        self.env = box.env(BATCHD_SOCKET=box.socket)
        self.process = subprocess.Popen([EMACS, '-Q', '--fg-daemon=' + self.name, '-l', PLUGIN], env=self.env, cwd=box.work,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: os.path.exists(self.name), 'Emacs at ' + self.name)
        self.eval('(setq default-directory "%s/")' % box.work)

    def eval(self, form):
        """The value of a form, through JSON; an error of Emacs is one of ours."""
        out = self.box.path('emacs.out')
        code = '''(let ((value (with-current-buffer (window-buffer) %s)))
                    (let ((coding-system-for-write 'utf-8-unix))
                      (write-region (json-encode (vector value)) nil %s nil 'quiet)) t)''' % (form, json.dumps(out))
        done = subprocess.run([CLIENT, '-s', self.name, '--eval', code], env=self.env, cwd=self.box.work, stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=PATIENCE)
        assert done.returncode == 0, '%s: %s' % (form, (done.stdout + done.stderr).decode())
        with open(out) as f:
            return json.load(f)[0]

    def text(self):
        return self.eval('(buffer-substring-no-properties (point-min) (point-max))')

    def rows(self):
        return [line.split() for line in self.text().splitlines()]

    def said(self):
        return self.eval('(with-current-buffer "*Messages*" (buffer-string))')

    def close(self):
        try:
            subprocess.run([CLIENT, '-s', self.name, '--eval', '(kill-emacs)'], env=self.env, stdin=subprocess.DEVNULL,
                           capture_output=True, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
        end(self.process)


@unittest.skipUnless(usable(), 'no Emacs 28')
class EmacsPlugin(EditorCase):
    def emacs(self):
        return self.open(Emacs(self.box))

    def test_the_mode_line_is_live_over_a_restart(self):
        self.todos({'id': 'a', 'content': 'A'}, {'id': 'b', 'content': 'B', 'status': 'completed'})
        e = self.emacs()
        e.eval('(progn (setq changed 0) (add-hook \'batchd-todos-changed-hook (lambda () (setq changed (1+ changed)))) (batchd-mode 1))')
        line = lambda: e.eval("(format-mode-line mode-line-misc-info)").strip()     # noqa: E731
        until(lambda: line() == 'todos 1/2', 'the counts')
        fifo = self.box.fifo('go')
        run = self.box.submit(batch([bash('read x < %s' % fifo)]))
        until(lambda: line() == '1 run, todos 1/2', 'the run')
        self.box.restart()
        with open(fifo, 'w') as f:
            f.write('x\n')
        self.box.wait(run)
        until(lambda: line() == 'todos 1/2', 'its end')
        self.todos({'id': 'c', 'content': 'C'})
        until(lambda: line() == 'todos 1/3', 'a change after the restart')
        self.assertGreater(e.eval('changed'), 1)
        e.eval('(batchd-mode -1)')
        self.assertEqual(line(), '')

    def test_the_todo_list(self):
        self.box.put('src/a.c', 'one\ntwo\nthree\n')
        self.todos({'id': 'a', 'content': 'Äh', 'at': 'src/a.c:2'}, {'id': 'b', 'content': 'B', 'priority': 'high'}, {'id': 'c', 'content': 'C'})
        e = self.emacs()
        e.eval('(progn (batchd-list-todos) nil)')
        until(lambda: e.rows() == [['[', ']', 'Äh', 'a', 'src/a.c:2'], ['[', ']', 'high', 'B', 'b'], ['[', ']', 'C', 'c']], 'the list')
        e.eval('(progn (goto-char (point-min)) (batchd-todo-done) nil)')
        until(lambda: e.rows()[0][:2] == ['[x]', 'Äh'], 'the item to be done')
        self.assertEqual(self.listed()['a']['status'], 'completed')
        e.eval('(progn (goto-char (point-min)) (forward-line 1) (batchd-todo-start) (batchd-todo-priority "low") nil)')
        until(lambda: e.rows()[1][:3] == ['[~]', 'low', 'B'], 'both changes')
        self.assertEqual(e.eval('(tabulated-list-get-id)'), 'b')      # point stays at its item
        self.box.call('todo.update', cwd=self.box.work, id='c', content='C elsewhere')
        until(lambda: e.rows()[2][2:4] == ['C', 'elsewhere'], 'a change from elsewhere')
        e.eval('(progn (batchd-todo-add "one more") nil)')
        until(lambda: [r[2:4] for r in e.rows()[3:]] == [['one', 'more']], 'the new item')
        e.eval('''(cl-letf (((symbol-function 'read-string) (lambda (&rest _) "B, really"))) (batchd-todo-edit) nil)''')
        until(lambda: self.listed()['b']['content'] == 'B, really', 'the edit')
        e.eval('''(cl-letf (((symbol-function 'y-or-n-p) #'always)) (batchd-todo-remove) nil)''')
        until(lambda: 'b' not in self.listed(), 'the removal')
        at = e.eval('(progn (goto-char (point-min)) (batchd-todo-visit) (list (buffer-name) (line-number-at-pos)))')
        self.assertEqual(at, ['a.c', 2])

    def test_an_edit_over_a_change_from_elsewhere_asks(self):
        self.todos({'id': 'a', 'content': 'A'})
        e = self.emacs()
        e.eval('(progn (batchd-list-todos) nil)')
        until(lambda: len(e.rows()) == 1, 'the list')
        out = e.eval('''(let (asked)
            (cl-letf (((symbol-function 'read-string)
                       (lambda (&rest _)
                         (call-process "batchctl" nil nil nil "todo" "set" "a" "content=theirs")
                         (while (not (equal (alist-get 'content (batchd--item)) "theirs")) (accept-process-output nil 0.1))
                         "mine"))
                      ((symbol-function 'y-or-n-p) (lambda (text) (setq asked text) nil)))
              (batchd-todo-edit) asked))''')
        self.assertIn('changed to `theirs\' elsewhere', out)
        self.assertEqual(self.listed()['a']['content'], 'theirs')

    def test_runs_are_listed_and_cancelled(self):
        e = self.emacs()
        run = self.box.submit(batch([bash('sleep 1000')], name='long'))
        e.eval('(progn (batchd-list-runs) nil)')
        until(lambda: e.rows() == [[str(run), 'running', '0/1', 'long']], 'the run')
        e.eval('(progn (goto-char (point-min)) (batchd-run-cancel) nil)')
        until(lambda: e.rows() == [[str(run), 'cancelled', '1/1', 'long']], 'its end')

    def test_a_run_without_a_name_is_listed_by_its_first_op(self):
        e = self.emacs()
        first = self.box.submit(batch([bash('true; # the first'), bash('true')]))
        self.box.submit(batch([bash('true')], name='named'))
        self.box.submit(batch([bash('echo äöü\ntrue'), bash('true')]))
        for run in range(first, first + 3):
            self.box.wait(run)
        e.eval('(progn (batchd-list-runs) nil)')
        until(lambda: [r[3:] for r in e.rows()] == [['echo', 'äöü\\ntrue'], ['named'], ['true;', '#', 'the', 'first']], 'what the runs are called')

    def test_output_and_its_places_in_a_compilation_buffer(self):
        self.box.put('src/a.c', 'one\ntwo\nthree\n')
        e = self.emacs()
        e.eval('''(progn (batchd-compile "echo 'src/a.c:3:1: error: bad'; exit 3") nil)''')
        buffer = '*batchd run 1*'
        until(lambda: e.eval('(and (get-buffer "%s") (with-current-buffer "%s" (buffer-string)))' % (buffer, buffer)) and
              'exited abnormally' in e.eval('(with-current-buffer "%s" (buffer-string))' % buffer), 'its end')
        e.eval('(progn (with-current-buffer "%s" (next-error)) nil)' % buffer)
        self.assertEqual(e.eval('(with-current-buffer "a.c" (line-number-at-pos))'), 3)

    def test_a_batch_from_the_buffer_and_its_faults(self):
        path = self.box.put('b.batch', '# notes\n[A]:\n  Bash("echo one")\n  Bash("true")\n')
        e = self.emacs()
        e.eval('(progn (find-file "%s") (batchd-submit (point-min) (point-max)) nil)' % path)
        until(lambda: self.box.call('run.list')['runs'], 'the run')
        self.assertEqual(self.box.wait(1)['summary']['ops'], 2)
        until(lambda: e.eval('(get-buffer "*batchd run 1*") t') and 'one' in e.eval('(with-current-buffer "*batchd run 1*" (buffer-string))'), 'its log')
        self.box.put('c.batch', '# notes\n[A]:\n  Frob(1)\n')
        e.eval('(progn (find-file "c.batch") (goto-char (point-min)) (forward-line 1) (batchd-submit (point) (point-max)) nil)')
        faults = '(and (get-buffer "*batchd faults*") (with-current-buffer "*batchd faults*" (buffer-string)))'
        until(lambda: 'c.batch:3:3: unknown op' in (e.eval(faults) or ''), 'the fault')

    def test_a_missing_daemon_is_told_and_started_when_needed(self):
        self.box.stop_quietly()
        e = self.emacs()
        e.eval('(progn (batchd-mode 1) (batchd-list-todos) nil)')
        until(lambda: 'batchd: ' in e.said(), 'a word')
        e.eval('(progn (batchd-todo-add "first") nil)')
        until(lambda: e.rows() and e.rows()[0][2:3] == ['first'], 'the item')

    def test_it_compiles_and_reads_well(self):
        path = self.box.path('batchd.el')
        shutil.copy(PLUGIN, path)
        for args in (['--eval', '(setq byte-compile-error-on-warn t)', '-f', 'batch-byte-compile', path],
                     ['--eval', '(checkdoc-file "%s")' % path]):
            done = subprocess.run([EMACS, '-Q', '--batch', *args], env=self.box.env(), cwd=self.box.work, stdin=subprocess.DEVNULL,
                                  capture_output=True, timeout=2 * PATIENCE)
            self.assertEqual((done.returncode, done.stderr.decode()), (0, ''))


if __name__ == '__main__':
    unittest.main()
