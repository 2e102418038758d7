"""EfficientNet-Lite0: the logits that another implementation gives with the same weights."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from generative.metrics.classifier import EfficientNetLite0, FromFile, efficientnet_lite0


def test_it_has_the_published_number_of_weights() -> None:
    with torch.device("meta"):
        net = EfficientNetLite0()
    assert sum(parameter.numel() for parameter in net.parameters()) == 4_652_008


def test_logits_are_those_of_efficientnet_lite_pytorch() -> None:
    """Version 0.1.0 of that package, with the same file, on the same picture; they agreed in every bit."""
    net = efficientnet_lite0()
    x = torch.randint(0, 256, (2, 3, 224, 224), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    logits = net(x)
    assert_close(logits[0, :4], torch.tensor([-2.8226, 0.1987, 0.8997, 0.0464]), atol=2e-4, rtol=0)
    assert logits.argmax(1).tolist() == [21, 21]
    assert net.describe() == "EfficientNet-Lite0 (sha256 579344248a93e230)"
    assert net(x[:, :1, ::4, ::4]).shape == (2, 1000)


class Odd(nn.Module):
    """Takes small pictures alone, and gives what it was told."""

    def __init__(self, classes: int, whole: bool) -> None:
        super().__init__()
        self.classes, self.whole = classes, whole

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-1] <= 64
        logits = torch.zeros(len(x), self.classes)
        return logits.long() if self.whole else logits


def test_classifiers_that_fail_or_give_no_logits(tmp_path) -> None:
    for number, (classes, whole) in enumerate([(0, False), (3, True), (3, False)]):
        torch.jit.script(Odd(classes, whole)).save(str(tmp_path / f"{number}.pt"))
    for number in (0, 1):
        with pytest.raises(ValueError, match=r"must give logits \[N, K\]"):
            FromFile(tmp_path / f"{number}.pt")
    with pytest.raises(ValueError, match=r"the classifier fails on pictures \[1, 3, 65, 65\]: "):
        FromFile(tmp_path / "2.pt")(torch.zeros(1, 3, 65, 65, dtype=torch.uint8))


def test_any_torchscript_classifier_takes_its_place(tmp_path) -> None:
    net = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(12, 5))
    torch.jit.script(net).save(tmp_path / "net.pt")
    x = torch.randint(0, 256, (3, 1, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    assert_close(FromFile(tmp_path / "net.pt")(x), net(x.float().expand(-1, 3, -1, -1)))
    torch.jit.script(torch.nn.AdaptiveAvgPool2d(2)).save(tmp_path / "odd.pt")
    (tmp_path / "text.pt").write_text("no network")
    for name, says in (
        ("odd.pt", r"must give logits \[N, K\], got \[2, 3, 2, 2\] for 2 pictures"),
        ("text.pt", "cannot be read as a TorchScript classifier"),
        ("missing.pt", "is no TorchScript file that can be read"),
    ):
        with pytest.raises(ValueError, match=says):
            FromFile(tmp_path / name)
