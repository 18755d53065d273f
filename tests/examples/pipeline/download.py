"""Raw data: temperatures of a few stations. Made here, from a seed, so that no network is needed; some rows are spoilt on purpose."""
import csv
import math
import os
import random


def config():
    with open('config.yaml') as f:
        pairs = (line.split('#')[0].strip() for line in f)
        return dict((p.strip() for p in pair.split(':', 1)) for pair in pairs if pair)


def main():
    c = config()
    rng = random.Random(int(c['seed']))
    os.makedirs(c['raw'], exist_ok=True)    # another op makes it too, at the same time
    rows = 0
    for station in range(int(c['stations'])):
        path = os.path.join(c['raw'], 'station%d.csv' % station)
        with open(path + '.new', 'w', newline='') as f:
            out = csv.writer(f)
            out.writerow(['day', 'station', 'celsius'])
            for day in range(int(c['days'])):
                value = '%.2f' % (10 + station + 8 * math.sin(day / 19) + rng.gauss(0, 1.5))
                spoilt = rng.random()
                if spoilt < 0.04:
                    value = ''
                elif spoilt < 0.06:
                    value = '999.9'
                out.writerow([day, station, value])
                if spoilt > 0.98:
                    out.writerow([day, station, value])     # sent twice
                rows += 1
        os.replace(path + '.new', path)
    print('download: %d rows of %s stations in %s/' % (rows, c['stations'], c['raw']))


main()
