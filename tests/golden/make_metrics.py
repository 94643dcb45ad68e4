"""Writes metrics.json: ranking metrics of small cases, by scikit-learn, and AUPRO by a slow definition of its own.

    python3 make_metrics.py > metrics.json

Made with numpy 2, scikit-learn 1.9 and scikit-image 0.26. Scores are rounded to float32 first, so that C++ reads the very same
numbers.
"""

import json
import sys

import numpy as np
from skimage.measure import label
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

FPR_LIMITS = (0.3, 0.05, 1.0)


def best_f1(labels, scores):
    precision, recall, thresholds = precision_recall_curve(labels, scores)
    positives = int(labels.sum())
    best = (0.0, 0.0)
    for threshold in thresholds[::-1]:  # from the highest down; a later equal one does not replace it
        called = scores >= threshold
        f1 = 2.0 * int((called & (labels == 1)).sum()) / (int(called.sum()) + positives)
        if f1 > best[0]:
            best = (f1, float(threshold))
    from_curve = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-30))
    assert abs(from_curve - best[0]) < 1e-12
    return best


def ranking_case(name, scores, labels):
    scores = np.asarray(scores, np.float32)
    labels = np.asarray(labels, np.uint8)
    f1, threshold = best_f1(labels, scores)
    return {
        "name": name,
        "scores": [float(s) for s in scores],
        "labels": [int(v) for v in labels],
        "auroc": float(roc_auc_score(labels, scores)),
        "average_precision": float(average_precision_score(labels, scores)),
        "f1_max": f1,
        "f1_threshold": threshold,
    }


def aupro_by_definition(maps, masks, limit):
    """Every distinct score as a threshold, every region on its own, straight from the definition."""
    regions = []
    for picture, mask in zip(maps, masks):
        labelled = label(mask > 0, connectivity=2)
        regions += [picture[labelled == k] for k in range(1, labelled.max() + 1)]
    background = np.concatenate([picture[mask == 0] for picture, mask in zip(maps, masks)])
    thresholds = np.unique(np.concatenate([m.ravel() for m in maps]))[::-1]
    fpr = np.array([0.0] + [np.mean(background >= t) for t in thresholds])
    pro = np.array([0.0] + [np.mean([np.mean(r >= t) for r in regions]) for t in thresholds])
    inside = fpr < limit
    last = int(inside.sum())  # first point at or past the limit
    share = (limit - fpr[last - 1]) / (fpr[last] - fpr[last - 1])
    at_limit = pro[last - 1] + share * (pro[last] - pro[last - 1])
    x = np.append(fpr[:last], limit)
    y = np.append(pro[:last], at_limit)
    return float(np.trapezoid(y, x) / limit)


def aupro_case(name, maps, masks):
    maps = [np.asarray(m, np.float32) for m in maps]
    masks = [np.asarray(m, np.uint8) for m in masks]
    pixels = np.concatenate([m.ravel() for m in maps])
    truth = np.concatenate([(m > 0).astype(np.uint8).ravel() for m in masks])
    return {
        "name": name,
        "pictures": [
            {"height": m.shape[0], "width": m.shape[1], "map": [float(v) for v in m.ravel()],
             "mask": [int(v) for v in k.ravel()]}
            for m, k in zip(maps, masks)
        ],
        "regions": sum(int(label(k > 0, connectivity=2).max()) for k in masks),
        "limits": list(FPR_LIMITS),
        "aupro": [aupro_by_definition(maps, masks, limit) for limit in FPR_LIMITS],
        "pixel_auroc": float(roc_auc_score(truth, pixels)),
        "pixel_ap": float(average_precision_score(truth, pixels)),
    }


def random_picture(rng, height, width, blobs, separation, levels):
    mask = np.zeros((height, width), np.uint8)
    for _ in range(blobs):
        y, x = rng.integers(0, height - 2), rng.integers(0, width - 2)
        mask[y:y + rng.integers(1, 6), x:x + rng.integers(1, 6)] = 255
    picture = rng.normal(size=(height, width)) + separation * (mask > 0)
    if levels:
        picture = np.round(picture * levels) / levels
    return picture, mask


def main():
    rng = np.random.default_rng(7)
    ranking = [
        ranking_case("two scores, right order", [0.1, 0.9], [0, 1]),
        ranking_case("two scores, wrong order", [0.9, 0.1], [0, 1]),
        ranking_case("all equal", [0.5] * 7, [0, 1, 1, 0, 0, 1, 0]),
        ranking_case("tie across the classes", [0.1, 0.4, 0.4, 0.8], [0, 0, 1, 1]),
        ranking_case("signed zeros tie", [-0.0, 0.0, 0.0, -0.0, 1.0], [0, 1, 0, 1, 1]),
        ranking_case("negative scores", [-3, -2.5, -2.5, -1e-30, 1e-30, -100], [0, 1, 0, 1, 1, 0]),
    ]
    labels = (rng.random(300) < 0.5).astype(np.uint8)
    ranking.append(ranking_case("continuous", rng.normal(size=300) + labels, labels))
    ranking.append(ranking_case("many ties", np.round(rng.normal(size=300) + labels, 1), labels))
    rare = np.zeros(400, np.uint8)
    rare[[3, 77, 311]] = 1
    ranking.append(ranking_case("3 in 400", rng.exponential(size=400) + 2 * rare, rare))
    ranking.append(ranking_case("397 in 400", rng.exponential(size=400) + 2 * (1 - rare), 1 - rare))
    ranking.append(ranking_case("useless score", rng.random(200), labels[:200]))

    pictures = []
    for name, size, blobs, separation, levels in [
        ("one small picture", [(9, 7)], 1, 2.0, 0),
        ("three pictures, continuous", [(24, 20), (16, 30), (12, 12)], 4, 1.5, 0),
        ("three pictures, many ties", [(24, 20), (16, 30), (12, 12)], 4, 1.5, 2),
        ("poor map", [(20, 20), (20, 20)], 3, 0.1, 0),
    ]:
        drawn = [random_picture(rng, h, w, blobs, separation, levels) for h, w in size]
        pictures.append(aupro_case(name, *zip(*drawn)))
    good_map, _ = random_picture(rng, 10, 10, 0, 0, 0)
    bad_map, bad_mask = random_picture(rng, 14, 10, 3, 2.0, 0)
    pictures.append(aupro_case("good picture beside a defective one", [good_map, bad_map],
                               [np.zeros((10, 10)), bad_mask]))
    diagonal = np.eye(8)  # one region only where corners connect
    pictures.append(aupro_case("corners connect", [rng.random((8, 8)) + diagonal], [diagonal]))
    pictures.append(aupro_case("constant map", [np.full((6, 6), 0.25)], [np.triu(np.ones((6, 6)), 3)]))
    pictures.append(aupro_case("perfect map", [diagonal], [diagonal]))

    json.dump({"ranking": ranking, "pictures": pictures}, sys.stdout, separators=(",", ":"))
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
