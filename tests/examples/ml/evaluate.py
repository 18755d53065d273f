"""R2 on the rows the model has not seen; fails below 0.9."""
import json


def main():
    with open('models/saved/model.json') as f:
        model = json.load(f)
    with open('data/features/test.json') as f:
        rows = json.load(f)
    mean, deviation = model['price']
    guess = [(sum(w * x for w, x in zip(model['weights'], xs)) + model['bias']) * deviation + mean for xs, _ in rows]
    true = [price for _, price in rows]
    middle = sum(true) / len(true)
    r2 = 1 - sum((t - g) ** 2 for t, g in zip(true, guess)) / sum((t - middle) ** 2 for t in true)
    with open('models/experiments/metrics.json', 'w') as f:
        json.dump({'r2': r2, 'rows': len(rows)}, f)
    print('evaluate: R2 = %.3f on %d rows' % (r2, len(rows)))
    if r2 < 0.9:
        raise SystemExit('evaluate: that is below 0.9')


main()
