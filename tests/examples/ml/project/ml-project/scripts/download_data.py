"""
The raw data of the model. The batch runs this script but does not write it: it belongs to the project the batch is run in. It
makes the rows from a seed, so that no network is needed.
"""
import csv
import os
import random


def config():
    with open('config.yaml') as f:
        pairs = (line.split('#')[0].strip() for line in f)
        return dict((p.strip() for p in pair.split(':', 1)) for pair in pairs if pair)


def main():
    c = config()
    rng = random.Random(int(c['seed']))
    os.makedirs('data/raw', exist_ok=True)      # another op makes it too, at the same time
    with open('data/raw/houses.csv', 'w', newline='') as f:
        out = csv.writer(f)
        out.writerow(['area', 'rooms', 'age', 'price'])
        for _ in range(int(c['rows'])):
            area, rooms, age = rng.uniform(30, 200), rng.randint(1, 7), rng.uniform(0, 80)
            price = 20 + 1.8 * area + 6 * rooms - 0.7 * age + rng.gauss(0, float(c['noise']) * 10)
            out.writerow(['%.1f' % area, rooms, '%.1f' % age, '%.2f' % price])
    print('download_data: %s rows in data/raw/houses.csv' % c['rows'])


main()
