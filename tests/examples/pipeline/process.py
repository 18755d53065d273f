"""A seven-day mean for each station."""
import csv
import os
from collections import defaultdict


def main():
    days = defaultdict(dict)
    with open('cleaned/temperatures.csv', newline='') as f:
        for row in csv.DictReader(f):
            days[int(row['station'])][int(row['day'])] = float(row['celsius'])
    os.makedirs('processed', exist_ok=True)
    rows = 0
    with open('processed/weekly.csv', 'w', newline='') as f:
        out = csv.writer(f)
        out.writerow(['station', 'day', 'mean'])
        for station in sorted(days):
            for day in sorted(days[station]):
                window = [days[station][d] for d in range(day - 6, day + 1) if d in days[station]]
                out.writerow([station, day, '%.3f' % (sum(window) / len(window))])
                rows += 1
    print('process: %d means' % rows)


main()
