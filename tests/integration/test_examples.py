"""The example batches of tests/examples, run for real by their own driver, and what their text promises."""
import os
import subprocess
import unittest

from harness import BATCHCTL, HERE, SLOW, Case

EXAMPLES = os.path.join(os.path.dirname(HERE), 'examples')


class Examples(Case):
    def example(self, name):
        b = self.box
        folder = os.path.join(b.dir, name)
        p = subprocess.run([os.path.join(EXAMPLES, 'run'), name, '--dir', folder], env=b.env(BATCHCTL=BATCHCTL, BATCHD_SOCKET=b.socket),
                           stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=50 * SLOW)
        self.assertEqual(p.returncode, 0, p.stdout + p.stderr)
        self.assertIn('# verified from outside', p.stdout)
        self.assertIn('stand-in', p.stdout + p.stderr)

    def test_web(self):
        self.example('web')

    def test_pipeline(self):
        self.example('pipeline')

    def test_ml(self):
        self.example('ml')

    def test_unbound_names_are_all_named(self):
        r = self.box.ctl('parse', os.path.join(EXAMPLES, 'web.batch'), check=2)
        for name in ('packageConfig', 'frontendConfig', 'backendConfig', 'dockerConfig', 'envConfig', 'web.batch:'):
            self.assertIn(name, r.errors)


if __name__ == '__main__':
    unittest.main()
