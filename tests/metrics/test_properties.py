"""What must hold for any maps."""

import io
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import metrics
from metrics import Scores, inputs, lower_is_better, score_names
from tests.helpers import noisy

from .conftest import made_up_pair

SIZES = st.integers(2, 40)
SEEDS = st.integers(0, 2**32 - 1)
PROTOCOLS = st.sampled_from(metrics.OF_LEVELS)


def table(scores: Scores) -> np.ndarray:
    return np.stack(list(scores.per_image.values()), 1)


def equal(a, b) -> None:
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-11)


def score(pairs, protocol="official", **settings) -> Scores:
    scores = Scores(protocol, **settings)
    for pred, gt in pairs:
        scores.update(pred, gt)
    return scores


def pairs_of(seed: int, count: int, height: int, width: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [made_up_pair(rng, height, width) for _ in range(count)]


@settings(max_examples=25, deadline=None)
@given(SEEDS, SIZES, SIZES, PROTOCOLS)
def test_scores_lie_between_0_and_1(seed, height, width, protocol):
    for name, values in score(pairs_of(seed, 3, height, width), protocol).per_image.items():
        slack = 1 / (height * width - 1)  # Em is divided by pixels - 1
        if name == "MED":
            assert (values <= height).all()
            continue
        defined = values[~np.isnan(values)]
        low = -0.5 if name == "Sm" else 0  # official: not clipped
        high = 2 if name == "Sm" else 1 + slack  # official: N - 1 over N on quadrants of a pixel or two
        assert ((defined >= low - 1e-9) & (defined <= high + 1e-9)).all(), (name, values)


@settings(max_examples=25, deadline=None)
@given(SEEDS, SIZES, SIZES, PROTOCOLS)
def test_the_batch_path_equals_the_image_path(seed, height, width, protocol):
    pairs = pairs_of(seed, 4, height, width)
    pred, gt = (torch.from_numpy(np.stack(maps)) for maps in zip(*pairs))
    alone = table(score(pairs, protocol))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, "on_cpu", lambda maps: False)
        equal(table(score([(pred, gt)], protocol)), alone)


@settings(max_examples=15, deadline=None)
@given(SEEDS, SIZES, SIZES, PROTOCOLS)
def test_both_paths_agree_on_float_maps(seed, height, width, protocol):
    rng = np.random.default_rng(seed)
    pred, gt = rng.random((3, height, width)), rng.random((3, height, width)) > 0.7
    alone = table(score([(pred, gt)], protocol))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, "on_cpu", lambda maps: False)
        equal(table(score([(torch.from_numpy(pred), torch.from_numpy(gt))], protocol)), alone)


@settings(max_examples=10, deadline=None)
@given(SEEDS, PROTOCOLS, st.permutations(range(5)))
def test_the_order_of_images_changes_nothing(seed, protocol, order):
    pairs = pairs_of(seed, 5, 20, 30)
    first, second = score(pairs, protocol), score([pairs[i] for i in order], protocol)
    equal(table(first)[order], table(second))
    equal(list(first.result().values()), list(second.result().values()))


@pytest.mark.parametrize("protocol", ["official", "pranet"])
def test_batch_list_tensor_and_single_maps_score_the_same(rng, protocol):
    pairs = [made_up_pair(rng, 33, 47) for _ in range(70)]  # more than wait for each other
    preds, gts = zip(*pairs)
    expected = table(score(pairs, protocol))
    assert len(expected) == 70
    stacked = np.stack(preds), np.stack(gts)
    for pred, gt in (stacked, map(torch.from_numpy, stacked), (list(preds), list(gts))):
        scores = Scores(protocol)
        scores.update(pred, gt)
        assert len(scores) == 70
        equal(table(scores), expected)


def test_a_list_may_hold_different_sizes(rng):
    pairs = [made_up_pair(rng, *size) for size in ((20, 30), (41, 17), (8, 8))]
    scores = Scores()
    scores.update(*map(list, zip(*pairs)))
    equal(table(scores), table(score(pairs)))


def test_maps_that_are_not_contiguous_or_not_writable_score_the_same(rng):
    pred, gt = made_up_pair(rng, 30, 40)
    flipped = np.asfortranarray(pred)
    flipped.flags.writeable = False
    equal(table(score([(flipped, gt[::1, :])])), table(score([(pred, gt)])))
    equal(table(score([(pred[:, ::-1], gt[:, ::-1])])), table(score([(pred[:, ::-1].copy(), gt[:, ::-1].copy())])))


