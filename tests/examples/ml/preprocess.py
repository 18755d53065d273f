"""Splits the rows and scales the features by mean and deviation of the training part."""
import csv
import json
import os
import random
import statistics

FEATURES = ['area', 'rooms', 'age']


def config():
    with open('config.yaml') as f:
        pairs = (line.split('#')[0].strip() for line in f)
        return dict((p.strip() for p in pair.split(':', 1)) for pair in pairs if pair)


def main():
    c = config()
    with open('data/raw/houses.csv', newline='') as f:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(f)]
    random.Random(int(c['seed'])).shuffle(rows)
    cut = int(len(rows) * float(c['test_share']))
    parts = {'test': rows[:cut], 'train': rows[cut:]}
    scale = {k: (statistics.mean(r[k] for r in parts['train']), statistics.stdev(r[k] for r in parts['train']))
             for k in FEATURES + ['price']}
    os.makedirs('data/features', exist_ok=True)
    for name, part in parts.items():
        with open('data/features/%s.json' % name, 'w') as f:
            json.dump([[[(r[k] - scale[k][0]) / scale[k][1] for k in FEATURES], r['price']] for r in part], f)
    with open('data/features/scale.json', 'w') as f:
        json.dump(scale, f, indent=2)
    print('preprocess: %d rows to train on, %d to test on' % (len(parts['train']), len(parts['test'])))


main()
