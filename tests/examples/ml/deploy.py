"""Puts the evaluated model where a server would take it from, with a checksum."""
import hashlib
import json


def main():
    with open('models/saved/model.json', 'rb') as f:
        model = f.read()
    with open('models/experiments/metrics.json') as f:
        metrics = json.load(f)
    with open('deployment/model.json', 'wb') as f:
        f.write(model)
    with open('deployment/manifest.json', 'w') as f:
        json.dump({'sha256': hashlib.sha256(model).hexdigest(), 'r2': metrics['r2']}, f, indent=2)
    print('deploy: deployment/model.json and its manifest')


main()