@pytest.mark.parametrize("keep_curves", [False, True])
@pytest.mark.parametrize("protocol", ["official", "pranet"])
def test_merged_parts_equal_the_whole(rng, protocol, keep_curves):
    pairs = [made_up_pair(rng, 20, 30) for _ in range(7)]
    whole = score(pairs, protocol, keep_curves=keep_curves)
    parts = [score(pairs[i:j], protocol, keep_curves=keep_curves) for i, j in ((0, 3), (3, 7))]
    merged = Scores(protocol, keep_curves=keep_curves).merge(parts[0]).merge(parts[1])
    assert merged.result() == pytest.approx(whole.result())
    equal(table(merged), table(whole))
    for name, curve in whole.curves.items():
        equal(merged.curves[name], curve)


def test_a_state_survives_a_file_without_pickle(rng):
    pairs = [made_up_pair(rng, 20, 30) for _ in range(3)]
    file = io.BytesIO()
    torch.save(score(pairs[:2]).state_dict(), file)
    file.seek(0)
    resumed = Scores()
    resumed.load_state_dict(torch.load(file, weights_only=True))
    resumed.update(*pairs[2])
    assert resumed.result() == pytest.approx(score(pairs).result())


@pytest.mark.parametrize("protocol", ["official", "infnet", "volume"])
@pytest.mark.parametrize("keep", [False, True])
def test_scores_go_to_another_process_as_arrays_and_are_the_same_there(rng, protocol, keep):
    pairs = [made_up_pair(rng, 20, 30) for _ in range(3)]
    keep &= protocol != "volume"
    sent = score(pairs[:2], protocol, undefined="propagate", keep_curves=keep)
    data = pickle.dumps(sent)
    assert b"torch" not in data  # else each tensor would take a file of shared memory
    there = pickle.loads(data)
    there.update(*pairs[2])
    whole = score(pairs, protocol, undefined="propagate", keep_curves=keep)
    assert there.result() == pytest.approx(whole.result())
    equal(table(there), table(whole))
    assert there.undefined_rule == "propagate" and there.keep_curves == keep
    if keep:
        for name, curve in whole.per_image_curves.items():
            equal(there.per_image_curves[name], curve)
    assert len(pickle.loads(pickle.dumps(Scores(protocol)))) == 0


def test_floats_and_levels_keep_the_order_of_update(rng):
    (a, ga), (b, gb) = made_up_pair(rng, 20, 30), made_up_pair(rng, 20, 30)
    scores = score([(a, ga), (b / 255, gb / 255), (a, ga)])
    equal(table(scores)[1], table(score([(b, gb)]))[0])
    equal(table(scores)[2], table(score([(a, ga)]))[0])


def test_a_perfect_map_scores_best_and_its_inverse_worst(rng):
    _, gt = made_up_pair(rng, 40, 50)
    for protocol in ("official", "pranet"):
        best, worst = score([(gt, gt)], protocol).result(), score([(255 - gt, gt)], protocol).result()
        for name in score_names(protocol):
            if name not in ("maxSen", "maxSpe"):  # threshold 0 finds everything; no hit makes Spe 0
                assert (best[name] < worst[name]) == lower_is_better(name), name


def test_the_state_does_not_grow_with_the_size_of_maps(rng):
    sizes = []
    for side in (16, 128):
        scores = Scores()
        for _ in range(130):
            scores.update(np.full((side, side), 7, np.uint8), np.ones((side, side), bool))
        scores.result()
        sizes.append(sum(rows.nbytes for rows in scores._rows) + sum(c.nbytes for c in scores._curves.sums.values()))
    assert sizes[0] == sizes[1] < 130 * 80 + 6 * 256 * 8


def test_what_is_kept_of_an_image_takes_2_kb_and_gives_its_curves(rng):
    kept, together = noisy(rng, 30, 60), Scores(keep_curves=True)
    kept.result()
    assert sum(c.numel() * c.element_size() for bins in kept._curves.bins for c in bins.values()) == 30 * 2048
    for _ in range(3):
        together.merge(kept.subset(range(30)))
    for name, curves in kept.per_image_curves.items():
        assert np.array_equal(together.per_image_curves[name], np.concatenate([curves] * 3))
        blocks = [block[name] for block in together.curves_by_block(20)]
        assert len(blocks) > 1
        assert np.array_equal(np.concatenate(blocks), together.per_image_curves[name])
