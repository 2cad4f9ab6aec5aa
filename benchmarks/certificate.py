"""Is the promise kept? Audits are drawn again and again from a run's real predictions and truths.

    python benchmarks/certificate.py RUN [--draws 500]

RUN is a run whose recipe names pool_truth and asks for a certificate. The pool is the run's own, each label with its
doubt and its true loss; from a pool of fewer than 1,000 images 1,000 are drawn with replacement. For each size of the
audit and each error asked for it prints in how many draws the accepted labels were worse than promised (at most 1 −
confidence is allowed), in how many anything was certified, and the mean share that was accepted.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from synthgen.images import hash_image
from synthgen.metrics.accuracy import score_image
from synthgen.metrics.bounds import clopper_pearson
from synthgen.metrics.certificate import certify
from synthgen.report.source import load_run
from synthgen.stages import doubt as asked
from synthgen.stages import ingest, label
from synthgen.stages.certify import loss_of

CONFIDENCE, SMALL = 0.9, 1000
SIZES, ERRORS = (20, 50, 100, 200, 400), (0.05, 0.1, 0.2)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--draws", type=int, default=500)
    args = parser.parse_args()
    job = load_run(args.run)
    truth, pool = ingest.part(job, "pool_truth"), label.labelled(job)
    if not len(truth) or not len(pool):
        raise SystemExit(f"{args.run}: the run must have labelled a pool whose truth is kept aside (data.pool_truth)")
    known = {hash_image(sample.image): sample.labels for sample in truth}
    rows = []
    for sample, unsure in zip(pool, asked.doubts(job), strict=True):
        right = known.get(hash_image(sample.image))
        assert sample.labels is not None
        if right is not None:
            rows.append((unsure, loss_of(score_image(label.settled(sample.labels), right), job.recipe.task)))
    doubt, losses = np.array(rows).T
    rng = np.random.default_rng(0)
    if len(doubt) < SMALL:
        picks = rng.integers(len(doubt), size=SMALL)
        print(f"{len(doubt)} images; a pool of {SMALL} was drawn from them with replacement")
        doubt, losses = doubt[picks], losses[picks]
    order = np.argsort(doubt, kind="stable")
    print(f"pool of {len(doubt)}, mean error {losses.mean():.3f}; {args.draws} audits each; "
          f"allowed to be broken: {1 - CONFIDENCE:.2f}")
    print(f"{'error asked':<12}{'audit':<8}{'broken [95 %]':<22}{'certified':<11}{'accepted':<10}at best")
    for error in ERRORS:
        mean = np.cumsum(losses[order]) / np.arange(1, len(order) + 1)
        best = np.flatnonzero(mean <= error)
        for n in SIZES:
            broken, shares = 0, []
            for _ in range(args.draws):
                audit = rng.permutation(len(doubt))[:n]
                found = certify(doubt, audit, losses[audit], error, CONFIDENCE).best
                shares.append(found.coverage if found else 0.0)
                broken += found is not None and mean[found.accepted - 1] > error
            low, high = clopper_pearson(broken, args.draws)
            print(f"{error:<12}{n:<8}{broken / args.draws:.3f} [{low:.3f}, {high:.3f}]  "
                  f"{np.mean(np.array(shares) > 0):<11.2f}{np.mean(shares):<10.2f}"
                  f"{(best.max() + 1) / len(order) if len(best) else 0:.2f}", flush=True)


if __name__ == "__main__":
    main()
