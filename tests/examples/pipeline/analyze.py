"""The warmest and coldest week of each station, as a small report."""
import csv
import os
from collections import defaultdict


def main():
    means = defaultdict(list)
    with open('processed/weekly.csv', newline='') as f:
        for row in csv.DictReader(f):
            means[int(row['station'])].append((float(row['mean']), int(row['day'])))
    os.makedirs('reports', exist_ok=True)
    with open('reports/report.md', 'w') as f:
        f.write('| station | coldest week ends on day | mean | warmest week ends on day | mean |\n|---|---|---|---|---|\n')
        for station, values in sorted(means.items()):
            low, high = min(values), max(values)
            f.write('| %d | %d | %.1f | %d | %.1f |\n' % (station, low[1], low[0], high[1], high[0]))
    print('analyze: reports/report.md for %d stations' % len(means))


main()
