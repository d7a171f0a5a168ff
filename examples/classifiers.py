"""Three classifiers that come with scikit-learn, on digits that come with it: no file is needed.

A predicted label is an action, stated with the probability of that label; whether it was right is
an interaction a few hours later. Each prediction is of a model that had not seen the image.

    python -m examples.classifiers
    python -m examples.classifiers --print > digits.ndjson
"""

import argparse
from collections.abc import Iterator, Sequence

from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from agents_topics.events import to_ms, to_timestamp
from agents_topics.identifiers import tenant_id_of
from examples.settling import Event, finish

BEGIN_MS = to_ms("2026-01-05T00:00:00Z")
MINUTE_MS = 60_000
TRUTH_AFTER_MS = 6 * 60 * MINUTE_MS
FOLDS = 3
CLASSIFIERS = {
    "naive-bayes": GaussianNB(),
    "logistic-regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)),
    "random-forest": RandomForestClassifier(30, random_state=1),
}


def predictions(name: str) -> tuple[list[float], list[bool]]:
    """How sure a classifier is of the label it gives each image, and whether it is right."""
    images, digits = load_digits(return_X_y=True)
    shares = cross_val_predict(CLASSIFIERS[name], images, digits, cv=FOLDS, method="predict_proba")
    confidences = shares.max(axis=1).clip(0, 1)
    return confidences.tolist(), (shares.argmax(axis=1) == digits).tolist()


def events_of(name: str, confidences: Sequence[float], right: Sequence[bool]) -> Iterator[Event]:
    """A classifier is a tenant and an image a conversation; there is one a minute."""
    for number, (confidence, is_right) in enumerate(zip(confidences, right, strict=True)):
        at_ms = BEGIN_MS + number * MINUTE_MS
        image = f"image-{number:04}"
        about = {"tenant_id": tenant_id_of(name), "conversation_id": image}
        yield {
            **about,
            "event_id": f"{image} label",
            "action_type": "classify",
            "agent_id": name,
            "predicted_confidence": confidence,
            "confidence_source": "classifier",
            "occurred_at": to_timestamp(at_ms),
        }
        yield {
            **about,
            "event_id": f"{image} truth",
            "kind": "label_was_right" if is_right else "label_was_wrong",
            "occurred_at": to_timestamp(at_ms + TRUTH_AFTER_MS),
        }


def main(words: Sequence[str] | None = None) -> None:
    """Settles the classifiers' predictions and shows what came of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--print", action="store_true", help="print the events, send nothing")
    asked = parser.parse_args(words)
    events = [event for name in CLASSIFIERS for event in events_of(name, *predictions(name))]
    finish(events, list(CLASSIFIERS), print_only=asked.print)


if __name__ == "__main__":
    main()
