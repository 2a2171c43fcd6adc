"""Asks a model for digits, class by class, and a classifier of real digits whether it got what it asked for.

    python examples/recognise.py demo/run

The classifier (a support vector machine) learns from 80 % of the digits that scikit-learn carries and is judged on the
rest; the verdict on the samples means something only because it is right about real ones.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

import sfumato as sf
from sfumato.utils.progress import sampling_bar


def main() -> None:
    """Prints how many samples are recognised as the label that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()

    digits = load_digits()
    train_x, test_x, train_y, test_y = train_test_split(digits.data, digits.target, test_size=0.2, random_state=0)
    classifier = SVC(gamma=0.001, C=10).fit(train_x, train_y)
    accuracy = classifier.score(test_x, test_y)
    print(f"The classifier is right on {accuracy:.1%} of {len(test_y)} real digits it has not seen.")

    model = sf.guidance.ClassifierFree(sf.load(options.run), scale=options.guidance)
    with sampling_bar(options.count, options.steps) as on_step:
        images = sf.sample(
            model, options.count, labels=model.label_names, steps=options.steps, batch=250, on_step=on_step
        )
    pixels = (images + 1) * 8  # from [-1, 1] to the digits' own 0 ... 16
    asked = np.arange(options.count) % len(model.label_names)
    recognised = int((classifier.predict(pixels.flatten(1).numpy()) == asked).sum())
    share = recognised / options.count
    print(f"It recognises {recognised} of {options.count} samples ({share:.1%}) as the digit that was asked for.")


if __name__ == "__main__":
    main()
