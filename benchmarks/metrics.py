"""How fast the distances between feature sets are, and how much memory they take, beside the packages that have them.

    python benchmarks/metrics.py [--sizes 1000 5000 10000] [--repeats 3] [--ours]

Coverage beside `prdc` (which also makes precision, recall and density: it has no coverage alone); KID and FID beside
torchmetrics with given features, FID also by scipy's root of a matrix. torchmetrics' KID stands there twice: by default
a mean over 100 subsets of 1,000, and once over all images, which is the number that ours is. Features are 1280 wide,
drawn from one normal distribution.
Every case runs in a process of its own on one core; seconds are CPU seconds, the least of the repeats; memory is the
peak less what stood before the call. --ours leaves the peers out. Values are printed too: they agree where they mean
the same.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable

WIDTH = 1280
PEERS = {"coverage": ("prdc",), "kid": ("torchmetrics", "torchmetrics-all"), "fid": ("torchmetrics", "sqrtm")}


def ours(metric: str) -> Callable[..., float]:
    """Our function of (real, synthetic) features."""
    distances = importlib.import_module("synthgen.metrics.distances")
    if metric == "coverage":
        coverage = importlib.import_module("synthgen.metrics.diversity").coverage
        return lambda real, synthetic: float(coverage(real, synthetic, 5).value)
    found: Callable[..., float] = distances.kid if metric == "kid" else distances.frechet_distance
    return found


def peer(metric: str, whose: str, n: int) -> Callable[..., float]:
    """The peer's function of the same arrays, everything imported."""
    if whose == "prdc":
        prdc = importlib.import_module("prdc")

        def quiet(real: object, synthetic: object) -> float:
            with contextlib.redirect_stdout(io.StringIO()):
                return float(prdc.compute_prdc(real, synthetic, 5)["coverage"])

        return quiet
    if whose == "sqrtm":
        return by_square_root
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    identity = torch.nn.Identity()
    identity.num_features = WIDTH
    image = importlib.import_module("torchmetrics.image." + metric)

    def run(real: object, synthetic: object) -> float:
        if metric == "fid":
            made = image.FrechetInceptionDistance(identity)
        else:
            subsets, size = (1, n) if whose.endswith("all") else (100, min(1000, n))
            made = image.KernelInceptionDistance(identity, subsets=subsets, subset_size=size)
        made.update(torch.from_numpy(real), real=True)
        made.update(torch.from_numpy(synthetic), real=False)
        found = made.compute()
        return float(found[0] if metric == "kid" else found)

    return run


def by_square_root(real: object, synthetic: object) -> float:
    """The Fréchet distance with a root of the covariances' product, by scipy: the way of the paper's own code and of
    most scripts since."""
    np, linalg = importlib.import_module("numpy"), importlib.import_module("scipy.linalg")
    sides = [np.asarray(side, np.float64) for side in (real, synthetic)]
    gap = sides[0].mean(0) - sides[1].mean(0)
    one, two = (np.cov(side, rowvar=False) for side in sides)
    return float(gap @ gap + np.trace(one) + np.trace(two) - 2 * np.trace(linalg.sqrtm(one @ two).real))


def one_case(metric: str, whose: str, n: int, repeats: int) -> None:
    """Run one case in this process, and print seconds, MiB and value as JSON."""
    warnings.simplefilter("ignore")
    np = importlib.import_module("numpy")
    rng = np.random.default_rng(n)
    real, synthetic = (rng.normal(size=(n, WIDTH)).astype(np.float32) for _ in range(2))
    work = ours(metric) if whose == "ours" else peer(metric, whose, n)
    if metric != "kid" or whose == "ours":  # lazy imports come before the clock
        work(real[:64], synthetic[:64])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, value = [], float("nan")
    for _ in range(repeats):
        start = time.process_time()
        value = work(real, synthetic)
        seconds.append(time.process_time() - start)
        if seconds[0] > 60:
            break
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": min(seconds), "mib": (peak - before) / 1024, "value": value}))


def measured(metric: str, whose: str, n: int, repeats: int) -> dict[str, float]:
    """One case in a fresh process with one thread."""
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    done = subprocess.run([sys.executable, __file__, "--case", metric, whose, str(n), "--repeats", str(repeats)],
                          env={**os.environ, **threads}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{metric} by {whose} at {n} did not run:\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 5000, 10_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ours", action="store_true", help="leave the peers out")
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # one core for all: prdc asks for eight jobs whatever it is told
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if asked.case:
        one_case(asked.case[0], asked.case[1], int(asked.case[2]), asked.repeats)
        return
    print(f"{'n':>6}  {'metric':<9} {'by':<17} {'seconds':>8} {'ratio':>7} {'peak MiB':>9}  value")
    for n in asked.sizes:
        for metric, peers in PEERS.items():
            base = 0.0
            for whose in ("ours", *(() if asked.ours else peers)):
                found = measured(metric, whose, n, asked.repeats)
                base = base or found["seconds"]
                print(f"{n:>6}  {metric:<9} {whose:<17} {found['seconds']:>8.2f} {found['seconds'] / base:>6.1f}× "
                      f"{found['mib']:>9.0f}  {found['value']:.6g}", flush=True)


if __name__ == "__main__":
    main()
