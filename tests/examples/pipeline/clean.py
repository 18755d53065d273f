"""Takes out what is empty, out of range or there twice."""
import csv
import glob
import os


def main():
    os.makedirs('cleaned', exist_ok=True)
    kept, dropped = {}, 0
    for path in sorted(glob.glob('raw/*.csv')):
        with open(path, newline='') as f:
            for row in csv.DictReader(f):
                key = (int(row['station']), int(row['day']))
                if not row['celsius'] or not -60 < float(row['celsius']) < 60 or key in kept:
                    dropped += 1
                else:
                    kept[key] = float(row['celsius'])
    if not kept:
        raise SystemExit('clean: there is nothing in raw/')
    with open('cleaned/temperatures.csv', 'w', newline='') as f:
        out = csv.writer(f)
        out.writerow(['station', 'day', 'celsius'])
        out.writerows((s, d, '%.2f' % kept[s, d]) for s, d in sorted(kept))
    print('clean: %d rows kept, %d dropped' % (len(kept), dropped))


main()
