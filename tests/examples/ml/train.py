"""A linear model by gradient descent, in plain Python."""
import json
import os


def config():
    with open('config.yaml') as f:
        pairs = (line.split('#')[0].strip() for line in f)
        return dict((p.strip() for p in pair.split(':', 1)) for pair in pairs if pair)


def main():
    c = config()
    with open('data/features/train.json') as f:
        rows = json.load(f)
    with open('data/features/scale.json') as f:
        mean, deviation = json.load(f)['price']
    target = [(price - mean) / deviation for _, price in rows]
    weights, bias, rate = [0.0] * len(rows[0][0]), 0.0, float(c['learning_rate'])
    for epoch in range(int(c['epochs'])):
        errors = [sum(w * x for w, x in zip(weights, xs)) + bias - y for (xs, _), y in zip(rows, target)]
        weights = [w - rate * 2 / len(rows) * sum(e * xs[i] for e, (xs, _) in zip(errors, rows)) for i, w in enumerate(weights)]
        bias -= rate * 2 / len(rows) * sum(errors)
        if epoch % 100 == 0:
            print('train: epoch %d, loss %.4f' % (epoch, sum(e * e for e in errors) / len(errors)))
    os.makedirs('models/saved', exist_ok=True)
    with open('models/saved/model.json', 'w') as f:
        json.dump({'weights': weights, 'bias': bias, 'price': [mean, deviation]}, f, indent=2)
    print('train: models/saved/model.json')


main()
