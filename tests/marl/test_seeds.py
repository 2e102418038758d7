"""Seeds of training and evaluation never meet."""

from itertools import product

from marl.seeds import eval_seed, train_seed


def test_training_and_evaluation_draw_from_different_halves():
    train = {train_seed(*key) for key in product(range(3), range(3), (0, 4096, 10**7), range(8), range(40))}
    held_out = {eval_seed(seed, episode) for seed in range(20) for episode in range(500)}
    assert all(0 <= seed < 2**30 for seed in train)
    assert all(2**30 <= seed < 2**31 for seed in held_out)
    # Both are near enough to all different: 8640 and 10000 draws from 2^30 meet 0.03 and 0.05 times on average.
    assert len(train) >= 3 * 3 * 3 * 8 * 40 - 2
    assert len(held_out) >= 10_000 - 2


def test_every_part_of_the_key_matters_and_nothing_else():
    key = (1, 2, 3, 4, 5)
    assert train_seed(*key) == train_seed(*key)
    for part in range(5):
        other = list(key)
        other[part] += 1
        assert train_seed(*other) != train_seed(*key)
    assert eval_seed(1, 2) == eval_seed(1, 2)
    assert len({eval_seed(1, 2), eval_seed(2, 1), eval_seed(1, 3)}) == 3
