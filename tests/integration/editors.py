"""What the tests of the editors' plugins share."""
import subprocess

from harness import PATIENCE, Case, until


def end(process):
    """Waits for an editor that was told to leave; one that does not is killed."""
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class EditorCase(Case):
    def open(self, editor):
        self.addCleanup(editor.close)
        return editor

    def todos(self, *items):
        self.box.call('todo.write', cwd=self.box.work, mode='merge', todos=list(items))

    def listed(self):
        return {t['id']: t for t in self.box.call('todo.list', cwd=self.box.work)['todos']}

    def open_list(self, v, n):
        v.ex('Batch todo')
        until(lambda: len([x for x in v.lines() if x]) == n, 'the list')
